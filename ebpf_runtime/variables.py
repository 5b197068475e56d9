# SPDX-License-Identifier: Apache-2.0
"""Global variables of an object: the fields of its data sections, before load and in the running programs."""

from __future__ import annotations

from .errors import VariableError
from .handles import Handle
from .records import _Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

    from .records import Buffer, Field

__all__ = ["Metadata", "Variables"]


class Variables(_Struct, Handle):
    """The global variables of one ELF section, as attributes.

    Attributes:
        section: The section's name.
        attribute: What it is called on a probe.

    Before load all can be set. After load `.data` and `.bss` are the running programs' memory: each read is theirs of
    this moment, each write is seen by them. `.rodata` is then read-only. A struct or array that is read is a copy of
    that moment; `live()` gives views of them, to read and write in place.
    """

    __slots__ = ("_base", "_locked", "_memory")

    section: ClassVar[str] = ""

    attribute: ClassVar[str] = ""

    def __init_subclass__(
        cls, *, section: str = "", size: int = 0, byte_order: str = "little", attribute: str = ""
    ) -> None:
        super().__init_subclass__(size=size, byte_order=byte_order)
        cls.section = section
        cls.attribute = attribute or section.lstrip(".")

    def __init__(self, memory: Buffer, locked: str = "") -> None:
        self._memory = memory
        self._base = 0
        self._locked = locked

    @property
    def _block(self) -> Buffer:
        if self._memory is None:
            raise VariableError(f"use the {self.section} variables: the probe is closed.", name=self.section)
        return self._memory

    if not TYPE_CHECKING:  # type checkers know which there are

        def __setattr__(self, name, value):
            if not hasattr(type(self), name):
                known = ", ".join(field.name for field in self._fields_)
                raise AttributeError(f"set variable {name!r}: {self.section} has none of this name; it has {known}")
            object.__setattr__(self, name, value)

    def _refuse_if_locked(self, field: Field) -> None:
        if self._locked:
            raise VariableError(f"set variable {field.name!r}: {self._locked}", name=field.name)

    def _assign(self, field: Field, value: object) -> None:
        self._store(field, self._base, value)

    def _store(self, field: Field, base: int, value: object) -> None:
        # In one piece: what is refused changes nothing, and programs never see a part of it, nor the zeros that the
        # struct module writes first.
        self._refuse_if_locked(field)
        block, start = self._block, base + field.offset
        aside = bytearray(block[start : start + field.size])  # what is around a bitfield stays
        field.pack(aside, -field.offset, value)
        block[start : start + field.size] = aside

    def _close(self) -> None:
        self._memory = None

    def __repr__(self) -> str:
        if self._memory is None:
            return f"<{type(self).__name__} closed>"
        return f"<{type(self).__name__} {', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in self._fields_)}>"


class Metadata(Variables):
    """What an object carries for whoever loads it, in a section that no program reads; read-only."""

    __slots__ = ()

    data: ClassVar[bytes] = b""

    def __init_subclass__(
        cls, *, section: str = "", size: int = 0, byte_order: str = "little", attribute: str = "", data: bytes = b""
    ) -> None:
        super().__init_subclass__(section=section, size=size, byte_order=byte_order, attribute=attribute)
        cls.data = data.ljust(size, b"\0")

    def __init__(self) -> None:
        super().__init__(self.data, f"{self.section} is what the object says of itself, and cannot be changed.")
