# SPDX-License-Identifier: Apache-2.0
"""Programs on many functions at once, of the kernel or of a user-space program, by one link."""

from __future__ import annotations

import errno
import os
from struct import pack

from . import system_calls
from .errors import AttachError
from .programs import BaseProgram

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from os import PathLike

    from .links import Link

__all__ = ["KprobeMultiProgram", "UprobeMultiProgram"]

_RETURN = 1  # BPF_F_KPROBE_MULTI_RETURN, BPF_F_UPROBE_MULTI_RETURN
_SHOWN = 3


class _MultiProgram(BaseProgram):
    def _one_of(self, **choices: object) -> None:
        if sum(map(bool, choices.values())) != 1:
            *most, last = (f"{name}=" for name in choices)
            raise AttachError(
                f"attach program {self.name!r} to {self.section}: say one of {', '.join(most)} and {last}.",
                name=self.name,
            )

    def _check_all(self, where: str, what: str, values: Sequence[int]) -> None:
        for value in values:
            self._check(where, what, value)

    def _check_cookies(self, cookies: Sequence[int], functions: Sequence[object]) -> None:
        self._check_all(self.section, "cookie", cookies)
        if cookies and len(cookies) != len(functions):
            raise AttachError(
                f"attach program {self.name!r} to {self.section}: {len(cookies)} cookies do not go with "
                f"{len(functions)} functions. Give each function its own, in the same order.",
                name=self.name,
            )

    @property
    def _flags(self) -> int:
        return _RETURN if self._hook.kind.endswith("retprobe.multi") else 0


class KprobeMultiProgram(_MultiProgram):
    """A program on many functions of the kernel: when they begin, when they return, or as a session for both."""

    @property
    def needs(self) -> str:
        return "" if self._hook.target else "pattern, symbols or addresses"

    def attach(
        self,
        *,
        pattern: str = "",
        symbols: Sequence[str] = (),
        addresses: Sequence[int] = (),
        cookies: Sequence[int] = (),
    ) -> Link:
        """Attach to functions of the kernel.

        Args:
            pattern: Those whose names fit, where `*` stands for any text and `?` for one letter. Without it:
            symbols: their names, or
            addresses: where they begin, as /proc/kallsyms has them. None of the three: as the section says.
            cookies: For each of *symbols* or *addresses* the number that bpf_get_attach_cookie() gives there.
        Raises:
            AttachError: No function fits, one cannot be traced, or the kernel has no such links.
            PermissionDeniedError: CAP_PERFMON is missing.
        Kernel: 5.18; sessions 6.10.
        Source: bpf(2) BPF_LINK_CREATE, libbpf bpf_program__attach_kprobe_multi_opts().
        """
        if not (pattern or symbols or addresses):
            pattern = self._hook.target
        self._one_of(pattern=pattern, symbols=symbols, addresses=addresses)
        self._check_cookies(cookies, symbols or addresses)
        self._check_all(self.section, "address", addresses)
        symbols = [self._text("symbol", symbol) for symbol in symbols]
        where = pattern or _some(symbols or [hex(address) for address in addresses])

        def make() -> int:
            found = _addresses(pattern) if pattern else addresses
            if not (symbols or found):
                return -errno.ENOENT
            names = [system_calls.address(symbol.encode() + b"\0") for symbol in symbols]
            symbol_list, symbols_kept = system_calls.address(_numbers(address for address, _ in names))
            address_list, addresses_kept = system_calls.address(_numbers(found))
            cookie_list, cookies_kept = system_calls.address(_numbers(cookies))
            more = pack("=IIQQQ", self._flags, len(symbols) or len(found), symbol_list, address_list, cookie_list)
            result = system_calls.link_create(self.fd, 0, self._hook.attach_type, more=more)
            del names, symbols_kept, addresses_kept, cookies_kept
            return -errno.ENOENT if result == -errno.ESRCH else result

        return self._linked(where, make)


class UprobeMultiProgram(_MultiProgram):
    """A program on many functions of a user-space program or library."""

    @property
    def needs(self) -> str:
        return "" if ":" in self._hook.target else "path, and pattern, symbols or offsets"

    def attach(
        self,
        *,
        path: str | PathLike[str] | None = None,
        pattern: str = "",
        symbols: Sequence[str] = (),
        offsets: Sequence[int] = (),
        cookies: Sequence[int] = (),
        pid: int = -1,
    ) -> Link:
        """Attach to functions of a file.

        Args:
            path: The program or library; one without a slash is looked for where they usually are. None: path and
                pattern are the section's.
            pattern: Functions whose names fit, where `*` stands for any text and `?` for one letter. Without it:
            symbols: their names, or
            offsets: bytes in the file.
            cookies: For each of *symbols* or *offsets* the number that bpf_get_attach_cookie() gives there.
            pid: The process that is watched; -1: all, 0: this one.
        Raises:
            AttachError: There is no such file, no function fits, or the kernel has no such links.
            PermissionDeniedError: CAP_PERFMON is missing.
        Kernel: 6.6; sessions 6.13.
        Source: bpf(2) BPF_LINK_CREATE, libbpf bpf_program__attach_uprobe_multi().
        """
        if path is None:
            if self.needs:
                raise AttachError(
                    f"attach program {self.name!r} to {self.section}: the section names no functions. "
                    "Say which: attach(path=..., pattern=...).",
                    name=self.name,
                )
            if pattern or symbols or offsets:
                raise AttachError(
                    f"attach program {self.name!r} to {self.section}: say path=, too, or neither.", name=self.name
                )
            path, _, pattern = self._hook.target.partition(":")
        file = self._text("path", path)
        self._one_of(pattern=pattern, symbols=symbols, offsets=offsets)
        self._check_cookies(cookies, symbols or offsets)
        self._check_all(file, "offset", offsets)
        self._check_process(file, pid)
        where = f"{file}:{pattern or _some(symbols or [hex(offset) for offset in offsets])}"

        def make() -> int:
            try:
                found, places = self._places(where, file, pattern, symbols, offsets)
            except OSError as error:
                return -(error.errno or errno.ENOENT)
            path_at, path_kept = system_calls.address(os.fsencode(found) + b"\0")
            offset_list, offsets_kept = system_calls.address(_numbers(places))
            cookie_list, cookies_kept = system_calls.address(_numbers(cookies))
            process = os.getpid() if pid == 0 else max(pid, 0)
            more = pack("=QQQQIIIxxxx", path_at, offset_list, 0, cookie_list, len(places), self._flags, process)
            result = system_calls.link_create(self.fd, 0, self._hook.attach_type, more=more)
            del path_kept, offsets_kept, cookies_kept
            return result

        return self._linked(where, make)

    def _places(
        self, where: str, file: str, pattern: str, symbols: Sequence[str], offsets: Sequence[int]
    ) -> tuple[str, Sequence[int]]:
        """Return the file and where in it the functions begin."""
        from .elf_symbols import functions, resolve

        found = resolve(file)
        if offsets:
            return found, offsets
        try:
            known = functions(found)
        except ValueError as error:
            raise AttachError(f"attach program {self.name!r} to {where}: {error}.", name=self.name) from None
        if pattern:
            fits = _matcher(pattern)
            places = sorted({place for name, place in known.items() if fits(name)})
            if not places:
                raise AttachError(
                    f"attach program {self.name!r} to {where}: ENOENT, none of the {len(known)} functions of {found} "
                    "fits.",
                    name=self.name,
                    errno=errno.ENOENT,
                )
            return found, places
        absent = [symbol for symbol in symbols if symbol not in known]
        if absent:
            from .nearby import nearest

            near = ", ".join(nearest(absent[0], known))
            raise AttachError(
                f"attach program {self.name!r} to {where}: ENOENT, {found} has no function {absent[0]!r}."
                f"{f' Near names: {near}.' if near else ''}",
                name=self.name,
                errno=errno.ENOENT,
            )
        return found, [known[symbol] for symbol in symbols]


def _some(names: Sequence[str]) -> str:
    """Return names for a message, the first few of many."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _numbers(numbers: Iterable[int]) -> bytes:
    return b"".join(number.to_bytes(8, "little") for number in numbers)


def _matcher(pattern: str) -> Callable[[str], object]:
    """Return what tells whether a name fits; libbpf's patterns know no brackets."""
    import re

    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(letter) or re.escape(letter) for letter in pattern)).fullmatch


def _addresses(pattern: str) -> list[int]:
    """Return where the functions begin that can be traced and whose names fit.

    The kernel lists those with their addresses since 6.5; before it lists their names, and all addresses elsewhere.
    """
    from pathlib import Path

    from .perf_events import tracefs

    fits = _matcher(pattern)

    def lines(path: str) -> Iterator[list[str]]:
        with Path(path).open(encoding="ascii", errors="replace") as file:
            for line in file:
                yield line.split()

    try:
        listed = lines(f"{tracefs()}/available_filter_functions_addrs")
        return sorted({int(words[0], 16) for words in listed if fits(words[1])})
    except OSError:
        pass
    try:
        names = {words[0] for words in lines(f"{tracefs()}/available_filter_functions") if fits(words[0])}
        symbols = lines("/proc/kallsyms")
        return sorted({int(words[0], 16) for words in symbols if words[1] in "tT" and words[2] in names})
    except OSError:
        return []
