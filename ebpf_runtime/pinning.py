# SPDX-License-Identifier: Apache-2.0
"""Paths of a BPF file system that keep maps, programs and links."""

from __future__ import annotations

import errno
import os

from . import system_calls
from .errors import EbpfError, MapError, describe
from .handles import Handle
from .rare_errors import warn_of_fallback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import PathLike

    from .map_layouts import Layouts

__all__ = ["KernelMap", "open_pinned_map", "pin", "pin_refusal", "unpin"]

_DEVICE_MAPS = (14, 25)  # DEVMAP, DEVMAP_HASH
_RDONLY_PROG = 1 << 7  # BPF_F_RDONLY_PROG, which the kernel itself gives these


class KernelMap(Handle):
    """What all maps can, whatever their type: be pinned, and be frozen."""

    name: str
    fd: int
    _owned = False  # it was opened by itself, and not with a probe

    def _closed(self, what: str, number: int = 0) -> MapError:
        """Return the error for an operation on a closed map."""
        whose = "it" if self._owned else "the probe"
        return MapError(f"{what}: {whose} is closed.", name=self.name, errno=number)

    def pin(self, path: str | PathLike[str]) -> None:
        """Keep the map under a path of a BPF file system, also when this process is gone.

        Raises:
            EbpfError: The kernel refused, as for a path outside a BPF file system.
        Source: bpf(2) BPF_OBJ_PIN, libbpf bpf_map__pin().
        """
        if self.fd < 0:
            raise self._closed(f"pin map {self.name!r} at {os.fspath(path)}")
        pin("map", self.name, self.fd, path)

    def unpin(self, path: str | PathLike[str]) -> None:
        """Remove a path that `pin` made.

        Raises:
            EbpfError: It cannot be removed.
        """
        unpin("map", self.name, path)

    def freeze(self) -> None:
        """Let no process write the map any more by system call; programs go on writing.

        Raises:
            MapError: The kernel refused, as while the map's memory is mapped for writing.
        Kernel: 5.2.
        Source: bpf(2) BPF_MAP_FREEZE, libbpf bpf_map_freeze().
        """
        if self.fd < 0:
            raise self._closed(f"freeze map {self.name!r}")
        result = system_calls.map_freeze(self.fd)
        if result < 0:
            hint = " Its memory is mapped for writing." if result == -errno.EBUSY else ""
            raise MapError(f"freeze map {self.name!r}: {describe(-result)}.{hint}", name=self.name, errno=-result)


def pin(kind: str, name: str, fd: int, path: str | PathLike[str]) -> None:
    """Pin a "map", "program" or "link" at a path, whose folders are made where they are missing.

    Raises:
        EbpfError: The kernel refused; the text says what the path lacks.
    """
    where = os.fspath(path)
    if fd < 0:
        raise EbpfError(f"pin {kind} {name!r} at {where}: the probe is closed.", name=name)
    if "\0" in where:
        raise EbpfError(f"pin {kind} {name!r} at {where!r}: the path has a NUL.", name=name)
    from contextlib import suppress
    from pathlib import Path

    made: list[Path] = []
    try:
        for folder in reversed(Path(where).parents):
            if not folder.exists():
                folder.mkdir(mode=0o700, exist_ok=True)
                made.append(folder)
        result = system_calls.object_pin(os.fsencode(where), fd)
        text = pin_refusal(kind, name, where, -result)
    except OSError as error:
        result = -(error.errno or 0)
        text = f"pin {kind} {name!r} at {where}: {describe(-result)}."
    if result < 0:
        for folder in reversed(made):
            with suppress(OSError):  # somebody else uses it by now
                folder.rmdir()
        raise EbpfError(text, name=name, errno=-result)


def pin_refusal(kind: str, name: str, where: str, number: int) -> str:
    """Return the text of an error for what cannot be pinned at a path."""
    dots = ", whose names have no dots" if "." in os.path.basename(where) else ""  # noqa: PTH119
    hint = {
        errno.EPERM: f" Choose a path in a BPF file system{dots}, such as /sys/fs/bpf (mount -t bpf bpf /sys/fs/bpf).",
        errno.EINVAL: " Choose a path in a BPF file system, whose names have no dots.",
        errno.EEXIST: " Something is pinned there: unpin it, or choose another path.",
    }.get(number, "")
    return f"pin {kind} {name!r} at {where}: {describe(number)}.{hint}"


def unpin(kind: str, name: str, path: str | PathLike[str]) -> None:
    """Remove a path that keeps something.

    Raises:
        EbpfError: There is no path, or it cannot be removed.
    """
    where = os.fspath(path)
    if not where:
        raise EbpfError(f"unpin {kind} {name!r}: it is not pinned.", name=name)
    try:
        os.unlink(where)  # noqa: PTH108
    except OSError as error:
        number = error.errno or 0
        raise EbpfError(f"unpin {kind} {name!r} from {where}: {describe(number)}.", name=name, errno=number) from error


def open_pinned_map(name: str, path: str, wanted: tuple[int, ...], layouts: Layouts | None) -> int:
    """Open a pinned map in the place of one that would be made; -1 if nothing is pinned there.

    A map without BTF is compared by sizes alone, with a warning where there are fields that may differ.

    Args:
        wanted: bpf_map_type, bytes of key and value, number of entries, flags, and map_extra.
        layouts: What its key and value are made of, None where nothing tells.
    Raises:
        MapError: What is pinned there is another map; the text says in what it differs.
    Source: bpf(2) BPF_OBJ_GET, BPF_OBJ_GET_INFO_BY_FD.
    """
    fd = system_calls.object_get(os.fsencode(path))
    if fd == -errno.ENOENT:
        return -1
    if fd < 0:
        raise MapError(f"reuse map {name!r} pinned at {path}: {describe(-fd)}.", name=name, errno=-fd)
    result, info = system_calls.object_info(fd)
    found = [int.from_bytes(info[at : at + 4], "little") for at in (0, 8, 12, 16, 20)]
    if found[0] in _DEVICE_MAPS:
        found[-1] &= ~_RDONLY_PROG | wanted[4]
    found.append(int.from_bytes(info[80:88], "little"))
    what = ("type {}", "key size {}", "value size {}", "max_entries {}", "flags {:#x}", "map_extra {:#x}")
    differs = [
        f"{w.format(a)}, not {w.split()[-1].format(b)}" for w, a, b in zip(what, found, wanted, strict=True) if a != b
    ]
    reason = describe(-result) if result < 0 else f"it has {', '.join(differs)}" if differs else ""
    if layouts is not None and not result:
        from .map_layouts import difference, pinned_layouts

        pinned = pinned_layouts(info)
        if isinstance(pinned, str):
            if layouts.has_members and not reason:
                warn_of_fallback(
                    f"reuse map {name!r} pinned at {path}: {pinned}, so its fields are not compared, only its sizes."
                )
        else:
            reason = difference(pinned, layouts) or reason
    if reason:
        os.close(fd)
        raise MapError(
            f"reuse map {name!r} pinned at {path}: {reason}. Unpin it, or pin the new one elsewhere.", name=name
        )
    return fd
