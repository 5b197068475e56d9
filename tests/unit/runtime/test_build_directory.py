# SPDX-License-Identifier: Apache-2.0
"""The directory of compiled objects: who may use it, what is found in it, what is written."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from ebpf_runtime import CompileError, DigestError
from ebpf_runtime.build_directory import BuildDirectory
from tests.support.files import free_files

ADVICE = "Set system_probe_config.runtime_compiler_output_dir to a directory of your own."


def refusal(path: Path) -> str:
    with pytest.raises(CompileError) as caught:
        BuildDirectory(path)
    return str(caught.value).replace(str(path), "DIR")


def test_it_is_made_for_us_alone_with_its_parents(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    assert BuildDirectory(path).path == path
    assert [item.stat().st_mode & 0o7777 for item in (path, path.parent)] == [0o700, 0o700]
    BuildDirectory(path)  # and is taken as it is


def test_another_start_may_make_it_a_moment_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = os.mkdir

    def by_both(path: str, mode: int) -> None:
        mkdir(path, mode)
        mkdir(path, mode)

    monkeypatch.setattr(os, "mkdir", by_both)
    BuildDirectory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").stat().st_mode & 0o7777 == 0o700


def test_one_that_others_can_use_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b"
    path.mkdir()
    path.chmod(0o750)
    assert refusal(path) == f"use directory DIR: it has mode 0750, others can use it; chmod 0700 it. {ADVICE}"


def test_a_way_that_others_can_change_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "open" / "b"
    path.parent.mkdir()
    path.parent.chmod(0o777)
    assert refusal(path) == (f"use directory DIR: {path.parent} has mode 0777, others can write there. {ADVICE}")
    assert not path.exists()
    path.parent.chmod(0o1777)  # sticky: nobody can replace what is ours
    BuildDirectory(path)


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    link = tmp_path / "link"
    link.symlink_to("real")
    assert refusal(link) == f"use directory DIR: DIR is no directory. {ADVICE}"
    assert refusal(link / "b").startswith(f"use directory DIR: {link}, on the way there, is no directory. ")


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "a\x7fb", "a\0b"])
def test_a_name_with_control_characters_is_refused(tmp_path: Path, name: str) -> None:
    path = f"{tmp_path}/{name}"
    with pytest.raises(CompileError) as caught:
        BuildDirectory(path)
    assert str(caught.value) == (
        f"use directory {path!r}: its name has a control character, which no list of files and no line of a "
        f"log can hold. {ADVICE}"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a\ud800b"])
def test_what_is_no_name_of_a_directory_is_refused(name: str) -> None:
    with pytest.raises(CompileError) as caught:
        BuildDirectory(f"/{name}")
    assert str(caught.value) == f"use directory {f'/{name}'!r}: it is not the name of a directory. {ADVICE}"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory away, as only root can")
def test_one_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b"
    path.mkdir(mode=0o700)
    os.chown(path, 12345, -1)
    assert refusal(path) == f"use directory DIR: DIR belongs to user 12345. {ADVICE}"
    assert refusal(path / "c").startswith(f"use directory DIR: {path} belongs to user 12345. ")


def test_the_default_of_a_user_is_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ebpf_runtime import build_directory

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert build_directory.default_directory("build") == f"{tmp_path}/ebpf-runtime/build"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/u")
    assert build_directory.default_directory("build") == "/home/u/.cache/ebpf-runtime/build"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert build_directory.default_directory("build") == "/var/tmp/ebpf-runtime/build"


def test_the_newest_of_the_prefix_is_found(tmp_path: Path) -> None:
    directory = BuildDirectory(tmp_path / "b")
    assert directory.find("x-1-") is None
    for number, name in enumerate(("x-1-new", "x-1-old", "x-2-other")):
        path = directory.write_object(name, name.encode())
        os.utime(path, ns=(0, 100 - number))
        assert path.stat().st_mode & 0o7777 == 0o600
    directory.write("x-1-refused.c", b"")
    assert directory.find("x-1-") == b"x-1-new"
    assert len(list(directory.path.iterdir())) == 4  # no temporary file stays


def test_an_object_that_was_changed_is_refused_with_both_digests(tmp_path: Path) -> None:
    directory = BuildDirectory(tmp_path / "b")
    path = directory.write_object("x-1", b"right")
    path.write_bytes(b"wrong")
    right, wrong = sha256(b"right").hexdigest(), sha256(b"wrong").hexdigest()
    with pytest.raises(DigestError) as caught:
        directory.find("x-1-")
    assert str(caught.value) == f"read {path}: its SHA-256 is {wrong}, not {right}. Delete it."
    assert (caught.value.name, caught.value.expected, caught.value.actual) == (path.name, right, wrong)


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_could_write_is_refused(tmp_path: Path, mode: int) -> None:
    directory = BuildDirectory(tmp_path / "b")
    path = directory.write("x-1.o", b"")
    path.chmod(mode)
    with pytest.raises(CompileError) as caught:
        directory.find("x-")
    assert str(caught.value) == (
        f"read {path}: it belongs to user {os.geteuid()} and has mode {mode:04o}, so others could have made it. "
        "Delete it."
    )


def test_a_link_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    directory = BuildDirectory(tmp_path / "b")
    (directory.path / "x.o").symlink_to("/etc/passwd")
    with pytest.raises(CompileError, match=r"read .*/x\.o: ELOOP, .* Delete it\."):
        directory.find("x")


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    directory = BuildDirectory(tmp_path / "b")
    (directory.path / "x.o").mkdir()
    with pytest.raises(CompileError) as caught:
        directory.write("x.o", b"1")
    assert str(caught.value) == f"write {directory.path}/x.o: EISDIR, is a directory. {ADVICE}"
    assert [path.name for path in directory.path.iterdir()] == ["x.o"]


def test_each_shortage_has_its_own_next_step(tmp_path: Path) -> None:
    directory = BuildDirectory(tmp_path / "b")
    said = []
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, before[1]))
    try:
        with pytest.raises(CompileError) as caught:
            directory.write("x.o", b"12345")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    said.append(str(caught.value))
    with free_files(0), pytest.raises(CompileError) as caught:
        directory.write("x.o", b"1")
    said.append(str(caught.value))
    path = f"{directory.path}/x.o"
    assert said == [
        f"write {path}: EFBIG, file too large. Raise the limit of a file's size (ulimit -f, LimitFSIZE=).",
        f"write {path}: EMFILE, too many open files. Raise this process's limit of open files (ulimit -n, "
        "LimitNOFILE=).",
    ]
    assert not list(directory.path.iterdir())


def test_threads_that_write_the_same_take_nothing_from_each_other(tmp_path: Path) -> None:
    directory = BuildDirectory(tmp_path / "b")
    data = os.urandom(1 << 16)
    barrier = threading.Barrier(2)

    def write(_: int) -> set[Path]:
        barrier.wait()
        return {directory.write_object("x-1", data) for _ in range(300)}

    with ThreadPoolExecutor(2) as pool:
        (path,) = set().union(*pool.map(write, range(2)))
    assert directory.find("x-1") == data
    assert list(directory.path.iterdir()) == [path]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_in_place_of_one_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    directory = BuildDirectory(tmp_path / "b")
    path = directory.path / "x-1.o"
    make(path)
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    with pytest.raises(CompileError) as caught:
        directory.find("x-")
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208
    reason = "EISDIR, is a directory" if path.is_dir() else "it is not a regular file"
    assert str(caught.value) == f"read {path}: {reason}. Delete it."
