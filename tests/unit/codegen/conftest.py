# SPDX-License-Identifier: Apache-2.0
"""Hypothesis tries the same examples in every run, so that a failure is one for everybody, and leaves no files here."""

from __future__ import annotations

import tempfile

import pytest
from hypothesis import settings
from hypothesis.configuration import set_hypothesis_home_dir

settings.register_profile("reproducible", derandomize=True, database=None, deadline=None)
settings.load_profile("reproducible")
_directory = tempfile.TemporaryDirectory(prefix="hypothesis-")
set_hypothesis_home_dir(_directory.name)


def pytest_unconfigure(config: pytest.Config) -> None:
    _directory.cleanup()
