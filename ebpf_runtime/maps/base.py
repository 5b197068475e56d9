# SPDX-License-Identifier: Apache-2.0
"""What every map has: name, type, sizes, file descriptor, and the errors of its operations."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

from ebpf_runtime.errors import EbpfError, MapError, PermissionDeniedError, RecordError, describe
from ebpf_runtime.kernel_objects import map_flags, object_id
from ebpf_runtime.libbpf import library
from ebpf_runtime.pinning import KernelMap
from ebpf_runtime.privilege import missing_capabilities
from ebpf_runtime.rare_errors import MapFullError

if TYPE_CHECKING:
    from typing import Any, Self

    from ebpf_runtime.records import Field
    from ebpf_runtime.specs import MapSpec

__all__ = ["NOT_SUPPORTED", "Map", "exact", "index_of", "integer", "is_index"]

# What kernels answer that lack a command, for any map or for this type; the first is the kernel's own ENOTSUPP.
NOT_SUPPORTED = (524, errno.EOPNOTSUPP, errno.EINVAL)


class Map(KernelMap):
    """A loaded map of any type.

    Attributes:
        name: Its name in the object.
        type: Enumerator of bpf_map_type without its prefix.
        fd: Its file descriptor; -1 once closed.
        max_entries: As the kernel has it; bytes for a ring buffer.
        key_size: Bytes of a key.
        value_size: Bytes of a value, on one CPU.
    """

    def __init__(
        self, name: str, kind: str, fd: int, sizes: tuple[int, int, int], key: Field | None, value: Field | None
    ) -> None:
        self.name = name
        self.type = kind
        self.fd = fd
        self.key_size, self.value_size, self.max_entries = sizes
        self._key = key
        self._value = value
        self._lib = library()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.type} fd={self.fd}>"

    @property
    def id(self) -> int:
        """The kernel's id of the map.

        Raises:
            MapError: The map is closed.
        Kernel: 4.13.
        """
        return object_id(self._open_fd())

    @property
    def flags(self) -> int:
        """The flags the map was made with, `BPF_F_…` of bpf(2).

        Raises:
            MapError: The map is closed.
        Kernel: 4.13.
        """
        return map_flags(self._open_fd())

    def _open_fd(self) -> int:
        if self.fd < 0:
            raise self._fail("ask about", 0)
        return self.fd

    # What the maps in a map of maps are like.
    inner: MapSpec | None = None

    def close(self) -> None:
        """Close a map that was opened by itself, such as one in another map; those of a probe close with the probe."""
        if self._owned and self.fd >= 0:
            fd = self.fd
            self._close()
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __del__(self) -> None:
        if self._owned and self.fd >= 0 and not sys.is_finalizing():
            import warnings

            self.close()  # first: a warning may be an error
            warnings.warn(f"map {self.name!r} was never closed", ResourceWarning, source=self, stacklevel=1)

    def _close(self) -> None:
        self.fd = -1

    def _fail(self, action: str, number: int, *, feature: str = "", minimum_kernel: str = "") -> EbpfError:
        """Return the error for one failed operation; *feature* is what the kernel lacks where it does not know it."""
        what = f"{action} map {self.name!r}"
        if self.fd < 0:
            return self._closed(what, number)
        if number == errno.EPERM and (missing := missing_capabilities()):
            return PermissionDeniedError(
                f"{what}: EPERM, this process lacks {' and '.join(missing)}. "
                "Run as root, or grant the capabilities (setcap, AmbientCapabilities=).",
                name=self.name,
                errno=number,
            )
        if number in (errno.E2BIG, errno.ENOSPC, errno.ENOMEM) and action in _ADDING:
            reason = "E2BIG, it is full" if number == errno.E2BIG else describe(number)
            return MapFullError(
                f"{what}: {reason}; it holds at most {self.max_entries} entries. "
                "Delete some, or make it larger before load.",
                name=self.name,
                errno=number,
            )
        if number == errno.EPERM:
            return MapError(
                f"{what}: EPERM, it is frozen, or its flags forbid it to user space.", name=self.name, errno=number
            )
        if feature and number in NOT_SUPPORTED:
            return MapError(
                f"{what}: {_NAMES.get(number) or describe(number)}; this kernel has no {feature}. "
                f"It came with Linux {minimum_kernel}.",
                name=self.name,
                errno=number,
                feature=feature,
                minimum_kernel=minimum_kernel,
            )
        return MapError(f"{what}: {_NAMES.get(number) or describe(number)}.", name=self.name, errno=number)


# The actions that take room; after any other no number of the kernel's says that a map is full.
_ADDING = ("update", "push into")
# The kernel's E2BIG is not about arguments, as its usual text has it.
_NAMES = {524: "ENOTSUPP, not supported for maps of this type", errno.E2BIG: "E2BIG, too large"}


def exact(entries: Map, data: object, size: int, what: str) -> bytes:
    """Return bytes that stand for a key or value without a type.

    Raises:
        RecordError: They are not, or too few or many.
    """
    if isinstance(data, bytes) and len(data) == size:
        return data
    raise RecordError(f"use map {entries.name!r}: {data!r} is not the {size} bytes of a {what}.", name=entries.name)


def index_of(entries: Map, key: object, count: int) -> int:
    """Return a key that must be an index below *count*.

    Raises:
        IndexError: It is none.
    """
    index = integer(entries, key, count)
    if 0 <= index < count:
        return index
    raise _no_index(entries, key, count)


def is_index(entries: Map, key: object) -> bool:
    """Return whether an integer, of whatever type, is an index of a map.

    Raises:
        IndexError: It is no integer.
    """
    return 0 <= integer(entries, key, entries.max_entries) < entries.max_entries


def integer(entries: Map, key: Any, count: int) -> int:
    """Return a key that must be an integer, of whatever type.

    Raises:
        IndexError: It is none.
    """
    if isinstance(key, int):
        return key
    from operator import index  # a numpy integer, most likely

    try:
        return index(key)
    except TypeError:
        raise _no_index(entries, key, count) from None


def _no_index(entries: Map, key: object, count: int) -> IndexError:
    return IndexError(f"map {entries.name!r} has entries 0 to {count - 1}, not {key!r}")
