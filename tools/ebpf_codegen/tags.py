# SPDX-License-Identifier: Apache-2.0
"""What the tags of tags.bpf.h make of a member: an attribute that gives its meaning, beside the raw value."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Final

from .layouts import ArrayOf, EnumRef, Member, RecordRef, Scalar, Text, ValueType
from .names import identifier

__all__ = ["FUNCTIONS", "STANDARD", "Accessor", "Misplaced", "accessors", "unit"]

_UNIT: Final = "unit:"
_AS: Final = "as:"

# Names that annotations take from the standard library, and their modules.
STANDARD: Final = {"Final": "typing", "IPv4Address": "ipaddress", "IPv6Address": "ipaddress", "datetime": "datetime"}


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What a tag makes of a member: what is added to its name, the type and function of the runtime, what it is.

    *sizes* are those a member may have; *raw* says that the function takes the bytes.
    """

    macro: str
    suffix: str
    annotation: str
    function: str
    about: str
    sizes: tuple[int, ...] = ()
    raw: bool = False


_MEANINGS: Final = {
    "ipv4": _Meaning("IPV4", "ip", "IPv4Address", "ipv4_address", "The address in", (4,), raw=True),
    "ipv6": _Meaning("IPV6", "ip", "IPv6Address", "ipv6_address", "The address in", (16,), raw=True),
    "port_be": _Meaning("PORT_BE", "host", "int", "network_port", "The port in", (2,), raw=True),
    "timestamp_ns": _Meaning("TIMESTAMP_NS", "time", "datetime", "monotonic_time", "The time, in UTC, of", (8,)),
    "timestamp_boot": _Meaning("TIMESTAMP_BOOT", "time", "datetime", "boot_time", "The time, in UTC, of", (8,)),
    "timestamp_tai": _Meaning("TIMESTAMP_TAI", "time", "datetime", "tai_time", "The time, in UTC, of", (8,)),
    "errno": _Meaning("ERRNO", "name", "str", "errno_name", "The name of the error number in", (1, 2, 4, 8)),
    "cgroup_id": _Meaning("CGROUP_ID", "path", "str", "cgroup_path", "The path of the cgroup in", (8,)),
    "memory_cgroup_id": _Meaning(
        "MEMORY_CGROUP_ID", "path", "str", "memory_cgroup_path", "The path of the cgroup in", (8,)
    ),
    "ksym": _Meaning("KSYM", "symbol", "str", "kernel_symbol", "The kernel's symbol at", (8,)),
    "string": _Meaning("STRING", "text", "str", "text_of", "The text in", raw=True),
}
FUNCTIONS: Final = tuple(meaning.function for meaning in _MEANINGS.values())  # of the runtime
_ENDINGS: Final = ("_ns", "_id")  # of a raw value's name, which its meaning's does without


class Misplaced(Exception):
    """A tag stands on a member that cannot have its meaning; the text says why."""


@dataclass(frozen=True, slots=True)
class Accessor:
    """An attribute of a record: its name, type and documentation, the function that makes it, and of what."""

    name: str
    annotation: str
    doc: str
    function: str
    argument: str


def unit(member: Member) -> str:
    """Return the unit that the member is tagged with, else nothing."""
    return next((tag.removeprefix(_UNIT) for tag in member.tags if tag.startswith(_UNIT)), "")


def accessors(members: Iterable[tuple[str, Member]], taken: Container[str]) -> list[Accessor]:
    """Return what the tags of members, given with their names in Python, make of them.

    Args:
        members: Those of one record.
        taken: Names that no attribute of it may have.
    Raises:
        Misplaced: A tag does not fit its member.
    """
    members = list(members)
    names = {name for name, _ in members}
    found = []
    for name, member in members:
        for tag in member.tags:
            meaning = _MEANINGS.get(tag.removeprefix(_AS)) if tag.startswith(_AS) else None
            if meaning is None or (meaning.macro == "STRING" and isinstance(member.type, Text)):
                continue
            _check(meaning, member)
            wanted = _name(name, meaning.suffix)
            while wanted in names or wanted in taken:
                wanted += "_"
            wanted = identifier(wanted)
            names.add(wanted)
            argument = f'self.raw("{name}")' if meaning.raw else f"self.{name}"
            found.append(Accessor(wanted, meaning.annotation, f"{meaning.about} {name}.", meaning.function, argument))
    return found


def _name(raw: str, suffix: str) -> str:
    base = next((raw.removesuffix(ending) for ending in _ENDINGS if raw.endswith(ending) and raw != ending), raw)
    if base != raw and base.endswith((suffix, f"{suffix}stamp")):
        return base
    return f"{base}_{suffix}"


def _check(meaning: _Meaning, member: Member) -> None:
    kind: ValueType = member.type
    if not meaning.sizes:
        if not (isinstance(kind, ArrayOf) and kind.size == kind.count):
            raise Misplaced(f"member {member.name!r}: {meaning.macro} wants an array of bytes, not {kind.c_type}")
        return
    whole = isinstance(kind, Scalar | EnumRef) or (meaning.raw and isinstance(kind, ArrayOf | RecordRef))
    if not whole or kind.size not in meaning.sizes:
        sizes = " or ".join(map(str, meaning.sizes))
        raise Misplaced(
            f"member {member.name!r}: {meaning.macro} wants {sizes} bytes, not {kind.c_type} of {kind.size}"
        )
