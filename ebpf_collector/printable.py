# SPDX-License-Identifier: Apache-2.0
"""Names a process chose for itself, made safe to print."""

__all__ = ["printable"]


def printable(text: str) -> str:
    """Return *text* with control characters, line breaks and broken UTF-8 as visible escapes.

    Any process names itself, so a name may hold terminal escapes or line breaks.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
