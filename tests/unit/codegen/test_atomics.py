# SPDX-License-Identifier: Apache-2.0
"""What is `_Atomic` in clang's dump of a syntax tree, as text that a test writes."""

from __future__ import annotations

import pytest

from ebpf_codegen import atomics
from ebpf_codegen.errors import UnsupportedError

HIDDEN = """\
|-TypedefDecl 0x1 <x.bpf.c:1:1, col:23> col:23 referenced counter_t '_Atomic(__u32)'
|-VarDecl 0x2 <line:2:1, col:22> col:22 used hidden '_Atomic(__u32)' static
|-VarDecl 0x3 <line:3:1, col:22> col:22 used plain '__u32':'unsigned int'
|-RecordDecl 0x4 <line:4:1, line:6:1> line:4:8 struct state definition
| `-FieldDecl 0x5 <line:5:2, col:8> col:8 a '__u32':'unsigned int'
|-FunctionDecl 0x6 <line:7:1, line:9:1> line:7:5 used p 'int (void *)'
| `-CompoundStmt 0x7 <line:7:1, line:9:1>
|   `-DeclStmt 0x8 <line:8:2, col:20>
|     `-VarDecl 0x9 <col:2, col:20> col:16 used local '_Atomic(__u32)' cinit
"""
VARIABLE = "|-VarDecl 0xa <line:9:1, col:17> col:11 rows 'counter_t[4]'"
POINTER = "|-VarDecl 0xa <line:9:1, col:16> col:16 pointer '_Atomic(__u32) *'"
MEMBER = """\
|-RecordDecl 0xa <line:9:1, line:11:1> line:9:8 struct totals definition
| |-RecordDecl 0xb <line:10:2, col:34> col:2 struct definition
| | `-FieldDecl 0xc <col:11, col:31> col:25 deep 'counter_t':'_Atomic(__u32)'
"""
NAMELESS = """\
|-RecordDecl 0xa <line:9:9, col:35> col:9 struct definition
| `-FieldDecl 0xb <col:18, col:32> col:32 z '_Atomic(__u32)'
|-TypedefDecl 0xc <col:1, col:37> col:37 referenced pair_t 'struct pair_t':'pair_t'
"""


@pytest.mark.parametrize(
    ("added", "place"),
    [
        (VARIABLE, "variable 'rows'"),
        (POINTER, "variable 'pointer'"),
        (MEMBER, "struct totals, member 'deep'"),
        (NAMELESS, "pair_t, member 'z'"),
    ],
)
def test_what_is_shown_and_atomic_is_refused(added: str, place: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        atomics.refuse(HIDDEN + added, "x.bpf.c")
    assert str(caught.value) == (
        f"x.bpf.c: {place}: it is _Atomic, which clang before 20 leaves out of BTF. "
        "Declare it without, and change it by __sync_fetch_and_add() and its like."
    )


def test_what_nobody_else_sees_may_be_atomic() -> None:
    atomics.refuse(HIDDEN, "x.bpf.c")
