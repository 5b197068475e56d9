# SPDX-License-Identifier: Apache-2.0
"""All entries of a hash map in one system call: a program walks it and copies each into memory that is mapped here."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import threading
from collections.abc import Iterator

from ebpf_runtime.libbpf import library
from ebpf_runtime.libbpf_structures import MapCreateOptions

from . import assembled as bpf

__all__ = ["Dump", "record_bytes"]

_ARRAY = 2
_MMAPABLE = 1 << 10
_FOR_EACH = 164  # bpf_for_each_map_elem
_HEADER = 8  # how many records follow
_LARGEST_RECORD = 2048  # instructions grow with it
_LARGEST_OFFSET = 1 << 29  # the verifier's limit


def record_bytes(key_size: int, value_size: int) -> int:
    """Return the bytes of a record: the key, and the value on a multiple of 8 bytes."""
    return -(-key_size // 8) * 8 + -(-value_size // 8) * 8


class Dump:
    """Program and memory to dump one map with; the memory has room for all entries that the map may ever hold.

    Raises:
        OSError: The kernel cannot.
    Kernel: 5.14.
    Source: bpf-helpers(7) bpf_for_each_map_elem().
    """

    def __init__(self, fd: int, key_size: int, value_size: int, max_entries: int) -> None:
        self._fd = fd
        self._sizes = (key_size, value_size)
        self._max_entries = max_entries
        self.step = record_bytes(key_size, value_size)
        self._bytes = _HEADER + self.step * max_entries
        if self.step > _LARGEST_RECORD or self._bytes >= _LARGEST_OFFSET:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        self._lock = threading.Lock()
        self._output = -1
        self._memory: mmap.mmap | None = None
        self._prepare()

    def read(self) -> memoryview:
        """Return the records; the memory is used again by the next call if nobody holds it any more."""
        with self._lock:
            self._renew()
            assert self._memory is not None
            self._memory[:_HEADER] = bytes(_HEADER)
            self._program.run()
            count = int.from_bytes(self._memory[:_HEADER], "little")
            return memoryview(self._memory)[_HEADER : _HEADER + count * self.step]

    def _renew(self) -> None:
        """Take other memory where what was read before is still in use."""
        try:
            if self._memory is not None:
                self._memory.close()
        except BufferError:
            self._free()
            self._prepare()
        else:
            self._map()

    def _prepare(self) -> None:
        options = MapCreateOptions(sz=ctypes.sizeof(MapCreateOptions), map_flags=_MMAPABLE)
        output: int = library().bpf_map_create(_ARRAY, b"map_dump", 4, self._bytes, 1, ctypes.byref(options))
        if output < 0:
            raise OSError(-output, os.strerror(-output))
        self._output = output
        try:
            code, callback = self._code()
            self._program = bpf.Assembled("map_dump", code, callback)
            self._map()
        except BaseException:
            self._free()
            raise

    def _map(self) -> None:
        length = -(-self._bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self._memory = mmap.mmap(self._output, length)

    def _code(self) -> tuple[bytes, int]:
        """Return the instructions, and the index of the one that the callback begins with."""
        main = [bpf.map_pointer(1, self._fd)]
        rest = [bpf.move(3, 0), bpf.move(4, 0), bpf.call(_FOR_EACH), bpf.exit_()]
        main += [bpf.function_address(2, len(rest)), *rest]
        return b"".join([*main, *self._callback()]), len(b"".join(main)) // 8

    def _callback(self) -> Iterator[bytes]:
        """Copy the key at r2 and the value at r3 behind the records that are there; stop where there is no room."""
        key_size, value_size = self._sizes
        yield bpf.map_value_pointer(5, self._output)
        yield bpf.load(8, 1, 5)
        yield bpf.move(0, 1)
        copies = [*_copy(2, 0, key_size), *_copy(3, -(-key_size // 8) * 8, value_size)]
        counted = [
            bpf.move_register(4, 1),
            bpf.add(4, 1),
            bpf.store(8, 5, 4),
            bpf.multiply(1, self.step),
            bpf.add(5, _HEADER),
            bpf.add_register(5, 1),
        ]
        body = [*counted, *copies, bpf.move(0, 0)]
        yield bpf.jump_if_at_least(1, self._max_entries, len(body))
        yield from body
        yield bpf.exit_()

    def _free(self) -> None:
        program = getattr(self, "_program", None)
        if program is not None:
            program.close()
        output, self._output = self._output, -1
        if output >= 0:
            os.close(output)
        self._memory = None

    def close(self) -> None:
        """Free program and memory; what was read stays as long as somebody holds it."""
        with self._lock:
            self._free()


def _copy(source: int, start: int, size: int) -> Iterator[bytes]:
    """Copy *size* bytes from a register's address to *start* behind r5, through r4."""
    done = 0
    while done < size:
        width = next(width for width in (8, 4, 2, 1) if width <= size - done)
        yield bpf.load(width, 4, source, done)
        yield bpf.store(width, 5, 4, start + done)
        done += width
