# SPDX-License-Identifier: Apache-2.0
"""What the command lines of all sub-commands have in common."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Callable

__all__ = ["Commands", "add_command", "say"]

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


def say(text: str) -> None:
    """Write to the standard output, also names that the terminal's character set does not have."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
