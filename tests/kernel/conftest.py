# SPDX-License-Identifier: Apache-2.0
"""The probe of the tests of streams."""

from __future__ import annotations

from types import ModuleType

import pytest

from tests.support.sources import make_module, write_source
from tests.support.streams import SOURCE


@pytest.fixture(scope="session")
def feed(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The module of a probe that fills every kind of stream."""
    directory = tmp_path_factory.mktemp("feed")
    return make_module(directory, write_source(directory, "feed", SOURCE))
