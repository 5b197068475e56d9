# SPDX-License-Identifier: Apache-2.0
"""The C source as text: flattened into one file, and searched for the comments that become documentation."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from .errors import CodegenError

__all__ = ["Documentation", "Flattened", "Token", "clean", "document", "flatten", "members_of", "tokens_of"]

_INCLUDE: Final = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
_ONCE: Final = re.compile(r"\s*#\s*pragma\s+once\b")
_GUARD: Final = re.compile(r"\s*#\s*ifndef\s+(\w+)\b.*\n\s*#\s*define\s+\1\b")
_MAX_DEPTH: Final = 100
_MAX_INLINED: Final = 10_000
_KEPT: Final = re.compile(r"bpf/")  # whoever compiles supplies libbpf's headers
_MAX_HEADER: Final = 256 << 10  # a vmlinux.h above this declares a whole kernel, and is not embedded


@dataclass(frozen=True, slots=True)
class Flattened:
    """One source with the project's own headers inlined, and the files it was made from."""

    text: str
    files: tuple[Path, ...]


def flatten(source: Path, include: Sequence[Path] = ()) -> Flattened:
    """Inline each `#include "…"` that is found beside the source or in *include*, as often as it stands there.

    The headers' own guards decide what counts twice, as they do for the compiler; `#pragma once`, which says nothing
    in a main file, becomes a guard. `bpf/…`, includes in angle brackets and a `vmlinux.h` of a whole kernel stay.
    `#line` directives keep file names and line numbers, so that compiler messages and verifier logs still name the
    original place.

    Raises:
        CodegenError: A file cannot be read, or a header without a guard includes itself.
    """
    guards: dict[Path, str] = {}  # of `#pragma once`, by file
    files: dict[Path, Path] = {}
    stack: list[tuple[Path, bool]] = []
    inlined = 0

    def inline(path: Path, shown: str) -> Iterator[str]:
        nonlocal inlined
        inlined += 1
        if len(stack) == _MAX_DEPTH or inlined > _MAX_INLINED:
            raise CodegenError(f"inline {path}: the headers include each other too often. Give each an include guard.")
        try:
            text = path.read_text("utf-8").removesuffix("\n")
        except (OSError, UnicodeError) as error:
            raise CodegenError(f"read {path}: {getattr(error, 'strerror', None) or error}.") from error
        file = path.resolve()
        files.setdefault(file, path)
        tokens = [token for token in tokens_of(text) if token.kind != "comment"]
        includes = {t.line: m[1] for t in tokens if t.kind == "directive" and (m := _INCLUDE.match(t.text))}
        once = {t.line for t in tokens if t.kind == "directive" and _ONCE.match(t.text)}
        stack.append((file, bool(once) or _is_guarded(tokens)))
        if once:
            guard = guards.setdefault(file, f"__FLATTENED_{len(guards)}")
            yield from (f"#ifndef {guard}", f"#define {guard}")
        yield f'#line 1 "{shown}"'
        for number, line in enumerate(text.split("\n"), 1):  # splitlines() splits at form feeds, too
            name = includes.get(number, "")
            found = _locate(name, path.parent, include) if name and not _KEPT.match(name) else None
            if found is None:
                yield line if number not in once else ""
                continue
            guarded = dict(stack).get(found.resolve())
            if guarded is None:
                yield from inline(found, name)
                yield f'#line {number + 1} "{shown}"'
            elif guarded:
                yield ""
            else:
                raise CodegenError(f"inline {found}: it includes itself without end. Give it an include guard.")
        if once:
            yield "#endif"
        stack.pop()

    text = "\n".join(inline(source, source.name)) + "\n"
    return Flattened(text, tuple(files.values()))


def _is_guarded(tokens: Sequence[Token]) -> bool:
    """Return whether a header begins with `#ifndef X` and `#define X`."""
    first = "\n".join(token.text for token in tokens[:2] if token.kind == "directive")
    return bool(_GUARD.match(first))


def _locate(name: str, beside: Path, include: Iterable[Path]) -> Path | None:
    found = next((d / name for d in (beside, *include) if (d / name).is_file()), None)
    too_large = found and found.name == "vmlinux.h" and found.stat().st_size > _MAX_HEADER
    return None if too_large else found


@dataclass(slots=True)
class Documentation:
    """Comments by what they describe: the file, types, their members or enumerators, variables, functions.

    *variants* are the names of `VARIANT(name)` in order of their first mention.
    """

    file: str = ""
    types: dict[str, str] = field(default_factory=dict)
    members: dict[tuple[str, str], str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)
    variants: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Token:
    """One token; *kind* is comment, directive, word, mark or attribute. Strings and numbers count as marks."""

    kind: str
    text: str
    line: int
    end_line: int


_TOKEN: Final = re.compile(
    r"(?P<directive>^[ \t]*\#(?:/\*.*?\*/|[^\n\\]|\\.)*)"
    r"|(?P<comment>/\*.*?\*/|//[^\n]*)"
    r"|(?P<string>\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')"
    r"|(?P<word>[A-Za-z_]\w*)"
    r"|(?P<mark>[^\s])",
    re.DOTALL | re.MULTILINE,
)
_LABEL: Final = re.compile(r"[A-Z][A-Za-z-]*: |@\w+:")
_KERNEL_DOC: Final = re.compile(r"(?:(?:struct|union|enum|typedef) )?(\w+)(?:\(\))? +- +")
_ITEM: Final = re.compile(r"@(\w+): ?(.*)", re.DOTALL)
_CALL_LIKE: Final = frozenset(("SEC", "VARIANT", "RINGBUF_RECORD", "PERF_RECORD", "ITER_RECORD", "__attribute__"))
# A macro that stands for an attribute, or for a macro that does.
_DEFINE: Final = re.compile(r"\s*#\s*define\s+(\w+)(\([^)]*\))?\s+(\w+)")
_VARIANT: Final = re.compile(r"\bVARIANT\s*\(\s*([^()]*?)\s*\)")
_LINE: Final = re.compile(r'^\s*#\s*line\s+\d+\s+"([^"]*)"')
_MACRO: Final = re.compile(r"[A-Z][A-Z0-9_]*")
_POINTER: Final = re.compile(r"[^(]*\( \*(?: \*| const| volatile)*")  # before the name in `int (*name)(void)`


def document(text: str) -> Documentation:
    """Attach the comments of C text to what they stand before, or behind on the same line.

    A comment belongs to a declaration when nothing but the end of a line is between them; of two, the one before a
    variable counts, and the one behind a member. The first comment that is not a licence line and stands alone
    describes the file, if it comes before all inlined headers: theirs are about them.
    """
    tokens = list(tokens_of(text))
    found = Documentation(variants=_variants(tokens))
    tokens = _with_attributes(tokens)
    files: set[str] = set()
    position = 0
    pending: Token | None = None
    while position < len(tokens):
        token = tokens[position]
        if token.kind == "comment":
            following = tokens[position + 1] if position + 1 < len(tokens) else None
            alone = following is None or following.kind == "directive" or following.line > token.end_line + 1
            if alone and len(files) < 2 and not found.file and "SPDX-License-Identifier" not in token.text:
                found.file = clean(token.text)
            pending = None if alone or "SPDX-License-Identifier" in token.text else token
            position += 1
            continue
        if token.kind == "directive":
            files.update(_LINE.findall(token.text))
            pending = None
            position += 1
            continue
        end = _declaration_end(tokens, position)
        behind = _trailing(tokens, end - 1)
        _declaration(tokens[position:end], clean(pending.text) if pending else behind, found)
        pending = None
        position = end + bool(behind)
    return found


def _with_attributes(tokens: list[Token]) -> list[Token]:
    """Mark the macros that stand for attributes, with what is in their brackets, by the kind "attribute"."""
    attributes: dict[str, bool] = {}
    for token in tokens:
        match = _DEFINE.match(token.text) if token.kind == "directive" else None
        if match and (match[3] == "__attribute__" or match[3] in attributes):
            attributes[match[1]] = bool(match[2])
    marked: list[Token] = []
    depth = 0
    calling = False
    for token in tokens:
        starts = not calling and token.kind == "word" and token.text in attributes
        marked.append(replace(token, kind="attribute") if calling or starts else token)
        if starts:
            calling = attributes[token.text]
        elif calling:
            depth += (token.text == "(") - (token.text == ")")
            calling = depth > 0
    return marked


def _variants(tokens: Iterable[Token]) -> tuple[str, ...]:
    """Return the names that VARIANT is given, the macro's own definition aside."""
    code = (token.text for token in tokens if token.kind != "comment" and not token.text.startswith(('"', "'")))
    return tuple(dict.fromkeys(_VARIANT.findall(" ".join(text for text in code if "define VARIANT" not in text))))


def tokens_of(text: str) -> Iterator[Token]:
    """Yield the tokens of C text, comments and directives among them."""
    line = 1
    last = 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", last, match.start())
        end_line = line + match.group().count("\n")
        kind = match.lastgroup or "mark"
        yield Token("mark" if kind == "string" else kind, match.group(), line, end_line)
        last = match.end()
        line = end_line


def _declaration_end(tokens: list[Token], position: int) -> int:
    """Return the index behind one top-level declaration: behind its `;`, or behind a function's body."""
    depth = 0
    is_function = False
    previous = ""
    for index in range(position, len(tokens)):
        text = tokens[index].text
        if tokens[index].kind in ("comment", "directive"):
            continue
        if text in "({[":
            is_function |= text == "{" and depth == 0 and previous == ")"
            depth += 1
        elif text in ")}]":
            depth -= 1
            if text == "}" and depth <= 0 and is_function:
                return index + 1
        elif text == ";" and depth <= 0:
            return index + 1
        previous = text
    return len(tokens)


def _declaration(tokens: list[Token], doc: str, found: Documentation) -> None:
    """Note the documentation of one top-level declaration and of its members."""
    code = [token for token in tokens if token.kind not in ("comment", "directive")]
    words = [token.text for token in code]
    if not words:
        return
    name = _type_name(code)
    if name:
        body = _body([token for token in _outside_calls(tokens) if token.kind != "directive"])
        brace = next(token for token in code if token.text == "{")
        if body[1:] and body[0].kind == "comment" and body[0].line == brace.line < body[1].line:
            behind = clean(body.pop(0).text)  # `struct name { /* about it */`
            doc = doc or behind
        doc, items = _kernel_doc(doc, name)
        if doc:
            found.types.setdefault(name, doc)
        for member, text in items.items():
            found.members.setdefault((name, member), text)
        separator = "," if "enum" in words[:2] else ";"
        for member, text in members_of(body, separator):
            item = _ITEM.match(text)
            found.members.setdefault((name, member), item[2] if item is not None and item[1] == member else text)
        return
    if not doc:
        return
    if words[-1] == "}":
        function = _function_name(code)
        found.functions.setdefault(function, _kernel_doc(doc, function)[0])
        return
    # A variable or map: its name stands behind the body of an anonymous struct, or before `=`, `[`, SEC or `;`.
    tail = code[_matching(code, 1) + 1 :] if words[1:2] == ["{"] else code
    for name in _declared(_outside_calls(tail)):
        found.variables.setdefault(name, doc)


def _declared(tokens: Iterable[Token]) -> Iterator[str]:
    """Yield the name of each declarator of a declaration that declares variables."""
    depth = 0
    name = ""
    words: list[str] = []
    for token in tokens:
        if token.text in (",", ";") and depth == 0:
            if name:
                yield name
            name, words = "", []
            continue
        depth += (token.text in "([{") - (token.text in ")]}")
        if token.kind == "word" and _names(words, depth):
            name = token.text
        words.append(token.text)


def _names(before: Sequence[str], depth: int) -> bool:
    """Return whether a word is the name of what is declared, unless another follows that is.

    The last word before `[`, `:` or `=` is it, or the one in `(*name)`.
    """
    if depth == 0:
        return not {":", "=", "[", "("} & set(before)
    return depth == 1 and bool(_POINTER.fullmatch(" ".join(before)))


def _kernel_doc(doc: str, name: str) -> tuple[str, dict[str, str]]:
    """Return a comment in kernel-doc's form without `struct name - ` and its `@member:` items, and these by name."""
    match = _KERNEL_DOC.match(doc)
    if match is not None and match[1] == name:
        doc = doc[match.end() :]
    items: dict[str, str] = {}
    paragraphs = []
    for paragraph in doc.split("\n\n"):
        kept = []
        last = ""
        for line in paragraph.split("\n"):
            item = _ITEM.match(line)
            if item is not None:
                last = item[1]
                items[last] = item[2].strip()
            elif last and line.startswith(" "):
                items[last] = f"{items[last]} {line.strip()}".strip()
            else:
                kept.append(line)
        if kept:
            paragraphs.append("\n".join(kept))
    return "\n\n".join(paragraphs), items


def _type_name(code: list[Token]) -> str:
    """Return the name of a type that is defined here: its tag, or the typedef of an anonymous struct."""
    is_typedef = code[0].text == "typedef"
    words = [token.text for token in _outside_calls(code[is_typedef:])]
    if words[:1] not in (["struct"], ["union"], ["enum"]) or "{" not in words[1:3]:
        return ""
    return words[1] if words[1] != "{" else words[-2] if is_typedef else ""


def _function_name(code: list[Token]) -> str:
    """Return the word before the parameters, or the first in the brackets of a macro like BPF_KPROBE(name, …)."""
    depth = 0
    in_macro = False
    name = previous = ""
    for token in _outside_calls(code):
        if token.text == "{" and depth == 0:
            break
        if token.text == "(" and depth == 0 and previous:
            name = previous
            in_macro = bool(_MACRO.fullmatch(name))
        elif token.kind == "word" and in_macro:
            name = token.text
            in_macro = False
        depth += (token.text == "(") - (token.text == ")")
        previous = token.text if token.kind == "word" else ""
    return name


def _outside_calls(tokens: Iterable[Token]) -> Iterator[Token]:
    """Yield the tokens that are no attribute and no macro like one."""
    depth = 0
    calling = False
    for token in tokens:
        if token.kind == "attribute":
            continue
        if token.text in _CALL_LIKE:
            calling = True
        elif calling:
            depth += (token.text == "(") - (token.text == ")")
            calling = depth > 0
        else:
            yield token


def _body(tokens: list[Token]) -> list[Token]:
    """Return what stands between the outermost braces."""
    texts = [token.text if token.kind != "comment" else "" for token in tokens]
    start = texts.index("{") + 1
    end = len(texts) - 1 - texts[::-1].index("}") if "}" in texts[start:] else len(texts)
    return tokens[start:end]


def members_of(body: list[Token], separator: str) -> Iterator[tuple[str, str]]:
    """Yield (name, documentation) of members or enumerators, those of nested bodies included."""
    before = ""
    words: list[str] = []
    names: list[str] = []
    depth = 0
    index = 0
    name = ""
    while index < len(body):
        token = body[index]
        if token.kind == "comment":
            if not words:
                before = clean(token.text)
        elif token.text == separator and depth == 0:
            after = _trailing(body, index)
            text = after or before
            yield from ((item, text) for item in (*names, name) if item and text)
            index += 1 if after else 0
            before, words, names, name = "", [], [], ""
        elif token.text == "," and depth == 0:  # another of the same type
            names.append(name)
            words, name = [","], ""
        elif separator == ";" and token.text == "{" and depth == 0:
            end = _matching(body, index)
            yield from members_of(body[index + 1 : end], separator)
            index = end
            words.append("}")
        else:
            depth += (token.text in "([") - (token.text in ")]")
            if token.kind == "word" and _names(words, depth):
                name = token.text
            words.append(token.text)
        index += 1
    if name and separator == ",":
        text = before or next((clean(t.text) for t in reversed(body) if t.kind == "comment"), "")
        trailing = body[-1].kind == "comment" and words
        if before or trailing:
            yield name, (clean(body[-1].text) if trailing else text)


def _trailing(body: list[Token], index: int) -> str:
    """Return the comment that begins on the line of the token at *index*, if the next token is one."""
    following = body[index + 1] if index + 1 < len(body) else None
    if following is not None and following.kind == "comment" and following.line == body[index].end_line:
        return clean(following.text)
    return ""


def _matching(body: list[Token], index: int) -> int:
    depth = 0
    for position in range(index, len(body)):
        if body[position].kind == "comment":
            continue
        depth += (body[position].text == "{") - (body[position].text == "}")
        if depth == 0:
            return position
    return len(body) - 1


def clean(comment: str) -> str:
    """Return a comment's text: paragraphs set apart by blank lines, each joined to one line.

    Lines that begin a label (`Kernel:`), or that are indented more than the text around them, keep their own line; the
    indented ones keep their indentation too.
    """
    if comment.startswith("//"):
        return comment[2:].expandtabs().strip()
    text = comment[2:-2].strip("*!").expandtabs()
    first, _, rest = text.partition("\n")
    starred = (re.sub(r"^\s*\* ?", "", line).rstrip() for line in textwrap.dedent(rest).split("\n"))
    lines = [first.strip(), *starred]
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        text = line.strip()
        if not text:
            if paragraphs[-1]:
                paragraphs.append([])
        elif line.startswith("  ") or not paragraphs[-1] or _LABEL.match(line):
            paragraphs[-1].append(line if line.startswith("  ") else text)
        elif paragraphs[-1][-1].startswith("  "):
            paragraphs[-1].append(text)
        else:
            paragraphs[-1][-1] += " " + text
    return "\n\n".join("\n".join(paragraph) for paragraph in paragraphs if paragraph)
