# SPDX-License-Identifier: Apache-2.0
"""What is written as BTF is read as the same types."""

from __future__ import annotations

import pytest

from ebpf_codegen import btf, btf_writer
from ebpf_codegen.btf import BtfType
from ebpf_codegen.errors import BtfError

TYPES: tuple[BtfType, ...] = (
    btf.Void(),
    btf.Int("int", 4, True, False, 0, 32),
    btf.Int("_Bool", 1, False, True, 0, 8),
    btf.Int("", 4, False, False, 3, 5),  # an old-style bitfield
    btf.Ptr(6),
    btf.Array(1, 1, 7),
    btf.Struct("task", 24, (btf.Member("a", 1, 0, 0), btf.Member("", 7, 64, 0)), False),
    btf.Struct("", 8, (btf.Member("low", 1, 0, 3), btf.Member("high", 1, 3, 29)), True),
    btf.Enum("small", 4, True, (("minus", -1), ("zero", 0))),
    btf.Enum("large", 8, False, (("top", (1 << 64) - 1),)),
    btf.Fwd("later", True),
    btf.Typedef("task_t", 6),
    btf.Modifier("const", 6),
    btf.Modifier("type_tag", 6, "rcu"),
    btf.FuncProto(1, (("x", 4), ("", 0))),
    btf.Float("double", 8),
)


@pytest.mark.parametrize("order", ["little", "big"])
def test_every_kind_comes_back(order: str) -> None:
    found = btf.read(btf_writer.write(TYPES, order))
    assert (tuple(found.types), found.byte_order) == (TYPES, order)


def test_strings_are_written_once() -> None:
    types = (btf.Void(), btf.Fwd("name", False), btf.Typedef("name", 1))
    assert btf_writer.write(types, "little").count(b"name") == 1


def test_kinds_that_are_no_types_of_data_are_refused() -> None:
    with pytest.raises(BtfError) as caught:
        btf_writer.write((btf.Void(), btf.Func("f", 0, 1)), "little")
    assert str(caught.value) == "write BTF: a Func is not written."
