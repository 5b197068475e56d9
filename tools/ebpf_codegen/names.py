# SPDX-License-Identifier: Apache-2.0
"""The one gate through which every string of an object becomes Python source.

A name from BTF or ELF may be anything, also an attempt to inject code; what leaves `identifier` is always an
identifier, what leaves `literal` always one string literal, what leaves `docstring` always the inside of a docstring.
"""

from __future__ import annotations

import keyword
import re
import textwrap
from collections.abc import Container

__all__ = ["class_name", "count", "docstring", "identifier", "literal", "printable", "wrap"]

LINE_LENGTH = 120

# What typesetting has for these signs, and what linters take for them.
_TYPOGRAPHY = str.maketrans("\u2018\u2019\u2032\u2010\u2011\u2012\u2013\u2212\u00d7", "'''-----x")


def identifier(name: str, taken: Container[str] = ()) -> str:
    """Return *name* as a Python identifier that is no keyword and not in *taken*.

    Letters, digits and underscores of ASCII stay; everything else becomes an underscore. A leading digit gets an
    underscore before it; leading double underscores (which classes would mangle) become one.
    """
    text = re.sub(r"[^A-Za-z0-9_]", "_", name) or "_"
    text = re.sub(r"^__+", "_", text)
    if text[0].isdigit():
        text = "_" + text
    if keyword.iskeyword(text) or (text in taken and text != "_"):
        text += "_"
    number = 2
    unique = text
    while unique in taken:
        unique = f"{text}{number}"
        number += 1
    return unique


def class_name(name: str, taken: Container[str] = ()) -> str:
    """Return a C tag in CamelCase: `tcp_queue_key` gives `TcpQueueKey`."""
    words = re.split(r"[^A-Za-z0-9]+", name)
    return identifier("".join(word[:1].upper() + word[1:] for word in words if word) or "_", taken)


def literal(text: str) -> str:
    """Return *text* as a string literal in ruff's style: double quotes unless that costs escapes."""
    quoted = ascii(text)
    if quoted[0] == "'" and '"' not in text:
        quoted = '"' + quoted[1:-1].replace("\\'", "'") + '"'
    return quoted


def printable(text: str) -> str:
    """Return *text* fit for a comment: on one line, without control characters."""
    return "".join(c if c.isprintable() else "?" for c in text.translate(_TYPOGRAPHY))


def docstring(text: str) -> str:
    """Return *text* fit for the inside of a triple-quoted string: no escape, no end of the string, printable."""
    printable = "".join(c if c.isprintable() or c == "\n" else "?" for c in text.translate(_TYPOGRAPHY))
    safe = printable.replace("\\", "\\\\").replace('"""', "'''")
    safe = re.sub('^"', "'", safe)  # next to the quotes around it ruff would put a blank
    return safe[:-1] + "'" if safe.endswith('"') else safe


def count(number: int, noun: str) -> str:
    """Return a number with its noun: `1 byte`, `2 bytes`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def wrap(text: str, indent: int, hanging: int = 0, prefix: str = "") -> list[str]:
    """Return paragraphs as lines of at most `LINE_LENGTH`, without the *indent* that the template prints.

    Args:
        text: Paragraphs separated by blank lines; lines inside keep their own line and indentation.
        indent: Columns the template puts before each line.
        hanging: Further columns before the second line and those after it.
        prefix: What the first line begins with.
    """
    lines: list[str] = []
    for number, paragraph in enumerate(f"{prefix}{text}".split("\n\n")):
        if number:
            lines.append("")
        for line in paragraph.split("\n"):
            own = len(line) - len(line.lstrip())
            first = not lines
            lines += textwrap.wrap(
                line.strip(),
                width=LINE_LENGTH - indent,
                initial_indent=" " * (own if first else own + hanging),
                subsequent_indent=" " * (own + hanging),
                break_long_words=False,
                break_on_hyphens=False,
            ) or [""]
    return lines
