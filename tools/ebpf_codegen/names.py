# SPDX-License-Identifier: Apache-2.0
"""The one gate through which every string of an object becomes Python source.

A name from BTF or ELF may be anything, also an attempt to inject code; what leaves `identifier` is always an
identifier, what leaves `literal` always one string literal, what leaves `docstring` always the inside of a docstring.
"""

from __future__ import annotations

import hashlib
import keyword
import re
import textwrap
from collections.abc import Container
from unicodedata import east_asian_width

__all__ = ["byte_literal", "class_name", "count", "docstring", "identifier", "literal", "printable", "width", "wrap"]

LINE_LENGTH = 120
_MAX_SHOWN = 64  # with what stands around it in the first line of a module, no more than a line
_AMBIGUOUS = ("l", "O", "I")  # linters refuse these names, because they look like 1 and 0
# Rust and C++ mangle whole types into a name; with these `attribute: Class = (` fits on a line.
_MAX_NAME = 60
MAX_CLASS_NAME = 50

# What typesetting has for these signs, and what linters take for them.
_TYPOGRAPHY = str.maketrans("\u2018\u2019\u2032\u2010\u2011\u2012\u2013\u2212\u00d7", "'''-----x")


def identifier(name: str, taken: Container[str] = (), limit: int = _MAX_NAME) -> str:
    """Return *name* as a Python identifier that is no keyword, none of `l`, `O` and `I`, and not in *taken*.

    Letters, digits and underscores of ASCII stay; everything else becomes an underscore. A leading digit gets an
    underscore before it; leading double underscores (which classes would mangle) become one. The end of a name that
    is longer than any that people write becomes a digest.
    """
    text = name if name.isascii() and name.isidentifier() else re.sub(r"[^A-Za-z0-9_]", "_", name) or "_"
    if len(text) > limit:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        text = f"{text[: limit - 9]}_{digest}"
    text = re.sub(r"^__+", "_", text)
    if text[0].isdigit():
        text = "_" + text
    if keyword.iskeyword(text) or text in _AMBIGUOUS or (text in taken and text != "_"):
        text += "_"
    return f"{text}{_free(text, taken)}" if text in taken else text


def _free(text: str, taken: Container[str]) -> int:
    """Return the number after the last that *text* is taken with, in few steps also where thousands are."""
    high = 2
    while f"{text}{high}" in taken:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if f"{text}{middle}" in taken else (low, middle)
    return high


def class_name(name: str, taken: Container[str] = ()) -> str:
    """Return a C tag in CamelCase: `tcp_queue_key` gives `TcpQueueKey`."""
    words = re.split(r"[^A-Za-z0-9]+", name)
    return identifier("".join(word[:1].upper() + word[1:] for word in words if word) or "_", taken, MAX_CLASS_NAME)


def literal(text: str) -> str:
    """Return *text* as a string literal in ruff's style: double quotes unless single ones cost fewer escapes."""
    quote = '"' if text.count('"') <= text.count("'") else "'"
    escaped = text.encode("unicode_escape").decode("ascii")
    return quote + escaped.replace(quote, f"\\{quote}") + quote


def byte_literal(data: bytes) -> str:
    """Return *data* as a bytes literal in ruff's style."""
    return 'b"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\x{b:02x}" for b in data) + '"'


def printable(text: str) -> str:
    """Return *text* fit for a comment: on one line, without control characters, the middle of a long one left out."""
    shown = "".join(c if c.isprintable() else "?" for c in text.translate(_TYPOGRAPHY))
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[: _MAX_SHOWN // 2]}...{shown[-_MAX_SHOWN // 2 :]}"


def docstring(text: str) -> str:
    """Return *text* fit for the inside of a triple-quoted string: no escape, no end of the string, printable."""
    if text.replace("\n", "").isprintable() and text.isascii() and '"' not in text and "\\" not in text:
        return text
    printable = "".join(c if c.isprintable() or c == "\n" else "?" for c in text.translate(_TYPOGRAPHY))
    safe = printable.replace("\\", "\\\\").replace('"""', "'''")
    safe = re.sub('^"', "'", safe)  # next to the quotes around it ruff would put a blank
    return safe[:-1] + "'" if safe.endswith('"') else safe


def count(number: int, noun: str) -> str:
    """Return a number with its noun: `1 byte`, `2 bytes`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def width(text: str) -> int:
    """Return how many columns a text takes, as linters count: Chinese signs, for one, are two wide."""
    return len(_filled(text))


def _filled(text: str) -> str:
    """Return a text with a NUL behind each sign that is two columns wide."""
    return text if text.isascii() else "".join(c + "\0" * (east_asian_width(c) in "WF") for c in text)


def wrap(text: str, indent: int, hanging: int = 0, prefix: str = "") -> list[str]:
    """Return paragraphs as lines of at most `LINE_LENGTH`, without the *indent* that the template prints.

    Args:
        text: Paragraphs separated by blank lines; lines inside keep their own line and indentation.
        indent: Columns the template puts before each line.
        hanging: Further columns before the second line and those after it.
        prefix: What the first line begins with.
    """
    lines: list[str] = []
    for number, paragraph in enumerate(_filled(f"{prefix}{text}").split("\n\n")):
        if number:
            lines.append("")
        for line in paragraph.split("\n"):
            own = len(line) - len(line.lstrip())
            first, text = not lines, line.strip()
            margin = own if first else own + hanging
            if margin + len(text) <= LINE_LENGTH - indent:
                lines.append(" " * margin + text if text else "")
                continue
            lines += textwrap.wrap(
                text,
                width=LINE_LENGTH - indent,
                initial_indent=" " * margin,
                subsequent_indent=" " * (own + hanging),
                break_long_words=False,
                break_on_hyphens=False,
            )
    return [line.replace("\0", "") for line in lines]
