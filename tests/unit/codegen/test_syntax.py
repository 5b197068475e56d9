# SPDX-License-Identifier: Apache-2.0
"""clang's dump of a syntax tree, as text that a test writes."""

from __future__ import annotations

from ebpf_codegen import events, syntax
from ebpf_codegen.events import Inferred, Written

DUMP = """\
TranslationUnitDecl 0x1 <<invalid sloc>> <invalid sloc>
|-RecordDecl 0x2 </a b/x.h:4:1, col:42> col:8 struct event definition
| |-FieldDecl 0x3 <col:16, col:22> col:22 pid '__u32':'unsigned int'
| `-RecordDecl 0x4 <line:5:2> col:9 struct inner definition
|-TypedefDecl 0x5 <line:6:1, col:22> col:22 referenced event_t 'struct event':'struct event'
|-VarDecl 0x10 <<scratch space>:5:1, x.bpf.c:9:3> col:3 used events 'struct (unnamed struct at x.bpf.c:7:1)'
| |-SectionAttr 0x11 <h.h:39:17> section ".maps"
| `-UsedAttr 0x12 <col:32>
|-VarDecl 0x20 prev 0x1f <line:3158:1, col:88> col:16 used bpf_ringbuf_output 'long (*)(void *, void *, __u64, __u64)'
|-FunctionDecl 0x30 <h.h:39:2, x.bpf.c:24:1> line:13:19 used p 'int (void *)'
| |-ParmVarDecl 0x31 <col:21, col:27> col:27 used ctx 'void *'
| |-CompoundStmt 0x32 <col:32, line:24:1>
| | |-DeclStmt 0x33 <line:14:2, col:32>
| | | |-RecordDecl 0x34 <line:14:2, col:9> col:9 struct local definition
| | | `-VarDecl 0x35 <col:2, col:31> col:8 used e 'event_t':'struct event'
| | `-CallExpr 0x40 <line:15:2, col:36> 'long'
| |   |-ImplicitCastExpr 0x41 <col:2> 'long (*)(void *, void *, __u64, __u64)' <LValueToRValue>
| |   | `-DeclRefExpr 0x42 <col:2> 'long (*)(void *, void *, __u64, __u64)' lvalue Var 0x20 'bpf_ringbuf_output' 'x'
| |   |-ImplicitCastExpr 0x43 <col:9> 'void *' <BitCast>
| |   | `-UnaryOperator 0x44 <col:9> 'struct (unnamed struct at x.bpf.c:7:1) *' prefix '&' cannot overflow
| |   |   `-DeclRefExpr 0x45 <col:9> 'struct (unnamed struct at x.bpf.c:7:1)' lvalue Var 0x10 'events' 'x'
| |   |-ImplicitCastExpr 0x46 <col:9> 'void *' <BitCast>
| |   | `-UnaryOperator 0x47 <col:9> 'event_t *' prefix '&' cannot overflow
| |   |   `-DeclRefExpr 0x48 <col:9> 'event_t':'struct event' lvalue Var 0x35 'e' 'event_t':'struct event'
| |   `-ImplicitCastExpr 0x49 <col:9> '__u64':'unsigned long long' <IntegralCast>
| |     `-UnaryExprOrTypeTraitExpr 0x4a <col:9> 'unsigned long' sizeof 'event_t':'struct event'
| `-SectionAttr 0x50 <h.h:39:17, col:29> section "tp/x/y"
`-FunctionDecl 0x60 <x.bpf.c:30:1> col:5 later 'int (void)' extern
"""


def test_what_a_dump_holds() -> None:
    tree = syntax.read(DUMP)
    assert list(tree.functions) == ["p"]
    assert list(tree.variables) == ["events", "bpf_ringbuf_output"]
    assert tree.sections == {"events": ".maps", "p": "tp/x/y"}
    assert tree.tags == {"struct event", "struct inner"}
    assert tree.local_types == {"struct local"}
    assert tree.typedefs == {"event_t": "struct event"}
    (parameter,) = (node for node in tree.functions["p"].walk() if node.kind == "ParmVarDecl")
    assert (parameter.id, parameter.name, parameter.type) == ("0x31", "ctx", ("void *", "void *"))


def test_what_is_inferred_from_it() -> None:
    assert events.infer(syntax.read(DUMP)) == Inferred({"events": Written(["struct event"])})


def test_no_dump_is_too_odd() -> None:
    lines = DUMP.splitlines()
    for number in range(len(lines)):
        events.infer(syntax.read("\n".join(lines[:number] + lines[number + 1 :])))
        events.infer(syntax.read("\n".join([*lines[:number], lines[number][: len(lines[number]) // 2]])))
    assert events.infer(syntax.read("")) == Inferred()
