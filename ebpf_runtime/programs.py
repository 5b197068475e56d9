# SPDX-License-Identifier: Apache-2.0
"""Programs and their attachments."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .errors import AttachError, CloseError, EbpfError, describe
from .handles import Handle
from .libbpf import captured, library
from .signals import signals_held

if TYPE_CHECKING:
    import numpy

    from .records import Field

__all__ = ["IteratorProgram", "Link", "Program"]

R = TypeVar("R")

_READ_BYTES = 1 << 16

_HINTS = {
    2: "The hook is not in this kernel; see /sys/kernel/tracing/available_filter_functions and events/.",
    95: "This kernel has no such hook.",
}


class Link(Handle):
    """One attachment of a program.

    Attributes:
        name: The program's name.
        fd: The link's file descriptor; -1 once detached.
    """

    def __init__(self, name: str, pointer: int) -> None:
        self.name = name
        self._pointer = pointer
        self.fd: int = library().bpf_link__fd(pointer)

    def detach(self) -> None:
        """Unhook the program; a second call does nothing.

        Raises:
            CloseError: The kernel refused; the attachment is gone for this process all the same.
        """
        with signals_held():
            pointer, self._pointer, self.fd = self._pointer, 0, -1
            result: int = library().bpf_link__destroy(pointer) if pointer else 0
        if result:
            raise CloseError(f"detach program {self.name!r}: {describe(-result)}.", name=self.name, failures=())

    def __repr__(self) -> str:
        return f"<Link {self.name!r} fd={self.fd}>"


class Program(Handle):
    """One program of a loaded probe.

    Attributes:
        name: Its name in the object.
        section: Its ELF section, which names the hook.
        fd: Its file descriptor; -1 once the probe is closed.
    """

    def __init__(self, name: str, section: str, pointer: int) -> None:
        self.name = name
        self.section = section
        self._pointer = pointer
        self.fd: int = library().bpf_program__fd(pointer)
        self._attached: list[Link] = []

    def attach(self) -> Link:
        """Attach to the hook that the section names, until the link is detached or the probe closed.

        Raises:
            AttachError: The kernel or libbpf refused; names hook and reason.
        Source: libbpf bpf_program__attach().
        """
        if self.fd < 0:
            raise AttachError(f"attach program {self.name!r}: the probe is closed.", name=self.name)
        with signals_held():
            with captured() as messages:
                pointer = library().bpf_program__attach(self._pointer)
                number = ctypes.get_errno()
            if pointer:
                link = Link(self.name, pointer)
                self._attached.append(link)
                return link
            raise self._refused(number, "".join(messages))

    def _refused(self, number: int, log: str) -> AttachError:
        hint = _HINTS.get(number, "")
        return AttachError(
            f"attach program {self.name!r} to {self.section}: {describe(number)}.{' ' if hint else ''}{hint}",
            name=self.name,
            errno=number,
            log=log,
        )

    def _detach(self) -> list[Exception]:
        """Detach whatever is attached, the last first; return what failed."""
        failures: list[Exception] = []
        while self._attached:
            try:
                self._attached.pop().detach()
            except CloseError as error:
                failures.append(error)
        return failures

    def _close(self) -> None:
        self._pointer = 0
        self.fd = -1

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.section} fd={self.fd}>"


class IteratorProgram(Program, Generic[R]):
    """An iterator: a program that walks objects of the kernel and writes a row for each.

    Attach it once; every reading is a new walk.

    Kernel: 5.8.
    """

    def __init__(self, name: str, section: str, pointer: int, row: Field) -> None:
        super().__init__(name, section, pointer)
        self._row = row
        self._link: Link | None = None

    def attach(self) -> Link:
        self._link = super().attach()
        return self._link

    def read(self) -> bytes:
        """Walk once and return the rows as bytes, one behind the other.

        Raises:
            AttachError: It is not attached.
            EbpfError: The kernel ended the walk with an error.
        Source: libbpf bpf_iter_create(), read(2).
        """
        if self._link is None or self._link.fd < 0:
            raise AttachError(f"read iterator {self.name!r}: it is not attached. Call attach() first.", name=self.name)
        fd: int = library().bpf_iter_create(self._link.fd)
        if fd < 0:
            raise EbpfError(f"read iterator {self.name!r}: {describe(-fd)}.", name=self.name, errno=-fd)
        try:
            return b"".join(self._chunks(fd))
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
        block = self._whole(self.read())
        for start in range(0, len(block), self._row.size):
            yield self._row.unpack(block, start)

    def read_array(self) -> numpy.ndarray[Any, Any]:
        """Walk once and return the rows as one owned structured array (needs numpy)."""
        from .arrays import structured

        return structured(self._whole(self.read()), self._row, 0)

    def _whole(self, block: bytes) -> bytes:
        if len(block) % self._row.size:
            raise EbpfError(
                f"read iterator {self.name!r}: {len(block)} bytes are no whole number of {self._row.kind} "
                f"of {self._row.size}. Bind the right record and run tools/regen.",
                name=self.name,
            )
        return block
