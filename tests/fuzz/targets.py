# SPDX-License-Identifier: Apache-2.0
"""What is fuzzed: each target takes any bytes and returns, or raises what users are told of; nothing else, and soon.

Only the generator is imported, so that a fuzzer needs neither the runtime nor a kernel.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from ebpf_codegen import abi, btf, elf, inspection, model, render
from ebpf_codegen.errors import CodegenError
from ebpf_codegen.host_source import host_source
from ebpf_codegen.source import Documentation
from ebpf_codegen.strip import strip

__all__ = ["SECONDS", "TARGETS", "object_around"]

SECONDS: Final = 1.0  # in which each input is done with
_ORIGIN: Final = render.Origin("bpf/x.bpf.c", "0", "tools/regen x")
_MAX_BYTES: Final = 1 << 20
# Declarations of kernel types that `_types` has.
_DECLARED: Final = """
struct s { int m; struct { int inner; }; int *missing; int b : 3; } __attribute__((preserve_access_index));
enum e { ONE = 1 } __attribute__((preserve_access_index));
"""


def read_object(data: bytes) -> None:
    """From the bytes of an object to its bindings, what is shown of it, and its comparison with itself."""
    found = elf.parse(data, "x.o")
    attempt(lambda: abi.text(abi.compare(found, found)))
    attempt(lambda: inspection.text(inspection.inspect(found)))
    text = render.render(model.build(found, "x", Documentation()), _ORIGIN)
    compile(text, "x.py", "exec")


def strip_object(data: bytes) -> None:
    """Dropping DWARF, twice: the second time there is none."""
    once = strip(data)
    assert strip(once) == once


def read_types(data: bytes) -> None:
    """Types alone, as a whole, one by one, and as a kernel's, whose layout a source gets."""
    attempt(lambda: btf.read(data, "x"))
    found = btf.index(data, "x")
    attempt(lambda: host_source(_DECLARED, found, "x"))
    for number in range(len(found.types)):
        attempt(lambda: found[number])  # noqa: B023  # called at once


def types_in_an_object(data: bytes) -> None:
    """Types inside of an intact object with a map and a variable."""
    read_object(object_around(data[:_MAX_BYTES]))


def relocations_in_an_object(data: bytes) -> None:
    """CO-RE relocations inside of an intact object."""
    found = elf.parse(object_around(_TYPES, data[:_MAX_BYTES]), "x.o")
    inspection.inspect(found)


def attempt(action: Callable[[], object]) -> None:
    """Let one thing be refused without keeping the others from being tried."""
    try:
        action()
    except CodegenError:
        return


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "object": read_object,
    "strip": strip_object,
    "types": read_types,
    "types_in_an_object": types_in_an_object,
    "relocations": relocations_in_an_object,
}

# A struct of one int, an array map with it as value, and an enum: what relocations can refer to.
_STRINGS: Final = b"\0int\0s\0m\0values\0type\0value\0e\0ONE\0"


def _types() -> bytes:
    at = {name: _STRINGS.index(b"\0" + name + b"\0") + 1 for name in _STRINGS.split(b"\0") if name}
    words = [
        *(at[b"int"], 1 << 24, 4, 1 << 24 | 32),  # 1: int
        *(at[b"s"], 4 << 24 | 1, 4, at[b"m"], 1, 0),  # 2: struct s { int m; }
        *(0, 3 << 24, 0, 1, 1, 2),  # 3: int[2], the type BPF_MAP_TYPE_ARRAY
        *(0, 2 << 24, 3),  # 4: pointer to it
        *(0, 2 << 24, 2),  # 5: pointer to struct s
        *(0, 4 << 24 | 2, 16, at[b"type"], 4, 0, at[b"value"], 5, 64),  # 6: the map's definition
        *(at[b"values"], 14 << 24, 6, 1),  # 7: variable values
        *(at[b"e"], 6 << 24 | 1, 4, at[b"ONE"], 1),  # 8: enum e { ONE = 1 }
    ]
    types = struct.pack(f"<{len(words)}I", *words)
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(_STRINGS)) + types + _STRINGS


_TYPES: Final = _types()


def object_around(types: bytes, relocations: bytes = b"") -> bytes:
    """Return a little-endian object with these bytes as `.BTF` and `.BTF.ext`, and symbols that types may name."""
    names = bytearray(b"\0")

    def name(text: str) -> int:
        names.extend(text.encode() + b"\0")
        return len(names) - len(text) - 1

    contents = [(".maps", bytes(64)), (".data", bytes(64)), (".rodata", bytes(64)), ("xdp", bytes(16))]
    contents += [(".BTF", types), (".BTF.ext", relocations)]
    symbols = struct.pack("<IBBHQQ", 0, 0, 0, 0, 0, 0)
    for text, section in (("values", 1), ("variable", 2), ("constant", 3)):
        symbols += struct.pack("<IBBHQQ", name(text), 0x11, 0, section, 0, 8)
    symbols += struct.pack("<IBBHQQ", name("program"), 0x12, 0, 4, 0, 16)
    headers = [struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)]
    body = bytearray(64)
    count = len(contents) + 3
    for index, (text, data) in enumerate(contents, 1):
        flags = 6 if index == 4 else 3
        headers.append(struct.pack("<IIQQQQIIQQ", name(text), 1, flags, 0, len(body), len(data), 0, 0, 1, 0))
        body += data
    headers.append(struct.pack("<IIQQQQIIQQ", name(".symtab"), 2, 0, 0, len(body), len(symbols), count - 1, 1, 1, 24))
    body += symbols
    position = name(".strtab")
    headers.append(struct.pack("<IIQQQQIIQQ", position, 3, 0, 0, len(body), len(names), 0, 0, 1, 0))
    body += names
    body[:64] = struct.pack(
        "<4sBBB9xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 1, 247, 1, 0, 0, len(body), 0, 64, 0, 0, 64, count, count - 1
    )
    return bytes(body) + b"".join(headers)
