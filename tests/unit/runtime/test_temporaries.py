# SPDX-License-Identifier: Apache-2.0
"""What is temporary beside what is kept: it is gone afterwards, and removed by others only when nobody uses it."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ebpf_runtime.temporaries import remove_left, temporary_directory, temporary_file

KILLED = """
import os, signal, sys
from pathlib import Path
from ebpf_runtime.temporaries import temporary_directory, temporary_file
with temporary_directory(Path(sys.argv[1])) as directory, temporary_file(Path(sys.argv[1])):
    (directory / "deeper").mkdir()
    (directory / "deeper" / "x").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_they_are_ours_alone_and_gone_afterwards(tmp_path: Path) -> None:
    with temporary_directory(tmp_path) as directory, temporary_file(tmp_path) as (file, fd):
        assert [path.stat().st_mode & 0o777 for path in (directory, file)] == [0o700, 0o600]
        (directory / "x").touch()
        os.write(fd, b"1")
        file.rename(tmp_path / "kept")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run((sys.executable, "-c", KILLED, tmp_path), timeout=60, check=False)
    assert sorted(path.name.partition("-")[0] for path in tmp_path.iterdir()) == [".compile", ".write"]
    others = {tmp_path / name for name in (".compile-x", ".write-0123", "compile-0123456789abcdef", "x.o")}
    for path in others:
        path.touch()
    link = tmp_path / f".write-{'0' * 16}"
    link.symlink_to(tmp_path / "x.o")
    with temporary_directory(tmp_path) as directory, temporary_file(tmp_path) as (file, _):
        remove_left(tmp_path)
        assert {*tmp_path.iterdir()} == {*others, link, directory, file}


def test_one_that_is_taken_for_left_before_it_is_locked_gives_way_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock
    taken: list[int] = []

    def by_another_first(fd: int, operation: int) -> None:
        if len(taken) < 2:
            taken.append(fd)
            monkeypatch.setattr(fcntl, "flock", flock)
            remove_left(tmp_path)
            monkeypatch.setattr(fcntl, "flock", by_another_first)
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", by_another_first)
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    with temporary_directory(tmp_path) as directory:
        (directory / "x").touch()
        assert list(tmp_path.iterdir()) == [directory]
    assert len(taken) == 2
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


def test_without_locks_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with temporary_directory(tmp_path) as directory:
        remove_left(tmp_path)
        assert list(tmp_path.iterdir()) == [directory]
    assert not list(tmp_path.iterdir())


def test_an_interrupt_while_it_is_removed_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rmdir = os.rmdir

    def interrupted(*arguments: object, **more: object) -> None:
        monkeypatch.setattr(os, "rmdir", rmdir)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), temporary_directory(tmp_path):
        monkeypatch.setattr(os, "rmdir", interrupted)
    assert not list(tmp_path.iterdir())


def test_who_is_interrupted_before_there_is_a_name_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kept").touch()

    def interrupted(_count: int) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "urandom", interrupted)
    with pytest.raises(KeyboardInterrupt), temporary_directory(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
