# SPDX-License-Identifier: Apache-2.0
"""What the command lines of all sub-commands have in common."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable, Iterable

__all__ = ["Commands", "add_command", "gathered", "pair", "say"]

Commands = argparse._SubParsersAction


def add_command(
    commands: Commands[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    help: str,
    description: str,
    epilog: str,
) -> argparse.ArgumentParser:
    """Add a sub-command; *run* returns its exit code, *epilog* holds examples and exit codes line by line."""
    parser = commands.add_parser(
        name,
        help=help,
        description=textwrap.fill(description, 100),
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def pair(text: str, form: str) -> tuple[str, str]:
    """Return both sides of an argument that must have the *form* `NAME=TYPE`."""
    name, _, value = text.partition("=")
    if not name or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not {form}")
    return name, value


def gathered(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the second sides by the first, in the order given."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def say(text: str) -> None:
    """Write to the standard output, also names that the terminal's character set does not have."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
