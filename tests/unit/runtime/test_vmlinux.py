# SPDX-License-Identifier: Apache-2.0
"""Which files hold BTF: as a whole, or as a section."""

from __future__ import annotations

import pytest

from ebpf_runtime.vmlinux import btf_of
from tests.unit.codegen.writers import BtfWriter, ElfWriter

NOBITS = 8


def blob(order: str) -> bytes:
    writer = BtfWriter(order)
    writer.floating("float", 4)
    return writer.build()


def image(order: str, data: bytes, *, kind: int = 1, size: int | None = None) -> bytes:
    elf = ElfWriter(order, 62)
    elf.section(".text", b"code")
    elf.section(".BTF_ids", b"\x9f\xeb\1\0")
    elf.section(".BTF", data, kind=kind, size=size)
    return elf.build()


@pytest.mark.parametrize("order", ["<", ">"])
def test_btf_is_the_file_or_its_section(order: str) -> None:
    assert btf_of(blob(order)) == blob(order)
    assert btf_of(image(order, blob(order))) == blob(order)


def test_every_file_that_is_cut_off_holds_none() -> None:
    for whole in (blob("<"), image("<", blob("<"))):
        for length in range(len(whole)):
            with pytest.raises(ValueError, match="no BTF"):
                btf_of(whole[:length])


@pytest.mark.parametrize(
    "content",
    [
        image("<", blob("<"), kind=NOBITS),
        image("<", b""),
        image("<", blob("<"), size=1 << 40),
        image("<", b"\x9f\xeb\1\0" + bytes(20)),  # a header that says that there is no type
        image("<", blob("<")).replace(b".BTF\0", b".BTX\0"),
        b"\x7fELF\1" + image("<", blob("<"))[5:],
    ],
    ids=["of debug information", "empty", "too long", "no type", "no such section", "32 bits"],
)
def test_what_is_no_intact_section_is_not_taken(content: bytes) -> None:
    with pytest.raises(ValueError, match="no BTF"):
        btf_of(content)
