# SPDX-License-Identifier: Apache-2.0
"""Bytes of many records at once as Python objects."""

from __future__ import annotations

import gc
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from ebpf_runtime.records import _Nested

if TYPE_CHECKING:
    from ebpf_runtime.records import Field

__all__ = ["decoder", "gc_paused", "number_code"]

# Kind of a field -> the code of struct and memoryview.
_CODES: Final = {
    "u8": "B", "u16": "H", "u32": "I", "u64": "Q", "s8": "b", "s16": "h", "s32": "i", "s64": "q",
    "f32": "f", "f64": "d", "boolean": "?", "pointer": "Q",
}  # fmt: skip

Decoder = Callable[[bytes, int], list[Any]]


@contextmanager
def gc_paused() -> Iterator[None]:
    """Make many objects without the collector looking through them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def number_code(field: Field | None) -> Any:
    """Return the code of a plain number, as memoryview knows it; empty for what is none."""
    code = _CODES.get(field.kind, "") if field is not None else ""
    return code if field is not None and code and struct.calcsize("<" + code) == field.size else ""


def decoder(field: Field | None, size: int, step: int) -> Decoder:
    """Return a function that makes a list of *count* objects from bytes where one stands each *step* bytes.

    Records are views on the bytes given.
    """
    if field is None:
        return lambda block, count: [block[start : start + size] for start in range(0, count * step, step)]
    code = number_code(field)
    if code and step % size == 0:
        return lambda block, count: memoryview(block).cast(code)[: count * step // size : step // size].tolist()
    if isinstance(field, _Nested):
        views, first = field.views, field.offset
        return lambda block, count: list(views(block, range(first, first + count * step, step)))
    unpack = field.unpack
    return lambda block, count: [unpack(block, start) for start in range(0, count * step, step)]
