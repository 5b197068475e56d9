# SPDX-License-Identifier: Apache-2.0
"""Load a probe and print its events: `python -m ebpf_runtime.show DIRECTORY MODULE`, what `ebpf-codegen run` starts.

DIRECTORY holds a generated module and its objects. Events go to the standard output, all else to the standard error
stream. Exit codes: 0 done, also by Ctrl-C or SIGTERM; 1 failed, 2 usage, 3 not permitted.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import islice
from typing import Any

from .config import ProbeConfig
from .errors import EbpfError, PermissionDeniedError
from .probe import OpenProbe, Probe
from .rare_errors import FallbackWarning
from .records import Record

__all__ = ["main"]

_NAME = "ebpf-codegen"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m ebpf_runtime.show", description="Print a probe's events.")
    parser.add_argument("directory", metavar="DIRECTORY", help="where the generated module and its objects are")
    parser.add_argument("module", metavar="MODULE", help="the module's name")
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    parser.add_argument("--count", type=int, metavar="N", help="end after N events")
    parser.add_argument("--set", dest="variables", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args(arguments)
    warnings.simplefilter("always", FallbackWarning)
    warnings.showwarning = lambda message, *_place, **_more: _report(f"warning: {message}")
    try:
        for number in _SIGNALS:
            signal.signal(number, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # whoever started us may have held them back
        _show(options)
    except KeyboardInterrupt:
        return 0
    except _Usage as error:
        _report(str(error))
        return 2
    except PermissionDeniedError as error:
        _report(str(error))
        return 3
    except EbpfError as error:
        _report(str(error))
        return 1
    except BrokenPipeError:  # the reader has what it wanted; Python would flush once more on its way out
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


class _Usage(Exception):
    """What the command line asks for is not there."""


def _report(text: str) -> None:
    print(f"{_NAME}: {text}", file=sys.stderr, flush=True)


def _show(options: argparse.Namespace) -> None:
    sys.path.insert(0, options.directory)
    module = importlib.import_module(options.module)
    classes = (item for item in vars(module).values() if isinstance(item, type) and issubclass(item, Probe))
    kind: Any = next(item for item in classes if item is not Probe)
    opened = kind.open(ProbeConfig(allow_runtime_compiled_fallback=False))
    with opened:
        for assignment in options.variables:
            _set(opened, *assignment.split("=", 1))
        with opened.load() as probe:
            probe.attach()
            for name, needs in probe.unattached.items():
                _report(f"program {name!r} is not attached: it needs {needs}")
            try:
                for source, record in islice(_events(probe), options.count):
                    _print(source, record, options.json)
            finally:
                _report_losses(probe)


def _set(opened: OpenProbe, name: str, text: str) -> None:
    """Set a variable of whichever section has it."""
    sections = [section for section in vars(opened).values() if hasattr(section, "section")]
    for section in sections:
        if any(field.name == name for field in section._fields_):
            try:
                value = ast.literal_eval(text)
            except (ValueError, SyntaxError):
                value = text
            setattr(section, name, value)
            return
    known = ", ".join(field.name for section in sections for field in section._fields_)
    raise _Usage(f"set variable {name!r}: there is none of this name. There are {known or 'none at all'}.")


def _events(probe: Probe) -> Iterator[tuple[str, Any]]:
    """Yield (map or program, record): of streams for ever, of iterators once, or nothing until Ctrl-C."""
    from .iterators import IteratorProgram
    from .streams import Poller, Stream

    streams = [item for _, item in probe.maps if isinstance(item, Stream)]
    iterators = [(name, item) for name, item in probe.programs if isinstance(item, IteratorProgram)]
    what = f"{probe.name}{f' ({probe.variant})' if probe.variant else ''}: "
    if streams:
        _report(f"{what}events of {', '.join(stream.name for stream in streams)}; Ctrl-C ends")
        with Poller(*streams) as poller:
            for stream, record in poller:
                yield stream.name, record
    for name, program in iterators:
        for row in program.rows():
            yield name, row
    if not iterators:
        _report(f"{what}attached, with nothing to print; Ctrl-C ends")
        while True:
            signal.pause()


def _report_losses(probe: Probe) -> None:
    for _, item in probe.maps:
        lost = getattr(item, "lost", 0)
        if isinstance(lost, int) and lost:
            _report(f"map {item.name!r}: {lost} events were lost, because nobody read them in time")


def _print(source: str, record: Any, as_json: bool) -> None:
    if as_json:
        kind = type(record).__name__ if isinstance(record, Record) else "bytes"
        line = json.dumps({"source": source, "type": kind, "fields": _plain(record)})
    elif isinstance(record, Record):
        line = f"{source}  {' '.join(f'{name}={_text(value)}' for name, value in record.asdict().items())}"
    else:
        line = f"{source}  {_text(record)}"
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(f"{line.encode(encoding, 'backslashreplace').decode(encoding)}\n")
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    """Return what JSON can hold: enumerators by name, bytes in hexadecimal."""
    if isinstance(value, Record):
        return {name: _plain(item) for name, item in value.asdict().items()}
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    return value.name if isinstance(value, IntEnum) else value


def _text(value: Any) -> str:
    plain = _plain(value)
    if isinstance(plain, dict):
        return f"{{{' '.join(f'{name}={_text(item)}' for name, item in plain.items())}}}"
    return str(plain) if isinstance(value, IntEnum | bytes) else repr(plain)


if __name__ == "__main__":
    sys.exit(main())
