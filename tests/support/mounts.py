# SPDX-License-Identifier: Apache-2.0
"""Parts of this host hidden from one child process, by mounts that nobody else sees."""

from __future__ import annotations

import ctypes
import json
import os
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

__all__ = ["KERNEL_BTF", "hidden_from"]

KERNEL_BTF = "/sys/kernel/btf"
_CLONE_NEWNS = 0x00020000
_MS_REC_PRIVATE = 0x4000 | 1 << 18
# Files in which libbpf looks for BTF where the kernel shows none; the packages of some kernels' headers have one.
_RELEASE = os.uname().release
_IMAGES = tuple(
    pattern.format(_RELEASE)
    for pattern in (
        "/boot/vmlinux-{0}",
        "/lib/modules/{0}/vmlinux-{0}",
        "/lib/modules/{0}/build/vmlinux",
        "/usr/lib/modules/{0}/kernel/vmlinux",
        "/usr/lib/debug/boot/vmlinux-{0}",
        "/usr/lib/debug/boot/vmlinux-{0}.debug",
        "/usr/lib/debug/lib/modules/{0}/vmlinux",
    )
)
_libc = ctypes.CDLL(None, use_errno=True)


def hidden_from(function: Callable[[], Any], directories: Iterable[str] = (KERNEL_BTF,)) -> Any:
    """Return what *function* returns, as JSON carries it, in a child that finds these directories empty.

    It finds no directory either in which an image of the kernel is, from which libbpf would take BTF.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        try:
            _hide(directories)
            answer = {"value": function()}
        except BaseException:
            answer = {"failure": traceback.format_exc()}
        with os.fdopen(writer, "w") as file:
            json.dump(answer, file)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    os.waitpid(child, 0)
    answer = json.loads(text or '{"failure": "the child died"}')
    if "failure" in answer:
        pytest.fail(answer["failure"], pytrace=False)
    return answer["value"]


def _hide(directories: Iterable[str]) -> None:
    _call(_libc.unshare(_CLONE_NEWNS))
    _call(_libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None))
    images = {str(Path(image).parent) for image in _IMAGES if Path(image).exists()}
    for directory in {*directories, *images}:
        _call(_libc.mount(b"none", os.fsencode(directory), b"tmpfs", 0, None))
        assert not list(Path(directory).iterdir())


def _call(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
