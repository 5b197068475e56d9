# SPDX-License-Identifier: Apache-2.0
"""Small BPF programs, made of instructions here and run by the `syscall` program type; no compiler is needed.

Source: Linux Documentation/bpf/standardization/instruction-set.rst, include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Final

from ebpf_runtime.libbpf import library
from ebpf_runtime.libbpf_structures import ProgramLoadOptions, TestRunOptions

__all__ = [
    "Assembled",
    "add",
    "add_register",
    "call",
    "call_kernel",
    "exit_",
    "function_address",
    "jump_if_at_least",
    "load",
    "map_pointer",
    "map_value_pointer",
    "move",
    "move_register",
    "multiply",
    "store",
]

_SYSCALL = 31  # BPF_PROG_TYPE_SYSCALL
_SLEEPABLE = 1 << 4
_FENTRY = 24  # the attach type by which libbpf looks for a function
_INSTRUCTION = 8
_LOAD = {1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79}
_STORE = {1: 0x73, 2: 0x6B, 4: 0x63, 8: 0x7B}
_LICENSE: Final = b"Dual BSD/GPL"
# A main function and a static one that it gives to a helper; the verifier wants them described.
_STRINGS: Final = b"\0int\0main\0callback\0"
_TYPES: Final = b"".join(
    struct.pack("<3I", *words) if len(words) == 3 else struct.pack("<4I", *words)
    for words in (
        (1, 1 << 24, 4, 1 << 24 | 32),  # int
        (0, 13 << 24, 1),  # int (void)
        (5, 12 << 24, 2),  # static main
        (10, 12 << 24, 2),  # static callback
    )
)
_BTF: Final = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(_TYPES), len(_TYPES), len(_STRINGS)) + _TYPES + _STRINGS

_function_ids: dict[str, int] = {}


def _code(opcode: int, target: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("<BBhi", opcode, target | source << 4, offset, immediate)


def _wide(target: int, kind: int, low: int, high: int = 0) -> bytes:
    return _code(0x18, target, kind, 0, low) + _code(0, 0, 0, 0, high)


def map_pointer(target: int, fd: int) -> bytes:
    return _wide(target, 1, fd)


def map_value_pointer(target: int, fd: int, offset: int = 0) -> bytes:
    """Point into the only value of an array."""
    return _wide(target, 2, fd, offset)


def function_address(target: int, distance: int) -> bytes:
    """Point to the function that begins *distance* instructions behind this one, which counts as two."""
    return _wide(target, 4, distance + 1)


def move(target: int, value: int) -> bytes:
    return _code(0xB7, target, immediate=value)


def move_register(target: int, source: int) -> bytes:
    return _code(0xBF, target, source)


def add(target: int, value: int) -> bytes:
    return _code(0x07, target, immediate=value)


def add_register(target: int, source: int) -> bytes:
    return _code(0x0F, target, source)


def multiply(target: int, value: int) -> bytes:
    return _code(0x27, target, immediate=value)


def load(size: int, target: int, source: int, offset: int = 0) -> bytes:
    return _code(_LOAD[size], target, source, offset)


def store(size: int, target: int, source: int, offset: int = 0) -> bytes:
    return _code(_STORE[size], target, source, offset)


def jump_if_at_least(register: int, value: int, distance: int) -> bytes:
    return _code(0x35, register, offset=distance, immediate=value)


def call(helper: int) -> bytes:
    return _code(0x85, immediate=helper)


def call_kernel(function: str) -> bytes:
    """Call a function of the kernel.

    Raises:
        OSError: ENOENT: it has none of this name.
    """
    if function not in _function_ids:
        found: int = library().libbpf_find_vmlinux_btf_id(function.encode(), _FENTRY)
        if found < 0:
            raise OSError(-found, os.strerror(-found))
        _function_ids[function] = found
    return _code(0x85, source=2, immediate=_function_ids[function])


def exit_() -> bytes:
    return _code(0x95)


class Assembled:
    """A loaded program.

    Raises:
        OSError: The kernel refused it.
    """

    def __init__(self, name: str, code: bytes, callback: int = -1) -> None:
        """Load *code*; *callback* is the index of the instruction that a second function begins with."""
        options = ProgramLoadOptions(sz=ctypes.sizeof(ProgramLoadOptions), prog_flags=_SLEEPABLE)
        types = -1
        if callback >= 0:
            types = _check(library().bpf_btf_load(_BTF, len(_BTF), None))
            functions = ctypes.create_string_buffer(struct.pack("<4I", 0, 3, callback, 4), 16)
            options.prog_btf_fd = types
            # Lifetime: the kernel reads it during the call.
            options.func_info = ctypes.addressof(functions)
            options.func_info_cnt = 2
            options.func_info_rec_size = 8
        try:
            self._fd = _check(
                library().bpf_prog_load(
                    _SYSCALL, name.encode(), _LICENSE, code, len(code) // _INSTRUCTION, ctypes.byref(options)
                )
            )
        finally:
            if types >= 0:
                os.close(types)

    def run(self) -> int:
        """Run it once; return what it returns, 32 bits.

        Raises:
            OSError: The kernel refused.
        """
        options = TestRunOptions(sz=ctypes.sizeof(TestRunOptions))
        if self._fd < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        _check(library().bpf_prog_test_run_opts(self._fd, ctypes.byref(options)))
        return int(options.retval)

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _check(result: int) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result
