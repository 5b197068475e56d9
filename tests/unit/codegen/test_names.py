# SPDX-License-Identifier: Apache-2.0
"""Whatever an object calls its things, Python source gets identifiers, one literal each, and docstrings that end."""

from __future__ import annotations

import ast
import keyword

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpf_codegen.names import LINE_LENGTH, class_name, docstring, identifier, literal, width, wrap

HOSTILE = [
    "", " ", "_", "__", "___", "__init__", "__class__", "9lives", "class", "None", "True", "import", "match", "a b",
    "a.b", "a-b", "x\n", "x\nimport os", "x = 1; y", '"', "'", '"""', "'''", '"""\nimport os\n"""', "\\", "\\\\",
    '\\"', "\\N{DOLLAR}", "\0", "\x1b[2J", "\t", "\r", "\x0c", "é", "变量", "ﬁ", "x\u2028y", "\u202e", "\ud800", "#",
    "{{ x }}", "{% raw %}", "%s", "${x}", "a" * 300, '"' * 7, "\\" * 5, '\\"""', "x\\", 'x"', "x'", "print(1)",
    "lambda: 0", "\U0001d431",
]  # fmt: skip
ANY_TEXT = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30))


@given(ANY_TEXT, st.sets(st.sampled_from(["_", "a", "a_", "a_2", "class_", "x", "x_"])))
def test_identifier_is_always_one_and_never_taken(name: str, taken: set[str]) -> None:
    result = identifier(name, taken)
    assert result.isidentifier()
    assert result.isascii()
    assert not keyword.iskeyword(result)
    assert not result.startswith("__")
    assert result not in taken


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pid", "pid"), ("Pid_2", "Pid_2"), ("class", "class_"), ("None", "None_"), ("from", "from_"), ("", "_"),
        ("9p", "_9p"), ("__data", "_data"), ("____x__", "_x__"), ("proc-events", "proc_events"), ("a.b", "a_b"),
        ("é", "_"), ("match", "match"), ("x;y", "x_y"),
    ],
)  # fmt: skip
def test_identifiers(name: str, expected: str) -> None:
    assert identifier(name) == expected


def test_taken_names_are_numbered() -> None:
    taken: set[str] = set()
    for expected in ("raw", "raw_", "raw_2", "raw_3"):
        name = identifier("raw", taken)
        assert name == expected
        taken.add(name)
    assert identifier("class", {"class_"}) == "class_2"


@given(ANY_TEXT)
def test_class_name_is_an_identifier(name: str) -> None:
    result = class_name(name)
    assert result.isidentifier()
    assert result.isascii()
    assert not keyword.iskeyword(result)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tcp_queue_key", "TcpQueueKey"), ("oom_kill", "OomKill"), ("ABC", "ABC"), ("record_t", "RecordT"), ("", "_"),
        ("__x", "X"), ("none", "None_"), ("true", "True_"), ("3d", "_3d"), ("a.b-c", "ABC"), ("sha256", "Sha256"),
    ],
)  # fmt: skip
def test_class_names(name: str, expected: str) -> None:
    assert class_name(name) == expected


def test_taken_class_names() -> None:
    assert class_name("record", {"Record"}) == "Record_"
    assert class_name("record", {"Record", "Record_"}) == "Record_2"


@given(ANY_TEXT)
def test_literal_is_one_ascii_literal_of_the_same_text(text: str) -> None:
    result = literal(text)
    assert ast.literal_eval(result) == text
    assert result.isascii()
    assert "\n" not in result
    tree = ast.parse(f"f({result}, {result})").body
    assert len(tree) == 1
    assert ast.dump(tree[0]).count("Constant(") == 2


def test_literals_are_quoted_like_ruff_quotes_them() -> None:
    assert literal("a") == '"a"'
    assert literal("it's") == '"it\'s"'
    assert literal('say "x"') == "'say \"x\"'"
    assert literal("a\\b") == '"a\\\\b"'
    assert literal("é\n") == '"\\xe9\\n"'


SIGNS = "\u2018\u2019\u2032\u2010\u2011\u2012\u2013\u2212\u00d7"


@given(ANY_TEXT, st.sampled_from(["", "    "]))
def test_docstring_never_ends_early(text: str, indent: str) -> None:
    inside = docstring(text)
    source = f'def f():\n{indent}    """{inside}"""\n{indent}    return 1\n'
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    assert [type(node) for node in function.body] == [ast.Expr, ast.Return]
    plain = text.translate(str.maketrans(SIGNS, "'''-----x"))
    expected = "".join(c if c.isprintable() or c == "\n" else "?" for c in plain).replace('"""', "'''")
    shown = ast.get_docstring(function, clean=False) or ""
    assert shown.replace('"', "'") == expected.replace('"', "'")


def test_docstring_shows_text_as_it_is() -> None:
    assert docstring("plain 'text' of \"words\" here") == "plain 'text' of \"words\" here"
    assert docstring("C:\\new") == "C:\\\\new"
    assert docstring('ends "so"') == "ends \"so'"
    assert docstring('"so" begins') == "'so\" begins"
    assert docstring("a\x1bb") == "a?b"
    assert docstring("« Größe »: µs … “so” — 好") == "« Größe »: µs … “so” — 好"


def test_docstring_has_no_signs_that_look_like_others() -> None:
    assert docstring(SIGNS) == "'''-----x"
    assert docstring("kernel\u2019s 3 \u00d7 4 \u2013 5") == "kernel's 3 x 4 - 5"


@given(ANY_TEXT, st.integers(0, 12), st.integers(0, 8))
def test_wrapped_lines_keep_every_word_and_the_width(text: str, indent: int, hanging: int) -> None:
    inside = docstring(text)
    lines = wrap(inside, indent, hanging, "name: ")
    assert " ".join(lines).split() == f"name: {inside}".split()
    for line in lines:
        assert line == line.rstrip()
        assert len(line) + indent <= LINE_LENGTH or len(line.split()) <= 1


def test_wrap_keeps_paragraphs_and_their_indentation() -> None:
    text = "First.\n\n  own line\nLabel: text\n\nLast."
    assert wrap(text, 4) == ["First.", "", "  own line", "Label: text", "", "Last."]
    long = "word " * 40
    lines = wrap(f"Head\n  {long}", 8, 4)
    assert lines[0] == "Head"
    assert all(line.startswith("  ") for line in lines[1:])
    assert len(lines) == 3


def test_signs_that_are_two_columns_wide_count_twice() -> None:
    assert [width(text) for text in ("abc", "é", "变量", "\U0001f600!")] == [3, 1, 4, 3]
    text = " ".join(["变量"] * 60)
    lines = wrap(text, 4)
    assert " ".join(lines) == text
    assert max(map(width, lines)) <= LINE_LENGTH - 4 < max(map(width, lines)) + 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", '"a"'), ("a'b", '"a\'b"'), ('a"b', "'a\"b'"), ("'\"", '"\'\\""'), ('"\'"', "'\"\\'\"'"),
        ("\\\n", '"\\\\\\n"'),
        ("é\ud800", '"\\xe9\\ud800"'),
    ],
)  # fmt: skip
def test_literals_have_the_quotes_that_cost_fewer_escapes(text: str, expected: str) -> None:
    assert literal(text) == expected
