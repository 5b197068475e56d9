# SPDX-License-Identifier: Apache-2.0
"""Enumerations, apart from the records that hold them: importing `enum` takes as long as loading a small probe."""

from __future__ import annotations

from enum import IntEnum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

__all__ = ["CEnum"]


class CEnum(IntEnum):
    """An enum of C. A value without an enumerator becomes a member named `UNKNOWN_<value>`, never an error."""

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, int):
            return None
        member = int.__new__(cls, value)
        member._name_ = f"UNKNOWN_{value}"
        member._value_ = value
        return member
