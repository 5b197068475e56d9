# SPDX-License-Identifier: Apache-2.0
"""Programs and their attachments."""

from __future__ import annotations

import ctypes

from .errors import AttachError, CloseError, describe
from .libbpf import captured, library

__all__ = ["Link", "Program"]

_HINTS = {
    2: "The hook is not in this kernel; see /sys/kernel/tracing/available_filter_functions and events/.",
    95: "This kernel has no such hook.",
}


class Link:
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
        if not self._pointer:
            return
        pointer, self._pointer, self.fd = self._pointer, 0, -1
        result: int = library().bpf_link__destroy(pointer)
        if result:
            raise CloseError(f"detach program {self.name!r}: {describe(-result)}.", name=self.name, failures=())

    def __repr__(self) -> str:
        return f"<Link {self.name!r} fd={self.fd}>"


class Program:
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

    def attach(self) -> Link:
        """Attach to the hook that the section names; the caller owns the link.

        Raises:
            AttachError: The kernel or libbpf refused; names hook and reason.
        Source: libbpf bpf_program__attach().
        """
        if self.fd < 0:
            raise AttachError(f"attach program {self.name!r}: the probe is closed.", name=self.name)
        pointer = None
        try:
            with captured() as messages:
                pointer = library().bpf_program__attach(self._pointer)
                number = ctypes.get_errno()
        except BaseException:
            if pointer:
                library().bpf_link__destroy(pointer)
            raise
        if not pointer:
            hint = _HINTS.get(number, "")
            raise AttachError(
                f"attach program {self.name!r} to {self.section}: {describe(number)}.{' ' if hint else ''}{hint}",
                name=self.name,
                errno=number,
                log="".join(messages),
            )
        return Link(self.name, pointer)

    def _close(self) -> None:
        self._pointer = 0
        self.fd = -1

    def __repr__(self) -> str:
        return f"<Program {self.name!r} {self.section} fd={self.fd}>"
