# SPDX-License-Identifier: Apache-2.0
"""Files of the configuration: who could have changed them; and copies that nobody can change."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from subprocess import PIPE

import pytest

from ebpf_runtime import DigestError, TrustError, trust
from ebpf_runtime.trust import SealedCopy, read_trusted, trusted
from tests.support.mounts import hidden_from
from tests.support.namespaces import as_somebody_elses_namesake
from tests.support.users import as_user

OTHER = 12345
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away, as only root can")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "file"
    path.parent.mkdir(mode=0o755)
    path.write_bytes(b"content")
    return path


def refusal(path: Path | str) -> str:
    with pytest.raises(TrustError) as caught:
        read_trusted(path)
    assert caught.value.name == str(path)
    return str(caught.value)


def test_a_file_of_ours_is_read(file: Path) -> None:
    assert read_trusted(file) == b"content"
    assert trusted(f"{file.parent}/../folder/./file") == str(file)


@as_root
def test_a_file_of_another_user_is_refused(file: Path) -> None:
    os.chown(file, OTHER, -1)
    assert refusal(file) == (
        f"read {file}: it belongs to user {OTHER}, who could have changed it. Give it to root (chown root {file})."
    )


@as_root
def test_a_folder_of_another_user_on_the_way_is_refused(file: Path) -> None:
    os.chown(file.parent, OTHER, -1)
    assert refusal(file) == (
        f"read {file}: {file.parent} belongs to user {OTHER}, who could have changed it. "
        f"Give it to root (chown root {file.parent})."
    )


@as_root
def test_another_user_trusts_root_and_itself_but_nobody_else(file: Path, tmp_path: Path) -> None:
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    assert as_user(OTHER, lambda: read_trusted(file).decode()) == "content"
    os.chown(file, OTHER, -1)
    assert as_user(OTHER, lambda: read_trusted(file).decode()) == "content"
    assert as_user(OTHER + 1, lambda: refusal(file)) == (
        f"read {file}: it belongs to user {OTHER}, who could have changed it. Give it to root (chown root {file})."
    )


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_can_write_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert refusal(file) == (
        f"read {file}: it has mode {mode:04o}, so others could have changed it. Take that away (chmod go-w {file})."
    )


def test_a_folder_that_others_can_write_is_refused_unless_it_is_sticky(file: Path) -> None:
    file.parent.chmod(0o777)
    assert refusal(file) == (
        f"read {file}: {file.parent} has mode 0777, so others could have changed it. "
        f"Take that away (chmod go-w {file.parent})."
    )
    file.parent.chmod(0o1777)
    assert read_trusted(file) == b"content"


def test_a_link_is_followed_and_what_it_leads_to_is_checked(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("folder")
    assert trusted(link / "file") == str(file)
    file.parent.chmod(0o777)
    assert refusal(link / "file").startswith(f"read {link}/file: {file.parent} has mode 0777, ")


@as_root
def test_a_link_of_another_user_in_a_sticky_folder_is_refused(file: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    link = tmp_path / "link"
    link.symlink_to(file)
    assert read_trusted(link) == b"content"
    os.chown(link, OTHER, -1, follow_symlinks=False)
    assert refusal(link) == (
        f"read {link}: it belongs to user {OTHER}, who could have changed it. Give it to root (chown root {link})."
    )


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("link")
    assert refusal(link) == f"read {link}: {_describe(errno.ELOOP)} ({link}). Check the path."


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    before = os.listdir("/proc/self/fd")  # noqa: PTH208
    tmp_path.chmod(0o777)  # its mode would not be the mistake
    assert refusal(tmp_path) == f"read {tmp_path}: it is not a regular file. Name a file."
    tmp_path.chmod(0o700)
    assert refusal("/dev/null") == "read /dev/null: it is not a regular file. Name a file."
    (tmp_path / "null").symlink_to("/dev/null")
    assert refusal(tmp_path / "null") == f"read {tmp_path}/null: it is not a regular file. Name a file."
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert refusal(pipe) == f"read {pipe}: it is not a regular file. Name a file."  # and does not wait for a writer
    missing = tmp_path / "missing"
    assert refusal(missing) == f"read {missing}: {_describe(errno.ENOENT)} ({missing}). Check the path."
    assert refusal("a\0b") == r"read 'a\x00b': it is not the name of a file. Check the path."
    assert os.listdir("/proc/self/fd") == before  # noqa: PTH208


def test_a_file_that_is_too_large_is_refused_unread(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(trust, "_MAX_BYTES", len(b"content"))
        assert read_trusted(file) == b"content"
    os.truncate(file, 6 << 30)
    assert refusal(file) == (
        f"read {file}: it has 6442450944 bytes, more than the 268435456 that are read of a file. Name a smaller one."
    )


def _describe(number: int) -> str:
    return f"{errno.errorcode[number]}, {os.strerror(number).lower()}"


def test_a_sealed_copy_can_be_read_and_not_changed(tmp_path: Path) -> None:
    with SealedCopy("source.c", b"content") as copy:
        path = Path(copy.path)
        assert path.read_bytes() == b"content"
        with pytest.raises(OSError, match=r"Operation not permitted"):
            path.write_bytes(b"changed")
        with pytest.raises(OSError, match=r"Operation not permitted"):
            os.truncate(path, 0)
        assert path.read_bytes() == b"content"
    assert not path.exists()
    copy.close()


@as_root
def test_a_sealed_copy_is_not_taken_for_the_file_of_a_process_with_our_number(tmp_path: Path) -> None:
    """In a namespace of processes that sees the /proc of another one, our own number is somebody else's."""
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"theirs")
    script = """
from pathlib import Path
from ebpf_runtime.trust import SealedCopy
with SealedCopy("x", b"ours") as copy:
    print(Path(copy.path).read_text())
"""
    assert as_somebody_elses_namesake(theirs, script) == "ours"


@as_root
def test_a_proc_that_does_not_show_this_process_is_an_error() -> None:
    def refused() -> str:
        with pytest.raises(TrustError) as caught:
            SealedCopy("x", b"ours")
        return str(caught.value)

    assert hidden_from(refused, ["/proc"]) == (
        "copy x: /proc does not show the copy (ENOENT, no such file or directory). "
        "Mount the proc of this process's namespace at /proc."
    )


def test_a_copy_that_is_filled_later_is_that_of_a_child_too() -> None:
    """As for the compiler, which starts while its source is made."""
    with SealedCopy("source.c") as copy:
        command = ["sh", "-c", f"read -r line; cat {copy.path}"]
        child = subprocess.Popen(command, stdin=PIPE, stdout=PIPE, pass_fds=[copy.fd])
        copy.seal(b"content")
        assert child.communicate(b"\n")[0] == b"content"
        with pytest.raises(OSError, match=r"Operation not permitted"):
            os.write(copy.fd, b"more")


def test_a_copy_leaves_the_standard_streams_to_children() -> None:
    script = "import os; from ebpf_runtime.trust import SealedCopy; os.close(0); print(SealedCopy('x', b'1').fd > 2)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout == b"True\n"


@pytest.mark.filterwarnings("error")
def test_a_copy_that_cannot_be_made_is_closed_without_another_error() -> None:
    with pytest.raises(ValueError, match=r"^embedded null byte$"):
        SealedCopy("a\0b", b"")
    gc.collect()


def test_a_copy_that_differs_is_refused_with_both_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that fails between writing and reading cannot be had; so the reading is replaced."""
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: b"other")
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises(DigestError) as caught:
        SealedCopy("source.c", b"content")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    right, wrong = sha256(b"content").hexdigest(), sha256(b"other").hexdigest()
    assert str(caught.value) == (f"copy source.c: the SHA-256 of the sealed copy is {wrong}, not {right}. Try again.")
    assert (caught.value.expected, caught.value.actual) == (right, wrong)
