# SPDX-License-Identifier: Apache-2.0
"""What a generated module says of its object, as data: maps, programs, variants, sections."""

from __future__ import annotations

import os
import sys

from .errors import OpenError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .probe import Links, Maps, Programs
    from .records import Field
    from .variables import Metadata, Variables

__all__ = ["ARENA_SECTION", "MapSpec", "ObjectSpec", "ProgramSpec", "architecture"]

ARENA_SECTION = ".addr_space.1"  # of the global variables that live in an arena


def architecture() -> str:
    """Return the machine by the name that embedded objects carry."""
    machine = os.uname().machine
    return {"aarch64": "arm64"}.get(machine, machine)


class MapSpec:
    """One map.

    Attributes:
        name: Its attribute.
        type: An enumerator of bpf_map_type without its prefix.
        c_name: Its name in the object.
        key: What a key holds; None where only its size is known, or it has none.
        value: What a value, or a record of a ring or perf buffer, holds.
        max_entries: Entries, of a ring buffer bytes; 0 where libbpf decides.
        flags: BPF_F_… of bpf(2).
        map_extra: What the map's type makes of it, such as the number of hash functions of a Bloom filter.
        numa_node: Node that the memory is taken from, where the flags say so.
        pinning: 1: libbpf pins it by its name.
        inner: What the maps in it are like.
        values: (index, map or program by its C name) that it holds from the start.
        initial: The kernel's structure that a struct_ops map is made from.
    """

    __slots__ = (
        "c_name", "flags", "initial", "inner", "key", "map_extra", "max_entries", "name", "numa_node", "pinning",
        "type", "value", "values",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        type: str,
        *,
        c_name: str = "",
        key: Field | None = None,
        value: Field | None = None,
        max_entries: int = 0,
        flags: int = 0,
        map_extra: int = 0,
        numa_node: int = 0,
        pinning: int = 0,
        inner: MapSpec | None = None,
        values: tuple[tuple[int, str], ...] = (),
        initial: Field | None = None,
    ) -> None:
        self.name = name
        self.type = type
        self.c_name = c_name or name
        self.key = key
        self.value = value
        self.max_entries = max_entries
        self.flags = flags
        self.map_extra = map_extra
        self.numa_node = numa_node
        self.pinning = pinning
        self.inner = inner
        self.values = values
        self.initial = initial

    def to_big_endian(self) -> None:
        """Take keys and values for those of a big-endian machine."""
        for field in (self.key, self.value, self.initial):
            if field is not None:
                field.to_big_endian()
        if self.inner is not None:
            self.inner.to_big_endian()


class ProgramSpec:
    """One program: its attribute, ELF section, the variants it belongs to (none: all), whether it loads by default.

    *row* is the field that one row of an iterator program holds.
    """

    __slots__ = ("autoload", "c_name", "name", "row", "section", "variants")

    def __init__(
        self,
        name: str,
        section: str,
        *,
        c_name: str = "",
        variants: tuple[str, ...] = (),
        autoload: bool = True,
        row: Field | None = None,
    ) -> None:
        self.name = name
        self.section = section
        self.c_name = c_name or name
        self.variants = variants
        self.autoload = autoload
        self.row = row

    def loads_in(self, variant: str) -> bool:
        """Return whether the program is loaded when *variant* is."""
        return variant in self.variants if self.variants else self.autoload


class ObjectSpec:
    """One object, as its generated module describes it.

    Attributes:
        name: The object's name, its file stem.
        module: The generated module; the object's files stand beside it.
        variants: Names of the variants, best first; empty where there is no choice.
        byte_order: Of the machine that the object is for, "little" or "big".
        kernel_symbols: The kernel's variables that the programs use.
    """

    __slots__ = (
        "byte_order", "kernel_symbols", "links_type", "maps", "maps_type", "metadata_types", "module", "name",
        "programs", "programs_type", "section_types", "variants",
    )  # fmt: skip

    def __init__(
        self,
        *,
        name: str,
        module: str,
        maps: tuple[MapSpec, ...],
        programs: tuple[ProgramSpec, ...],
        maps_type: type[Maps],
        programs_type: type[Programs],
        links_type: type[Links],
        variants: tuple[str, ...] = (),
        section_types: tuple[type[Variables], ...] = (),
        metadata_types: tuple[type[Metadata], ...] = (),
        byte_order: str = "little",
        kernel_symbols: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.module = module
        self.maps = maps
        self.programs = programs
        self.maps_type = maps_type
        self.programs_type = programs_type
        self.links_type = links_type
        self.variants = variants
        self.section_types = section_types
        self.metadata_types = metadata_types
        self.byte_order = byte_order
        self.kernel_symbols = kernel_symbols
        if byte_order == "big":
            for item in maps:
                item.to_big_endian()

    def read(self, suffix: str, *, digests: str = "sha256") -> bytes:
        """Return an embedded file `<name>.<suffix>` after checking it against the digest taken when it was built.

        Raises:
            OpenError: It is not in the package.
            DigestError: It is not what was built.
        """
        return self.read_listed(f"{self.name}.{suffix}", f"{self.name}.{digests}")

    def read_listed(self, name: str, digests: str) -> bytes:
        """Return an embedded file whose digest stands in another, as `sha256sum` writes it; raises as `read` does."""
        from .digests import check_listed

        data = self._bytes(name)
        check_listed(name, data, self._bytes(digests))
        return data

    def digest(self, suffix: str, *, digests: str = "sha256") -> str:
        """Return the SHA-256 in hex that was taken of `<name>.<suffix>` when it was built; empty if it was not.

        Raises:
            OpenError: The file of digests is not in the package.
        """
        from .digests import listed_digest

        return listed_digest(f"{self.name}.{suffix}", self._bytes(f"{self.name}.{digests}"))

    def _bytes(self, name: str) -> bytes:
        from .digests import first_file

        module = sys.modules[self.module]
        package = sys.modules.get(module.__package__ or "")
        directories = list(getattr(package, "__path__", ())) or [(module.__file__ or "").rpartition("/")[0]]
        found = first_file(module.__spec__.loader if module.__spec__ else None, directories, name)
        if found is not None:
            return found
        raise OpenError(
            f"open {name}: it is not beside module {self.module} (looked in {', '.join(directories)}). "
            "Install the package, a checkout alone holds no objects.",
            name=name,
        )
