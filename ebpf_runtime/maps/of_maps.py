# SPDX-License-Identifier: Apache-2.0
"""Maps whose values are maps."""

from __future__ import annotations

import ctypes
import errno
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, ClassVar, Generic, cast

from ebpf_runtime.errors import MapError, PermissionDeniedError, RecordError
from ebpf_runtime.kernel_objects import map_sizes
from ebpf_runtime.libbpf_structures import MapCreateOptions
from ebpf_runtime.records import u32

from . import map_class
from .base import Map, index_of, is_index
from .by_key import Walked, store_all
from .descriptors import descriptor
from .keyed import KeyedMap
from .walk import batches

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    K = TypeVar("K")
    M = TypeVar("M", bound=Map, default=Map)
else:
    from typing import TypeVar

    K = TypeVar("K")
    M = TypeVar("M")

__all__ = ["ArrayOfMaps", "HashOfMaps"]

# enum bpf_map_type of what may be inside.
_TYPES = {
    "HASH": 1, "ARRAY": 2, "PERCPU_HASH": 5, "PERCPU_ARRAY": 6, "LRU_HASH": 9, "LRU_PERCPU_HASH": 10, "LPM_TRIE": 11,
    "QUEUE": 22, "STACK": 23, "RINGBUF": 27, "BLOOM_FILTER": 30,
}  # fmt: skip
_MOST = (1 << 32) - 1
_NAME = re.compile(r"[A-Za-z0-9_.]{0,15}")


class _OfMaps(Walked[K, M], Generic[K, M]):
    """Maps by key. What is read is opened, and belongs to the caller, who closes it: `with outer[key] as inner:`."""

    _has_batches: ClassVar[bool] = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        name, kind, fd, sizes, key, _ = arguments
        index = isinstance(self, ArrayOfMaps)
        self._entries: KeyedMap[K, int] = KeyedMap(name, kind, fd, sizes, u32(0) if index else key, u32(0))

    def _checked(self, key: K) -> K:
        return key

    def lookup(self, key: K) -> M | None:
        """Open the map under *key*, or return None if there is none.

        Raises:
            MapError: The kernel refused.
            PermissionDeniedError: Opening a map by its id needs CAP_SYS_ADMIN.
        Kernel: 4.14.
        Source: bpf(2) BPF_MAP_LOOKUP_ELEM, BPF_MAP_GET_FD_BY_ID.
        """
        number = self._entries.lookup(self._checked(key))
        return None if number is None else self._open(number)

    def _open(self, number: int) -> M | None:
        fd: int = self._lib.bpf_map_get_fd_by_id(number)
        if fd == -errno.ENOENT:
            return None  # it was taken out, and is gone
        if fd == -errno.EPERM:
            raise PermissionDeniedError(
                f"open map {number} in map {self.name!r}: EPERM, this process lacks CAP_SYS_ADMIN. "
                "Run as root, or grant the capability.",
                name=self.name,
                errno=errno.EPERM,
            )
        if fd < 0:
            raise self._fail(f"open map {number} in", -fd)
        return self._made(fd, f"{self.name}.{number}")

    def _made(self, fd: int, name: str) -> M:
        kind = self.inner.type if self.inner is not None else ""
        key = self.inner.key if self.inner is not None else None
        value = self.inner.value if self.inner is not None else None
        made = map_class(kind)(name, kind, fd, map_sizes(fd), key, value)
        made._owned = True
        return cast("M", made)

    def __setitem__(self, key: K, inner: M | int) -> None:
        """Put a map, or a file descriptor of one, under *key*; it must be of the kind declared.

        Raises:
            MapError: The kernel refused; EINVAL for a map of another kind.
        Source: bpf(2) BPF_MAP_UPDATE_ELEM, libbpf bpf_map_update_elem().
        """
        try:
            fd = descriptor(inner)
        except OSError:
            fd = -1
        if fd < 0:
            raise MapError(f"update map {self.name!r}: {inner!r} is no open map.", name=self.name)
        self._entries.update_elem(self._checked(key), fd)

    def delete(self, key: K) -> bool:
        """Take the map under *key* out; return whether there was one.

        Source: bpf(2) BPF_MAP_DELETE_ELEM, libbpf bpf_map_delete_elem().
        """
        return self._entries._delete(self._checked(key))

    def pop(self, key: K, default: Any = Walked._MISSING) -> Any:
        """Take the map under *key* out and return it, opened before; else *default*.

        Raises:
            KeyError: There is none, and no default is given.
            MapError: The kernel refused.
            PermissionDeniedError: Opening a map by its id needs CAP_SYS_ADMIN.
        """
        with ExitStack() as opened_maps:
            inner = self.lookup(key) if self._may_hold(key) else None
            if inner is not None:
                opened_maps.enter_context(inner)
                if self.delete(key):
                    opened_maps.pop_all()
                    return inner
        if default is Walked._MISSING:
            raise KeyError(key)
        return default

    def update(self, other: Any) -> None:
        """Put all maps of a mapping or of (key, map) pairs under their keys, one by one.

        Raises:
            MapError: The kernel refused; EINVAL for a map of another kind.
        """
        store_all(self, other)

    def __contains__(self, key: Any) -> bool:
        try:
            return self._may_hold(key) and self._entries.lookup(key) is not None
        except (IndexError, RecordError):
            return False

    def ids(self) -> dict[K, int]:
        """Return the ids of all maps in it, by key."""
        decode, _ = self._entries._decoders()
        found: dict[K, int] = {}
        for keys, values, count in batches(self._entries):
            found.update(zip(decode(keys, count), memoryview(values).cast("I").tolist(), strict=True))
        return found

    def __iter__(self) -> Iterator[K]:
        """Yield the keys that have a map."""
        return iter(self.ids())

    def items(self) -> Iterator[tuple[K, M]]:
        """Open one map after the other; yield (key, map), and close it when the next is asked for."""
        for key, number in self.ids().items():
            inner = self._open(number)
            if inner is not None:
                with inner:
                    yield key, inner

    def create(self, max_entries: int = 0, name: str = "inner") -> M:
        """Make a map of the kind declared, to be put under a key; it belongs to the caller, who closes it.

        Args:
            max_entries: 0 for as many as declared.
            name: At most 15 letters of ASCII, digits, `_` and `.`.
        Raises:
            MapError: Number or name cannot be, the kernel refused, the probe is closed, or the object does not say
                what is inside.
        Source: bpf(2) BPF_MAP_CREATE, libbpf bpf_map_create().
        """
        if self.fd < 0:
            raise self._fail(f"make {name!r} for", 0)
        spec = self.inner
        if spec is None or spec.type not in _TYPES:
            raise MapError(f"make a map for {self.name!r}: the object does not say what is inside.", name=self.name)
        if not isinstance(max_entries, int) or not 0 <= max_entries <= _MOST:
            raise MapError(
                f"make {name!r} for map {self.name!r}: {max_entries!r} is no number of entries. "
                f"Give 1 to {_MOST}, or 0 for as many as declared.",
                name=self.name,
            )
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise MapError(
                f"make {name!r} for map {self.name!r}: it cannot be called so. "
                "Give at most 15 letters of ASCII, digits, '_' and '.'.",
                name=self.name,
            )
        options = MapCreateOptions(sz=ctypes.sizeof(MapCreateOptions), map_flags=spec.flags)
        sizes = [field.size if field is not None else 0 for field in (spec.key, spec.value)]
        fd: int = self._lib.bpf_map_create(
            _TYPES[spec.type], name.encode(), *sizes, max_entries or spec.max_entries, ctypes.byref(options)
        )
        if fd < 0:
            raise self._fail(f"make {name!r} for", -fd)
        return self._made(fd, name)

    def _close(self) -> None:
        self._entries._close()
        super()._close()


class ArrayOfMaps(_OfMaps[int, M], Generic[M]):
    """An array of maps.

    Kernel: 4.12.
    """

    def _checked(self, key: int) -> int:
        return index_of(self, key, self.max_entries)

    def _may_hold(self, key: object) -> bool:
        return is_index(self, key)

    def __len__(self) -> int:
        return self.max_entries


class HashOfMaps(_OfMaps[K, M]):
    """A hash of maps.

    Kernel: 4.12.
    """

    def __len__(self) -> int:
        return len(self.ids())
