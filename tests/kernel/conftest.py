# SPDX-License-Identifier: Apache-2.0
"""What several tests of the running kernel use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.sources import make_module, write_source
from tests.support.streams import SOURCE


@pytest.fixture(scope="session")
def feed(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The module of a probe that fills every kind of stream."""
    directory = tmp_path_factory.mktemp("feed")
    return make_module(directory, write_source(directory, "feed", SOURCE))


@pytest.fixture
def pins() -> Iterator[Path]:
    """A folder of the BPF file system, empty before and after."""
    folder = Path("/sys/fs/bpf") / f"test-{os.getpid()}"
    yield folder
    if folder.is_dir():
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup of version 2 that this process is in during the test."""
    places = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
    root = next(path for path in places if (path / "cgroup.procs").exists())
    mine = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    folder = root / f"test-{os.getpid()}"
    folder.mkdir()
    (folder / "cgroup.procs").write_text(str(os.getpid()))
    yield folder
    (root / mine.removeprefix("0::/") / "cgroup.procs").write_text(str(os.getpid()))
    folder.rmdir()
