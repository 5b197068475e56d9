# SPDX-License-Identifier: Apache-2.0
"""Text that others chose, such as the names of processes and what a compiler says, made safe to print."""

__all__ = ["printable"]


def printable(text: str) -> str:
    """Return *text* with control characters, line breaks and broken UTF-8 as visible escapes.

    Any process names itself, so a name may hold terminal escapes or line breaks.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
