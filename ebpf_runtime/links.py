# SPDX-License-Identifier: Apache-2.0
"""Attachments of programs."""

from __future__ import annotations

import os

from . import system_calls
from .errors import AttachError, CloseError, EbpfError, describe
from .handles import Handle, signals_held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from os import PathLike

    from .programs import BaseProgram

__all__ = ["LibbpfLink", "Link"]


class Link(Handle):
    """One attachment of a program.

    Attributes:
        name: The program's name.
        fd: The link's file descriptor; -1 once detached, and for hooks that the kernel gives no link for.
        path: Where it is pinned; empty where it is not.
        attached: False once this process has detached it.
    """

    def __init__(self, name: str, fd: int, undo: Callable[[], int] | None = None) -> None:
        self.name = name
        self.fd = fd
        self.path = ""
        self._undo = undo
        self._owner = os.getpid()
        self.attached = True

    def detach(self) -> None:
        """Unhook the program; a second call does nothing. A pinned attachment stays until `unpin`.

        Raises:
            CloseError: The kernel refused; the attachment is gone for this process all the same.
        """
        with signals_held():
            if not self.attached:
                return
            self.attached = False
            number = self._release()
        if number:
            raise CloseError(f"detach program {self.name!r}: {describe(number)}.", name=self.name, failures=())

    def _release(self) -> int:
        """Free what is held; return the error number of what failed."""
        number = 0
        # A forked child has a copy of the file descriptor, and closing it leaves the parent's link alone; what is
        # undone by a call is the parent's to undo.
        if self._undo is not None and self._owner == os.getpid():
            number = -self._undo()
        fd, self.fd = self.fd, -1
        if fd >= 0:
            try:
                os.close(fd)
            except OSError as error:
                number = number or error.errno or 0
        return number

    def update(self, program: BaseProgram) -> None:
        """Put another program of the same type into the link, without a moment in which none is attached.

        Raises:
            AttachError: The hook's links cannot change their program, or the program is closed or of another type.
        Kernel: cgroup and network namespace 5.8, XDP 5.9, tcx 6.6.
        Source: bpf(2) BPF_LINK_UPDATE, libbpf bpf_link__update_program().
        """
        link = self._live("update")
        if program.fd < 0:
            raise AttachError(
                f"update the link of program {self.name!r} to {program.name!r}: that program's probe is closed.",
                name=self.name,
            )
        result = system_calls.link_update(link, program.fd)
        if result < 0:
            raise AttachError(
                f"update the link of program {self.name!r} to {program.name!r}: {describe(-result)}. "
                "Only links of cgroups, network devices and network namespaces take another program.",
                name=self.name,
                errno=-result,
            )
        self.name = program.name

    def pin(self, path: str | PathLike[str]) -> None:
        """Keep the attachment under a path of a BPF file system, also when this process is gone.

        Raises:
            EbpfError: It is pinned elsewhere, or the kernel refused, as for a path outside a BPF file system.
        Source: bpf(2) BPF_OBJ_PIN, libbpf bpf_link__pin().
        """
        from .pinning import pin

        fd = self._live("pin")
        if self.path and os.path.lexists(self.path):
            raise EbpfError(
                f"pin link {self.name!r} at {os.fspath(path)}: it is pinned at {self.path}. Unpin it first.",
                name=self.name,
            )
        pin("link", self.name, fd, path)
        self.path = os.fspath(path)

    def unpin(self) -> None:
        """Remove the path; the attachment then lives as long as this process holds it.

        Newer kernels let go of it a moment after that, when no CPU can be looking at it.

        Raises:
            EbpfError: It is not pinned, or the path cannot be removed.
        """
        from .pinning import unpin

        unpin("link", self.name, self.path)
        self.path = ""

    def _live(self, action: str) -> int:
        if not self.attached:
            raise AttachError(f"{action} the link of program {self.name!r}: it is detached.", name=self.name)
        if self.fd < 0:
            raise EbpfError(
                f"{action} the link of program {self.name!r}: the kernel gives no link for this hook.", name=self.name
            )
        return self.fd

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} fd={self.fd}>"


class LibbpfLink(Link):
    """An attachment that libbpf made: it may be made of several."""

    def __init__(self, name: str, pointer: int) -> None:
        from .libbpf import library

        self._pointer = pointer
        super().__init__(name, library().bpf_link__fd(pointer))

    def _release(self) -> int:
        from .libbpf import library

        pointer, self._pointer, self.fd = self._pointer, 0, -1
        # In a forked child libbpf would undo what is the parent's, such as events in tracefs.
        if self._owner != os.getpid():
            library().bpf_link__disconnect(pointer)
        result: int = library().bpf_link__destroy(pointer)
        return -result
