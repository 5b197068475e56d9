# SPDX-License-Identifier: Apache-2.0
"""Arrays whose values are objects of the kernel, given by file descriptor."""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import contextmanager
from operator import index as integer
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from ebpf_runtime.programs import INT_MAX

from .base import Map, index_of, is_index
from .by_key import Walked, store_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ebpf_runtime.programs import Program

__all__ = ["CgroupArrayMap", "DescriptorMap", "ProgramArrayMap", "descriptor", "opened"]

K = TypeVar("K")


@contextmanager
def opened(thing: Any, flags: int = os.O_RDONLY) -> Iterator[int]:
    """Lend the file descriptor of a number, of an object that has one (`fileno()` or `fd`), or of a path.

    Raises:
        OSError: The path cannot be opened, or it is nothing of all that.
    """
    if isinstance(thing, str | os.PathLike):
        fd = os.open(thing, flags | os.O_CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)
        return
    yield descriptor(thing)


def descriptor(thing: Any) -> int:
    """Return the file descriptor that a number is or that an object has (`fileno()` or `fd`); -1 if it is closed.

    Raises:
        OSError: It is no such number, and has none.
    """
    try:
        fd = integer(thing.fileno() if hasattr(thing, "fileno") else getattr(thing, "fd", thing))
    except TypeError:
        fd = INT_MAX + 1
    if fd > INT_MAX:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return max(fd, -1)


class DescriptorMap(Map, Generic[K]):
    """An array of objects of the kernel; a program sees the object, user space gives a file descriptor."""

    _EMPTY: ClassVar[tuple[int, ...]] = (errno.ENOENT,)  # what the kernel says of deleting what is not there

    def _encoded(self, key: K) -> bytes:
        return self._index(key)

    def _index(self, index: object) -> bytes:
        return index_of(self, index, self.max_entries).to_bytes(4, "little")

    def __len__(self) -> int:
        return self.max_entries

    def update(self, other: Any) -> None:
        """Store all objects of a mapping or of (key, object) pairs, one by one.

        Raises:
            MapError: The kernel refused.
        """
        store_all(self, other)

    def clear(self) -> None:
        """Empty every entry.

        Raises:
            MapError: The kernel refused.
        """
        for index in range(self.max_entries):
            self._remove(self._index(index))

    def _filled(self) -> Iterator[int]:
        return (index for index in range(self.max_entries) if self._number(self._index(index)) is not None)

    def _store(self, key: bytes, thing: object) -> None:
        try:
            with opened(thing) as fd:
                value = fd.to_bytes(self.value_size, "little", signed=True)
                result: int = self._lib.bpf_map_update_elem(self.fd, key, value, 0)
        except OSError as error:
            raise self._fail(f"open {thing!r} for", error.errno or 0) from error
        if result:
            raise self._fail("update", -result)

    def _remove(self, key: bytes) -> bool:
        result: int = self._lib.bpf_map_delete_elem(self.fd, key)
        if result and -result not in self._EMPTY:
            raise self._fail("delete from", -result)
        return not result

    def delete(self, key: K) -> bool:
        """Empty an entry; return whether there was something in it.

        Source: bpf(2) BPF_MAP_DELETE_ELEM, libbpf bpf_map_delete_elem().
        """
        return self._remove(self._encoded(key))

    def __delitem__(self, key: K) -> None:
        if not self.delete(key):
            raise KeyError(key)

    def _number(self, key: bytes) -> int | None:
        """Return the number that the kernel shows for an entry, None if it is empty."""
        buffer = ctypes.create_string_buffer(self.value_size)
        result: int = self._lib.bpf_map_lookup_elem(self.fd, key, buffer)
        if result == -errno.ENOENT:
            return None
        if result:
            raise self._fail("look up in", -result)
        return int.from_bytes(buffer.raw, "little")


class ProgramArrayMap(Walked[int, int], DescriptorMap[int]):
    """Programs that a program may tail-call.

    Kernel: 4.2.
    """

    def __setitem__(self, index: int, program: Program | int) -> None:
        """Put a loaded program, or a file descriptor of one, into an entry.

        Raises:
            MapError: The kernel refused; EINVAL where the program's type or context is not that of the others.
        Source: bpf(2) BPF_MAP_UPDATE_ELEM, libbpf bpf_map_update_elem().
        """
        self._store(self._index(index), program)

    def _may_hold(self, key: object) -> bool:
        return is_index(self, key)

    def __iter__(self) -> Iterator[int]:
        """Yield the indices of the entries that have a program."""
        return self._filled()

    def lookup(self, index: int) -> int | None:
        """Return the id of the program in an entry, or None if it is empty.

        Kernel: 4.18.
        Source: bpf(2) BPF_MAP_LOOKUP_ELEM, libbpf bpf_map_lookup_elem().
        """
        return self._number(self._index(index))


class CgroupArrayMap(DescriptorMap[int]):
    """Cgroups (version 2) that a program may ask whether something is below; user space cannot read it.

    Kernel: 4.8.
    """

    def __setitem__(self, index: int, cgroup: str | os.PathLike[str] | int) -> None:
        """Put a cgroup, given by path or file descriptor, into an entry.

        Raises:
            MapError: The kernel refused, or the path cannot be opened.
        Source: bpf(2) BPF_MAP_UPDATE_ELEM, libbpf bpf_map_update_elem().
        """
        self._store(self._index(index), cgroup)
