# SPDX-License-Identifier: Apache-2.0
"""The command `ebpf-codegen`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

if not __package__:  # run by path, as CMake does: no PYTHONPATH may be set there, it is pip's build isolation
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "ebpf_codegen"

from ebpf_codegen.errors import CodegenError, DriftError

__all__ = ["main"]

_COMMANDS = ("build", "generate", "inspect", "abi-diff", "min-btf", "new", "run")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 refused, 2 usage."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parser(given[0] if given else "").parse_args(given)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
        return code
    except DriftError as error:
        print(error.diff, end="", file=sys.stderr)
        print(f"ebpf-codegen: {error}", file=sys.stderr)
    except CodegenError as error:
        print(f"ebpf-codegen: {error}", file=sys.stderr)
    except BrokenPipeError:  # the reader has what it wanted; Python would flush once more on its way out
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"ebpf-codegen: write the output: {error.strerror}.", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # a fault of ours; users see no traceback
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"ebpf-codegen: {options.command}: internal error, {reason}. Please report it.", file=sys.stderr)
    return 1


def _parser(chosen: str) -> argparse.ArgumentParser:
    """Return the parser; of the commands it imports the chosen one, or all where that is none."""
    parser = argparse.ArgumentParser(
        prog="ebpf-codegen",
        description="Typed Python bindings for BPF C and BPF objects.",
        epilog="'ebpf-codegen COMMAND --help' has examples.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in [chosen] if chosen in _COMMANDS else _COMMANDS:
        import_module(f"ebpf_codegen.commands.{command.replace('-', '_')}").add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
