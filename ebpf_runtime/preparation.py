# SPDX-License-Identifier: Apache-2.0
"""What may be set on an opened probe, before `load` takes notice of it."""

from __future__ import annotations

from .errors import OpenError
from .loader import RING_BUFFERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .loader import Opened

__all__ = ["pin_map", "resize", "select", "set_target"]


def _check(opened: Opened, action: str, name: str, names: Sequence[str], step: str) -> None:
    """See that there is what is to be set, and that `load` is still to come."""
    if name not in names:
        others = f"; there are {', '.join(names)}" if names else ""
        raise OpenError(f"{action}: there is none{others}.", name=name)
    if opened.closed:
        raise OpenError(f"{action}: the probe is loaded or closed. {step} before load.", name=name)


def select(opened: Opened, variant: str) -> None:
    """Have one variant alone tried."""
    action = f"select variant {variant!r} of {opened.spec.name!r}"
    _check(opened, action, variant, opened.spec.variants, "Select it")
    opened.variants = (variant,)


def resize(opened: Opened, name: str, max_entries: int) -> None:
    """Give a map a number of entries, a ring buffer one of bytes."""
    types = {item.name: item.type for item in opened.spec.maps}
    _check(opened, f"resize map {name!r}", name, list(types), "Resize it")
    most = 1 << 31 if types[name] in RING_BUFFERS else (1 << 32) - 1  # the largest power of two with 32 bits
    if type(max_entries) is not int or not 0 < max_entries <= most:
        raise OpenError(f"resize map {name!r}: {max_entries!r} is not from 1 to {most}.", name=name)
    opened.sizes[name] = max_entries


def pin_map(opened: Opened, name: str, path: str) -> None:
    """Have a map taken from a path, or pinned there."""
    if any(item.name == name and item.type == "ARENA" for item in opened.spec.maps):
        raise OpenError(
            f"pin map {name!r}: an arena has one address, that of the process which made it, and is taken from no "
            "path. Pin it once it is loaded, by its own pin().",
            name=name,
        )
    _check(opened, f"pin map {name!r}", name, [item.name for item in opened.spec.maps], "Name the path")
    if "\0" in path:
        raise OpenError(f"pin map {name!r} at {path!r}: the path has a NUL.", name=name)
    if other := next((other for other, taken in opened.pins.items() if taken == path and other != name), ""):
        raise OpenError(f"pin map {name!r} at {path}: map {other!r} is to be pinned there.", name=name)
    opened.pins[name] = path


def set_target(opened: Opened, name: str, fd: int, function: str) -> None:
    """Have a program hang on a function of another BPF program, instead of on the kernel's."""
    action = f"set the target of program {name!r}"
    _check(opened, action, name, [item.name for item in opened.spec.programs], "Set it")
    if fd < 0:
        raise OpenError(f"{action}: the target is closed.", name=name)
    opened.targets[name] = (fd, function)
