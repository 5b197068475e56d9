# SPDX-License-Identifier: Apache-2.0
"""What is inferred of streams and what is not, with every compiler; warnings and refusals by their full text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from ebpf_codegen.__main__ import main
from ebpf_codegen.compiler import Compiler
from ebpf_codegen.errors import UnsupportedError
from ebpf_codegen.pipeline import Built, build_probe
from tests.support.sources import write_source

from .cases import INCLUDE

TYPES = """
struct event {
	__u32 pid;
	char comm[16];
};
typedef struct event event_t;
struct other {
	__u32 pid;
	char path[16];
};
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps"), more SEC(".maps");
"""
QUIET = "RINGBUF_RECORD(more, struct other);\n"


def build(directory: Path, compiler: Compiler, code: str, records: Mapping[str, Sequence[str]] | None = None) -> Built:
    source = write_source(directory, "probe", TYPES + code)
    return build_probe(source, compiler, INCLUDE, ("x86_64",), records)


def annotation(built: Built, name: str) -> str:
    match = re.search(rf"(?m)^    {name}: (\w+\[.*\])$", built.module)
    assert match is not None, built.module
    return match[1]


def program(body: str, before: str = "", section: str = "tp/sched/sched_process_exec") -> str:
    return f'{before}\nSEC("{section}") int traces(void *ctx)\n{{\n{body}\n\treturn 0;\n}}\n'


WAYS = {
    "the pointer that takes it": "event_t *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);\n"
    "if (e) bpf_ringbuf_submit(e, 0);",
    "sizeof of the type": "void *e = bpf_ringbuf_reserve(&events, sizeof(struct event), 0);\n"
    "if (e) bpf_ringbuf_submit(e, 0);",
    "a cast": "struct event *e = (struct event *)bpf_ringbuf_reserve(&events, sizeof(event_t), 0);\n"
    "if (e) bpf_ringbuf_discard(e, 0);",
    "a variable that is set later": "struct event *e;\nvoid *map = &events;\n"
    "e = bpf_ringbuf_reserve(map, sizeof(*e), 0);\nif (!e) return 0;\nbpf_ringbuf_submit(e, 0);",
    "a copy from the stack": "const volatile event_t e = {};\n"
    "bpf_ringbuf_output(&events, (void *)&e, sizeof(e), 0);",
    "a copy of bytes": "struct event e = {};\nchar bytes[sizeof(e)];\n__builtin_memcpy(bytes, &e, sizeof(e));\n"
    "bpf_ringbuf_output(&events, bytes, sizeof(struct event), 0);",
    "a statement expression": "struct event e = {};\n"
    "bpf_ringbuf_output(({ void *m = &events; m; }), ({ &e; }), sizeof e, 0);",
    "a size in a constant": "const int size = sizeof(struct event);\nstruct event e = {};\n"
    "bpf_ringbuf_output(&events, &e, size, 0);",
    "a head with more behind it": "struct { event_t e; char rest[4]; } all = {};\n"
    "bpf_ringbuf_output(&events, &all.e, sizeof(all.e) + 4, 0);",
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_write_a_record(way: str, compiler: Compiler, tmp_path: Path) -> None:
    built = build(tmp_path, compiler, QUIET + program(WAYS[way]))
    assert (annotation(built, "events"), built.warnings) == ("RingBuffer[Event]", ())


def test_one_helper_serves_two_maps_with_their_own_types(compiler: Compiler, tmp_path: Path) -> None:
    helpers = """
static __always_inline void *reserve(void *map, __u64 size)
{
	return bpf_ringbuf_reserve(map, size, 0);
}
static __noinline int fill(struct event *e)
{
	return e ? e->pid : 0;
}
"""
    body = """	struct other *o = reserve(&more, sizeof(*o));
	void *e;

	if (o)
		bpf_ringbuf_submit(o, 0);
	e = reserve(&events, sizeof(struct event));
	if (e) {
		__builtin_memset(e, 0, sizeof(struct event));
		fill(e);
		bpf_ringbuf_submit(e, 0);
	}"""
    built = build(tmp_path, compiler, program(body, helpers))
    assert (annotation(built, "events"), annotation(built, "more")) == ("RingBuffer[Event]", "RingBuffer[Other]")
    assert built.warnings == ()


UNKNOWN = {
    "a size that is computed": (
        "struct event e = {};\nbpf_ringbuf_output(&events, &e, 4 + (__u32)(long)ctx % 8, 0);",
        "traces() calls bpf_ringbuf_output with a size that is not sizeof of the record",
    ),
    "another type's size": (
        "struct other o = {};\nbpf_ringbuf_output(&events, &o, sizeof(struct event), 0);",
        "traces() calls bpf_ringbuf_output with sizeof(struct event) for a struct other",
    ),
    "a struct without a name": (
        "struct { __u32 a; } e = {};\nbpf_ringbuf_output(&events, &e, sizeof(e), 0);",
        "traces() calls bpf_ringbuf_output with a struct that has no name at file scope",
    ),
    "a struct of the function": (
        "struct mine { __u32 a; } e = {};\nbpf_ringbuf_output(&events, &e, sizeof(e), 0);",
        "traces() calls bpf_ringbuf_output with struct mine, which has no name at file scope",
    ),
    "the size of a pointer": (
        "struct event e = {}, *p = &e;\nbpf_ringbuf_output(&events, p, sizeof(p), 0);",
        "traces() calls bpf_ringbuf_output with sizeof(struct event *) for a struct event",
    ),
    "a dynptr": (
        "struct bpf_dynptr d;\nbpf_ringbuf_reserve_dynptr(&events, 8, 0, &d);\nbpf_ringbuf_submit_dynptr(&d, 0);",
        "traces() calls bpf_ringbuf_reserve_dynptr, whose records have no type",
    ),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_cannot_be_known_stays_bytes_with_one_warning(case: str, compiler: Compiler, tmp_path: Path) -> None:
    body, reason = UNKNOWN[case]
    local = reason.endswith("has no name at file scope")
    remedy = "Define it there." if local else "Add RINGBUF_RECORD(events, struct …) below it."
    before = "struct bpf_dynptr { __u64 opaque[2]; } __attribute__((aligned(8)));" if "dynptr" in body else ""
    built = build(tmp_path, compiler, QUIET + program(body, before))
    assert annotation(built, "events") == "RingBuffer[bytes]"
    assert built.warnings == (f"probe.bpf.c: map 'events': its records stay bytes: {reason}. {remedy}",)


def test_a_macro_silences_what_cannot_be_known(compiler: Compiler, tmp_path: Path) -> None:
    body = UNKNOWN["a size that is computed"][0]
    built = build(tmp_path, compiler, QUIET + "RINGBUF_RECORD(events, event_t);\n" + program(body))
    assert (annotation(built, "events"), built.warnings) == ("RingBuffer[Event]", ())


def test_a_map_that_nobody_writes_is_told(compiler: Compiler, tmp_path: Path) -> None:
    built = build(tmp_path, compiler, QUIET)
    assert built.warnings == (
        "probe.bpf.c: map 'events': its records stay bytes: no program of the source writes any. "
        "Add RINGBUF_RECORD(events, struct …) below it.",
    )


def test_types_of_one_size_stay_bytes_with_one_warning(compiler: Compiler, tmp_path: Path) -> None:
    body = (
        "struct event e = {};\nstruct other o = {};\nbpf_ringbuf_output(&events, &e, sizeof(e), 0);\n"
        "bpf_ringbuf_output(&events, &o, sizeof(o), 0);"
    )
    built = build(tmp_path, compiler, QUIET + program(body))
    assert annotation(built, "events") == "RingBuffer[bytes]"
    assert built.warnings == (
        "probe.bpf.c: map 'events': its records stay bytes: struct event and struct other cannot be told apart by "
        "size. Begin each with the same enum member, and mark it with KIND(…).",
    )


def test_rows_of_several_types_stay_bytes_with_one_warning(compiler: Compiler, tmp_path: Path) -> None:
    code = """
SEC("iter/bpf_map") int walks(struct bpf_iter__bpf_map *ctx)
{
	struct event e = {};
	__u64 number = 0;

	bpf_seq_write(ctx->meta->seq, &e, sizeof(e));
	bpf_seq_write(ctx->meta->seq, &number, sizeof(number));
	return 0;
}
"""
    built = build(tmp_path, compiler, QUIET + "RINGBUF_RECORD(events, struct event);\n" + code)
    assert "    walks: Program\n" in built.module
    assert built.warnings == (
        "probe.bpf.c: program 'walks': its rows stay bytes: struct event and __u64 are written. Write one type only.",
    )


WRITES = program("struct event e = {};\nbpf_ringbuf_output(&events, &e, sizeof(e), 0);")
SILENT = program(UNKNOWN["a size that is computed"][0])


@pytest.mark.parametrize("spelled", ["event", "struct event", "event_t"])
@pytest.mark.parametrize("code", [WRITES, SILENT])
def test_an_option_binds(spelled: str, code: str, compiler: Compiler, tmp_path: Path) -> None:
    built = build(tmp_path, compiler, QUIET + code, {"events": [spelled]})
    assert (annotation(built, "events"), built.warnings) == ("RingBuffer[Event]", ())


REFUSED: dict[str, tuple[str, dict[str, list[str]], str]] = {
    "macro and option": (
        "RINGBUF_RECORD(events, struct event);\n" + SILENT,
        {"events": ["other"]},
        "probe.bpf.c: map 'events': RINGBUF_RECORD says struct event, --record says struct other. Keep one of them.",
    ),
    "option and code": (
        WRITES,
        {"events": ["other"]},
        "probe.bpf.c: map 'events': --record says struct other, but struct event is written into it. "
        "Correct it, or leave it out.",
    ),
    "a type that is never written": (
        "RINGBUF_RECORD(events, struct event);\nRINGBUF_RECORD(events, __u64);\n" + WRITES,
        {},
        "probe.bpf.c: map 'events': RINGBUF_RECORD says struct event and __u64, but only struct event is written "
        "into it. Correct it, or leave it out.",
    ),
    "no such map": (
        WRITES,
        {"event": ["other"]},
        "probe.bpf.c: --record event=other: there is no map and no iterator 'event'. Did you mean events?",
    ),
    "no such type": (
        WRITES,
        {"events": ["evnt"]},
        "probe.bpf.c: --record events=evnt: there is no struct and no typedef 'evnt'. Did you mean event or event_t?",
    ),
    "a map without records": (
        "struct {\n\t__uint(type, BPF_MAP_TYPE_ARRAY);\n\t__uint(max_entries, 1);\n\t__type(key, __u32);\n"
        '\t__type(value, __u32);\n} counts SEC(".maps");\nRINGBUF_RECORD(counts, struct event);\n',
        {},
        "probe.bpf.c: map 'counts': a map of type ARRAY carries no records. Use __type(value, …).",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_disagreement_is_refused(case: str, compiler: Compiler, tmp_path: Path) -> None:
    code, records, text = REFUSED[case]
    with pytest.raises(UnsupportedError) as caught:
        build(tmp_path, compiler, QUIET + code, records)
    assert str(caught.value) == text


def test_the_object_tells_its_records_without_the_source(compiler: Compiler, tmp_path: Path) -> None:
    from ebpf_codegen.generate import generate

    path = tmp_path / "probe.bpf.o"
    path.write_bytes(build(tmp_path, compiler, QUIET + WRITES).objects["x86_64"])
    assert re.search(r"(?m)^    events: RingBuffer\[Event\]$", generate(path).module)


def test_the_command_takes_records_and_tells_warnings(
    compiler: Compiler, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ebpf_codegen.commands.build.find_compiler", lambda: compiler)
    source = write_source(tmp_path, "probe", TYPES + SILENT)
    command = ["build", str(source), "--include", str(INCLUDE[0]), "--output", str(tmp_path / "out")]
    assert main([*command, "--record", "events=event"]) == 0
    assert "    events: RingBuffer[Event]\n" in (tmp_path / "out" / "probe.py").read_text()
    assert capsys.readouterr().err == (
        "ebpf-codegen: warning: probe.bpf.c: map 'more': its records stay bytes: no program of the source writes any. "
        "Add RINGBUF_RECORD(more, struct …) below it.\n"
    )
    assert main([*command, "--record", "events=nothing"]) == 1
    assert capsys.readouterr().err == (
        "ebpf-codegen: probe.bpf.c: --record events=nothing: there is no struct and no typedef 'nothing'. "
        "Name one of this source.\n"
    )
    with pytest.raises(SystemExit) as caught:
        main([*command, "--record", "events"])
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith("error: argument --record: 'events' is not NAME=TYPE\n")
