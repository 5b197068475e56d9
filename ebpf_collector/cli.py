# SPDX-License-Identifier: Apache-2.0
"""The command `ebpf-collector`."""

from __future__ import annotations

import argparse
import io
import math
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from errno import EBADF, EPIPE
from pathlib import Path
from typing import Any, NoReturn, TextIO

from ebpf_collector.checks import CHECK_NAMES, Check, MetricScheme, check_factory
from ebpf_collector.configuration import Configuration, load_configuration
from ebpf_collector.demo import run_demo
from ebpf_collector.errors import ConfigError, OutputError, near_match
from ebpf_collector.printable import printable
from ebpf_collector.runner import Failures, run_checks
from ebpf_collector.senders import ConsoleSender, JsonLinesSender, Sender
from ebpf_collector.senders.base import deliver
from ebpf_collector.stop import Stopped, StopSignals, terminable
from ebpf_runtime import FallbackWarning

__all__ = ["main"]

_ALL = "all"
_EXIT_USAGE = 2
_EXIT_SIGNAL = 128

_EPILOG = """\
exit codes:
  0  done
  1  a check failed
  2  usage or configuration
  3  not permitted (no privilege, kernel lockdown)
"""
_CHECK_EXAMPLES = """\
examples:
  ebpf-collector check oom_kill                        what happens in the next 10 seconds
  ebpf-collector check oom_kill --interval 60 --count 0
                                                       every minute, until Ctrl-C
  ebpf-collector check all --json --config collector.yaml | jq .

checks:
"""
_DEMO_EXAMPLES = """\
Makes a TCP connection to itself whose reader never reads, and shows what the check
tcp_queue_length reports. Then makes a memory cgroup, has the kernel kill a child process in it,
and shows what the check oom_kill reports, and what the check ebpf does of the loaded probes, by
module. Cgroup and child are gone afterwards. Needs root.

examples:
  ebpf-collector demo
  ebpf-collector demo --json
"""
_DOCTOR_EXAMPLES = """\
Loads and attaches each probe as a check would, says which variant that was and why the better ones
were refused, and unloads it. Says also what of this host matters for that. Nothing stays loaded.

exit codes: 0 every probe works, 1 one does not, 2 usage or configuration, 3 not permitted (no
privilege, kernel lockdown)

examples:
  ebpf-collector doctor
  ebpf-collector doctor --json | jq '.probes[] | {name, variant}'
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; *argv* is without the program's name.

    Every failure is one line on the standard error stream.
    """
    if sys.stderr is None:  # closed by the caller; print() would write to the standard output instead
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  # open as long as the process lives
    failures = Failures(_report)
    try:
        with failures.caught("internal"), _warnings_reported():
            return _run(argv, failures)
    except KeyboardInterrupt:
        return _EXIT_SIGNAL + signal.SIGINT
    except SystemExit as end:  # --help, --version, SIGTERM, SIGHUP
        return end.code if isinstance(end.code, int) else 0
    return failures.exit_code


@contextmanager
def _warnings_reported() -> Iterator[None]:
    """Report what the runtime warns of like a failure, each time and on one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", FallbackWarning)
        show = warnings.showwarning

        def report(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, FallbackWarning):
                _report(f"warning: {message}")
            else:
                show(message, category, *place, **more)

        warnings.showwarning = report
        yield


def _run(argv: Sequence[str] | None, failures: Failures) -> int:
    try:
        if sys.stdout is None:  # closed by the caller
            raise OutputError(EBADF)
        arguments = _parser().parse_args(argv)
        command: Callable[[argparse.Namespace, Failures], int] = arguments.command
        return command(arguments, failures)
    except ConfigError as error:
        _report(str(error))
        return _EXIT_USAGE
    except OutputError as error:
        if sys.stdout is not None:
            # Python flushes the stream once more on its way out, and would complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == EPIPE:
            return failures.exit_code  # the reader has what it wanted
        _report(str(error))
        return 1


def _check(arguments: argparse.Namespace, failures: Failures) -> int:
    names = _check_names(arguments.names)
    configuration = load_configuration(arguments.config, os.environ)
    checks = [_configured(name, configuration, arguments.config) for name in names]
    with StopSignals() as stop, suppress(Stopped):
        run_checks(
            checks,
            _sender(arguments.json),
            _Waiting(stop, names, sys.stderr),
            failures,
            interval_s=arguments.interval,
            count=arguments.count,
            on_start=_report_log if configuration.probe.bpf_debug else None,
            starting=stop.at_once,
        )
    if stop.received is not None and arguments.count:
        return _EXIT_SIGNAL + stop.received
    return failures.exit_code


def _doctor(arguments: argparse.Namespace, failures: Failures) -> int:
    import json

    from ebpf_collector.doctor import examine, exit_code, text

    configuration = load_configuration(arguments.config, os.environ)
    with terminable(), failures.caught("doctor"):
        found = examine(configuration.probe)
        deliver(sys.stdout, f"{json.dumps(found, indent=2)}\n" if arguments.json else text(found))
        return exit_code(found)
    return failures.exit_code


def _demo(arguments: argparse.Namespace, failures: Failures) -> int:
    configuration = load_configuration(None, os.environ)
    # Under the datadog scheme the check says nothing of processes outside of containers, such as the demo's.
    native = replace(configuration, metric_scheme=MetricScheme.NATIVE)
    tcp_queue_length = _configured("tcp_queue_length", native, None)
    ebpf = _configured("ebpf", native, None)
    oom_kill = _configured("oom_kill", configuration, None)
    # With --json the standard output holds JSON lines only.
    stream = sys.stderr if arguments.json else sys.stdout

    def say(line: str) -> None:
        deliver(stream, f"{line}\n")

    with failures.caught("demo"):
        run_demo(oom_kill, tcp_queue_length, ebpf, _sender(arguments.json), say)
    return failures.exit_code


def _check_names(words: Sequence[str]) -> list[str]:
    names: dict[str, None] = {}  # in the order given, each once
    for word in words:
        if word == _ALL:
            names.update(dict.fromkeys(CHECK_NAMES))
        elif word in CHECK_NAMES:
            names[word] = None
        else:
            known = (*CHECK_NAMES, _ALL)
            raise ConfigError(
                f"run check {word!r}",
                "unknown check",
                f"{near_match(word, known)}Known checks: {', '.join(known)}.",
            )
    return list(names)


def _configured(name: str, configuration: Configuration, path: Path | None) -> Check:
    check = check_factory(name, configuration.probe, configuration.metric_scheme)()
    try:
        check.configure(configuration.checks.get(name, b""))
    except ConfigError as error:
        raise error.within(str(path)) from None
    return check


def _sender(json: bool) -> Sender:
    if json:
        return JsonLinesSender(sys.stdout)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name need not exist in the terminal's character set.
        sys.stdout.reconfigure(errors="backslashreplace")
    return ConsoleSender(sys.stdout)


def _report(message: str) -> None:
    # It may hold what a compiler wrote, or names that others chose.
    print(f"ebpf-collector: {printable(message)}", file=sys.stderr)


def _report_log(check: Check) -> None:
    for line in check.verifier_log.splitlines():
        _report(f"check {check.name}: {line}")


class _Waiting:
    """Waits for the next run, with a line that says so where *stream* is a terminal."""

    def __init__(self, stop: StopSignals, names: Sequence[str], stream: TextIO) -> None:
        self._stop = stop
        self._names = ", ".join(names)
        self._stream = stream
        self._visible = stream.isatty()

    def wait(self, seconds: float) -> bool:
        try:
            return self._stop.wait(seconds, self._show)
        finally:
            self._write("")

    def _show(self, left_s: float) -> None:
        self._write(f"{self._names}: {math.ceil(left_s)} s to go, Ctrl-C ends")

    def _write(self, line: str) -> None:
        if self._visible:
            print(f"\r\x1b[K{line}", end="", file=self._stream, flush=True)


class _Parser(argparse.ArgumentParser):
    """Reports a wrong command line, or help that cannot be written, as one line, like every other failure."""

    def print_help(self, file: Any = None) -> None:
        deliver(file or sys.stdout, self.format_help())

    def error(self, message: str) -> NoReturn:
        raise ConfigError("read command line", message, f"See '{self.prog} --help'.")


class _Version(argparse.Action):
    """Prints the version; finding it out is slow, so only when asked."""

    def __call__(self, parser: argparse.ArgumentParser, *arguments: Any) -> NoReturn:
        from importlib.metadata import PackageNotFoundError, version

        try:
            number = version("ebpf-runtime")
        except PackageNotFoundError:
            number = "(not installed)"
        deliver(sys.stdout, f"{parser.prog} {number}\n")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ebpf-collector",
        description="Run checks that read the kernel through eBPF, and print what they find.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    check = commands.add_parser(
        "check",
        help="run checks and print metrics and events",
        description="Run checks and print the metrics and events they send.",
        epilog=_CHECK_EXAMPLES + "".join(f"  {name}\n" for name in CHECK_NAMES),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument("names", nargs="+", metavar="NAME", help="names of checks, or 'all' for all of them")
    check.add_argument("--json", action="store_true", help="print JSON lines, not a table")
    check.add_argument(
        "--interval",
        type=_seconds,
        default=10.0,
        metavar="S",
        help="seconds between two runs, and of the first one's window (default: 10)",
    )
    check.add_argument(
        "--count",
        type=_run_count,
        default=1,
        metavar="N",
        help="how often to run; 0 means until Ctrl-C (default: 1)",
    )
    check.add_argument("--config", type=Path, metavar="FILE", help="read this YAML file")
    check.set_defaults(command=_check)

    demo = commands.add_parser(
        "demo",
        help="show the checks at work on a stalled connection and a process killed on purpose",
        description=_DEMO_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    demo.add_argument("--json", action="store_true", help="print JSON lines, not a table")
    demo.set_defaults(command=_demo)

    doctor = commands.add_parser(
        "doctor",
        help="say what this host allows: which variant of each probe would load, and why no better one",
        description=_DOCTOR_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    doctor.add_argument("--json", action="store_true", help="print JSON, not text")
    doctor.add_argument("--config", type=Path, metavar="FILE", help="read this YAML file")
    doctor.set_defaults(command=_doctor)
    return parser


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of seconds above 0")
    return seconds


def _run_count(word: str) -> int:
    if not (word.isascii() and word.isdigit()):
        raise argparse.ArgumentTypeError(f"{word!r} is not a whole number, 0 or above")
    return int(word)
