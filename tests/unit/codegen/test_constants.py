# SPDX-License-Identifier: Apache-2.0
"""Which names of a source may be constants, and what clang's dump says of them."""

from __future__ import annotations

from ebpf_codegen.constants import Candidate, Constant, candidates, constants, probing, values

TEXT = """\
#line 1 "probe.bpf.c"
#line 1 "own.h"
/* documented */
#define ONE 1
#define TWO (ONE + 1) /* behind */
#define THREE 3 // behind, too

/* of nothing */

#define FOUR \\
	4
#define TEXT "a\\tb" "\\x41\\102" /* joined */
#define EMPTY
#define PARAMETERS(x) 1
#define _HIDDEN 1
#define small 1
enum named { A, /* of a */ B = sizeof(int[2]) /* of b */ };
enum { /* before c */ C, };
enum named function(enum named argument);
#line 1 "libbpf.h"
#define THEIRS 1
enum { ALSO_THEIRS };
#line 2 "probe.bpf.c"
#define INTERNAL 1
/* not for users */
#define INTERNAL_TOO 1
/** for users */
#define SHOWN 5
/** for users */
enum { SHOWN_TOO };
enum { INTERNAL_AS_WELL };
"""


def test_own_names_that_may_be_constants() -> None:
    assert candidates(TEXT, "probe.bpf.c", lambda name: name == "own.h") == [
        Candidate("ONE", "documented"),
        Candidate("TWO", "behind"),
        Candidate("THREE", "behind, too"),
        Candidate("FOUR", ""),
        Candidate("TEXT", "joined", "a\tbAB"),
        Candidate("A", "of a"),
        Candidate("B", "of b"),
        Candidate("C", "before c"),
        Candidate("SHOWN", "for users"),
        Candidate("SHOWN_TOO", ""),
    ]


def test_values_are_those_that_the_dump_has() -> None:
    assert probing(["A", "B"]) == "enum { __constant_0 = (A) };\nenum { __constant_1 = (B) };\n"
    dump = """\
Dumping __constant_0:
EnumConstantDecl 0x1 </k.c:7:8, col:25> col:8 __constant_0 'int'
`-ConstantExpr 0x2 <col:23, col:25> 'int'
  |-value: Int -5
  `-ParenExpr 0x3 <col:23, col:25> 'int'

Dumping __constant_1:
EnumConstantDecl 0x1 </k.c:8:8> col:8 __constant_1 'int'

Dumping __constant_2:
EnumConstantDecl 0x1 </k.c:9:8, col:25> col:8 __constant_2 'unsigned long'
`-ImplicitCastExpr 0x2 <col:23, col:25> 'unsigned long' <IntegralCast>
  `-ConstantExpr 0x3 <col:23, col:25> 'unsigned long long'
    |-value: Int 18446744073709551615
"""
    assert values(dump, ["A", "B", "C"]) == {"A": -5, "C": 2**64 - 1}


def test_what_is_neither_string_nor_integer_is_left_out() -> None:
    found = [Candidate("A", "a"), Candidate("B", "b", "text"), Candidate("C", "c")]
    assert list(constants(found, {"C": 3})) == [Constant("B", "text", "b"), Constant("C", 3, "c")]
