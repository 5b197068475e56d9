# SPDX-License-Identifier: Apache-2.0
"""Runs checks by the clock; a check that fails does not stop the others."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from errno import EACCES, EPERM, EROFS
from pathlib import Path
from typing import Protocol

from ebpf_collector.checks import Check
from ebpf_collector.errors import CollectorError, OutputError, describe_errno
from ebpf_collector.senders import Sender
from ebpf_runtime import EbpfError, PermissionDeniedError, signals_held

__all__ = ["Failures", "Wait", "run_checks"]

_NOT_PERMITTED = frozenset({EACCES, EPERM, EROFS})


class Wait(Protocol):
    """Waits for the next run."""

    def wait(self, seconds: float) -> bool:
        """Return False when *seconds* have passed, True as soon as the checks shall end."""


class Failures:
    """The failures of a command: reported when they happen, summed up as an exit code."""

    def __init__(self, report: Callable[[str], None]) -> None:
        """Give each failure, as one line, to *report*."""
        self._report = report
        self.exit_code = 0
        """0 no failure, 3 nothing but missing permissions, 1 otherwise."""

    @contextmanager
    def caught(self, subject: str) -> Iterator[None]:
        """Report the exception of the block, *subject* first, and go on after it.

        Raises:
            OutputError: Of the block; without an output there is nothing to go on for.
        """
        try:
            yield
        except OutputError:
            raise
        except Exception as error:
            self._report(f"{subject}: {_describe(error)}")
            if not _is_permission(error):
                self.exit_code = 1
            elif self.exit_code == 0:
                self.exit_code = 3


def run_checks(
    checks: Sequence[Check],
    sender: Sender,
    wait: Wait,
    failures: Failures,
    *,
    interval_s: float,
    count: int,
    on_start: Callable[[Check], None] | None = None,
    starting: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> None:
    """Start *checks*, run them *count* times (0: until told to end), and close them.

    Between two runs *interval_s* seconds pass; the first run also waits so long where one of the
    checks reports what happened in a window of time. When told to end early, such checks still
    report what they saw since the previous run. A check that cannot start sends what it tried.

    Args:
        on_start: Is told of each check that has started.
        starting: What each start is done in: it may end a start that takes long, where that lets signals in.
    Raises:
        OutputError: The sender could not deliver.
    """
    with ExitStack() as stack:
        started = []
        for check in checks:
            stack.enter_context(_closing(check, failures))
            with failures.caught(f"check {check.name}"):
                _start(check, sender, starting)
                started.append(check)
                if on_start is not None:
                    on_start(check)
        if not started:
            return
        runs = 0
        wait_first = any(check.windowed for check in started)
        while runs < count or count == 0:
            if (runs or wait_first) and wait.wait(interval_s):
                _run([check for check in started if check.windowed], sender, failures)
                return
            _run(started, sender, failures)
            runs += 1


def _start(check: Check, sender: Sender, starting: Callable[[], AbstractContextManager[None]]) -> None:
    try:
        with starting(), signals_held():
            check.start()
    except EbpfError as error:
        check.report_failed_start(sender, error)
        sender.commit()
        raise


def _run(checks: Sequence[Check], sender: Sender, failures: Failures) -> None:
    for check in checks:
        with failures.caught(f"check {check.name}"):
            check.run(sender)
    sender.commit()


@contextmanager
def _closing(check: Check, failures: Failures) -> Iterator[None]:
    try:
        yield
    finally:
        with failures.caught(f"close check {check.name}"):
            check.close()


def _is_permission(error: Exception) -> bool:
    if isinstance(error, PermissionDeniedError):
        return True
    expected = isinstance(error, CollectorError | OSError)
    return expected and getattr(error, "errno", None) in _NOT_PERMITTED


def _describe(error: Exception) -> str:
    if isinstance(error, EbpfError | CollectorError):
        return str(error)
    if isinstance(error, OSError) and error.errno:
        name = f" ({error.filename})" if error.filename else ""
        return f"{describe_errno(error.errno)}{name}."
    return describe_defect(error)


def describe_defect(error: Exception) -> str:
    """Return an error that should not be, in one line: its place is worth more to a report than a page of traceback."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"internal error: {type(error).__name__}, {error} "
        f"({Path(place.filename).name}:{place.lineno}). Please report it."
    )
