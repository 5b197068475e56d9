# SPDX-License-Identifier: Apache-2.0
"""Iterators: programs that write a row for each object of the kernel that they walk."""

from __future__ import annotations

import errno
import os
from struct import pack

from . import system_calls
from .errors import AttachError, EbpfError, describe
from .hooks import Hook
from .links import Link
from .programs import INT_MAX, TRACE_ITER, BaseProgram

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike
    from typing import Any, Generic, TypeVar

    import numpy

    from .maps import Map
    from .records import Field

    R = TypeVar("R")
    B = TypeVar("B", bytes, bytearray)
else:
    from .generics import Generic

    R = object

__all__ = ["IteratorProgram"]

_READ_BYTES = 1 << 16
_WALKS_MAP = ("bpf_map_elem", "bpf_sk_storage_map", "sockmap")
_WALKS_TASKS = ("task", "task_file", "task_vma")
_TASK = ("tid", "pid")
_LINK_TASK = slice(32, 40)  # of struct bpf_link_info: iter.task
_ORDERS = {"self": 1, "descendants": 2, "descendants_post": 3, "ancestors": 4}  # enum bpf_cgroup_iter_order


class IteratorProgram(BaseProgram, Generic[R]):
    """An iterator: a program that walks objects of the kernel and writes a row for each.

    Attach it once; every reading is a new walk. Attached more than once, it walks what was attached last of all that
    is not detached.

    Kernel: 5.8.
    """

    def __init__(self, name: str, hook: Hook, section: str, fd: int, pointer: int, row: Field) -> None:
        super().__init__(name, hook, section, fd, pointer)
        self._row = row

    @property
    def needs(self) -> str:
        """An iterator over the elements of a map needs the map."""
        return "map" if self._hook.target in _WALKS_MAP else ""

    def attach(
        self,
        *,
        map: Map | None = None,
        cgroup: str | PathLike[str] | None = None,
        order: str = "self",
        tid: int = 0,
        pid: int = 0,
    ) -> Link:
        """Attach, to walk all objects or a part of them.

        Args:
            map: The map whose elements are walked, where the iterator is one over a map.
            cgroup: Directory of the cgroup that the walk begins at.
            order: Where from there: "self", "descendants" (first parents, then children), "descendants_post" (first
                children) or "ancestors".
            tid: The one thread that is looked at.
            pid: The one process whose threads are looked at.
        Raises:
            AttachError: The kernel refused; names hook and reason.
        Kernel: 5.8; cgroup 6.1, tid and pid 6.1.
        Source: bpf(2) BPF_LINK_CREATE, libbpf bpf_program__attach_iter().
        """
        if self.needs and map is None:
            raise AttachError(
                f"attach program {self.name!r} to {self.section}: it walks one map. Say which: attach(map=...).",
                name=self.name,
            )

        takes = {"cgroup": ("cgroup",), **dict.fromkeys(_WALKS_MAP, ("map",)), **dict.fromkeys(_WALKS_TASKS, _TASK)}
        allowed = takes.get(self._hook.target, ())
        given = {"map": map is not None, "cgroup": cgroup is not None, "tid": tid, "pid": pid}
        for name, is_given in given.items():
            if is_given and name not in allowed:
                instead = f"It takes {' or '.join(f'{word}=' for word in allowed)}" if allowed else "It takes none"
                raise AttachError(
                    f"attach program {self.name!r} to {self.section}: it takes no {name}=. {instead}.", name=self.name
                )

        if order != "self" and cgroup is None:
            raise AttachError(
                f"attach program {self.name!r} to {self.section}: order={order!r} is one of cgroups. "
                "Say where it begins: attach(cgroup=...).",
                name=self.name,
            )

        for what, number in (("tid", tid), ("pid", pid)):
            self._check(self.section, what, number, high=INT_MAX)
        place = self._text("cgroup", cgroup) if cgroup is not None else ""
        walked = self._map_fd(map) if map is not None else -1

        def make() -> int:
            if cgroup is not None:
                if order not in _ORDERS:
                    raise AttachError(
                        f"attach program {self.name!r} to {self.section}: there is no order {order!r}; "
                        f"there are {', '.join(_ORDERS)}.",
                        name=self.name,
                    )
                try:
                    directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                except OSError as error:
                    return -(error.errno or 0)
                try:
                    return self._create(pack("=IIQ", _ORDERS[order], directory, 0))
                finally:
                    os.close(directory)
            if map is not None:
                return self._create(pack("=IIQ", walked, 0, 0))
            link = self._create(pack("=IIII", tid, pid, 0, 0) if tid or pid else b"")
            if tid or pid:
                self._check_task(link, tid, pid)
            return link

        return self._linked(self.section, make)

    def _check_task(self, link: int, tid: int, pid: int) -> None:
        """Refuse where the kernel walks all tasks, whatever it is told, or says that it is told too much."""
        if link >= 0:
            _, info = system_calls.object_info(link)
            if info[_LINK_TASK] == pack("=II", tid, pid):
                return
            os.close(link)
        elif link != -errno.E2BIG:
            return
        raise AttachError(
            f"attach program {self.name!r} to {self.section}: this kernel has no iterators over a part of the tasks, "
            "Linux 6.1 has. Walk all, and pass over the others in the program.",
            name=self.name,
            feature="iterators over a part of the tasks",
            minimum_kernel="6.1",
        )

    def _create(self, information: bytes) -> int:
        where, kept = system_calls.address(information)
        more = pack("=QIxxxx", where, len(information)) if information else b""
        result = system_calls.link_create(self.fd, 0, TRACE_ITER, more=more)
        del kept
        return result

    def read(self) -> bytes:
        """Walk once and return the rows as bytes, one behind the other.

        Raises:
            AttachError: It is not attached.
            EbpfError: The kernel ended the walk with an error.
        Source: libbpf bpf_iter_create(), read(2).
        """
        return self._walked(b"")

    def _walked(self, empty: B) -> B:
        """Walk once and return the rows in the kind of bytes given."""
        link = next((link.fd for link in reversed(self._attached) if link.fd >= 0), -1)
        if link < 0:
            raise AttachError(f"read iterator {self.name!r}: it is not attached. Call attach() first.", name=self.name)
        fd: int = system_calls.iterator_create(link)
        if fd < 0:
            raise EbpfError(f"read iterator {self.name!r}: {describe(-fd)}.", name=self.name, errno=-fd)
        try:
            return empty.join(self._chunks(fd))
        except OSError as error:
            number = error.errno or 0
            raise EbpfError(
                f"read iterator {self.name!r}: {describe(number)}.", name=self.name, errno=number
            ) from error
        finally:
            os.close(fd)

    @staticmethod
    def _chunks(fd: int) -> Iterator[bytes]:
        """Yield what the kernel hands over; it asks to try again where many objects in a row made no row."""
        while True:
            try:
                chunk = os.read(fd, _READ_BYTES)
            except BlockingIOError:
                continue
            if not chunk:
                return
            yield chunk

    def rows(self) -> Iterator[R]:
        """Walk once and yield the rows, as lazy views on one owned block.

        Raises:
            AttachError: It is not attached.
            EbpfError: The kernel ended the walk with an error, or a row has another size than its type.
        """
        block = self._whole(b"")
        for start in range(0, len(block), self._row.size):
            yield self._row.unpack(block, start)

    def read_array(self) -> numpy.ndarray[Any, Any]:
        """Walk once and return the rows as one owned structured array (needs numpy).

        Raises:
            AttachError: It is not attached.
            EbpfError: As for `rows`.
        """
        from .arrays import structured

        return structured(memoryview(self._whole(bytearray())), self._row, 0)

    def _whole(self, empty: B) -> B:
        """Walk once and return whole rows."""
        block = self._walked(empty)
        if len(block) % self._row.size:
            raise EbpfError(
                f"read iterator {self.name!r}: {len(block)} bytes are no whole number of {self._row.kind} "
                f"of {self._row.size}. Bind the right record and run tools/regen.",
                name=self.name,
            )
        return block
