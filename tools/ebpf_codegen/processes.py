# SPDX-License-Identifier: Apache-2.0
"""Running a compiler to its end, or ending it with all that it started; and what became of it in words."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Final

from .errors import CompilerRunError

__all__ = ["SHORTAGES", "TIME_LIMIT_S", "run_compiler"]

TIME_LIMIT_S: Final = 300  # a probe takes 0.1 s, on an emulated machine 100 times that

# What says nothing of a compiler, and the next step.
SHORTAGES: Final = {
    errno.EMFILE: "Raise this process's limit of open files (ulimit -n, LimitNOFILE=).",
    errno.ENFILE: "Raise the system's limit of open files (sysctl fs.file-max).",
    errno.ENOMEM: "Free memory, or raise the limit of its cgroup.",
    errno.EAGAIN: "Raise the limit of processes (ulimit -u, TasksMax=).",
}
_ANOTHER: Final = "Name another clang by EBPF_CLANG."


def run_compiler(
    command: Sequence[str],
    name: str,
    action: str,
    *,
    prepare: Callable[[], str] | None = None,
    meanwhile: Callable[[], object] | None = None,
    pass_fds: Collection[int] = (),
) -> tuple[int, str, str]:
    """Return a compiler's exit code, and what it wrote to the standard output and to the standard error stream.

    Args:
        name: What errors call it.
        action: What errors begin with.
        prepare: What makes the text of its standard input while it starts; what it says if it ended before is told.
        meanwhile: What to do while it works.
        pass_fds: Files of this process that it has, too.
    Raises:
        CompilerRunError: It did not start, or had not ended after `TIME_LIMIT_S`.
    """
    try:
        run = subprocess.Popen(
            command, stdin=subprocess.PIPE if prepare else subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, encoding="utf-8", errors="replace", pass_fds=pass_fds, process_group=0,
        )  # fmt: skip
    except OSError as error:
        number = error.errno or 0
        why = f"{errno.errorcode.get(number, f'error {number}')}, {os.strerror(number).lower()}"
        raise CompilerRunError(
            action, f"{name} did not start, {why}. {SHORTAGES.get(number, _ANOTHER)}", is_final=number in SHORTAGES
        ) from error
    with run:
        try:
            if prepare is not None:
                _write(run, prepare())
            if meanwhile is not None:
                meanwhile()
            printed, said = run.communicate(timeout=TIME_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            _kill(run)
            reason = f"{name} had not ended after {TIME_LIMIT_S} s and was killed. {_ANOTHER}"
            raise CompilerRunError(action, reason, is_final=True) from error
        except BaseException:
            _kill(run)
            raise
    return run.returncode, printed, said


def _write(run: subprocess.Popen[str], text: str) -> None:
    stdin, run.stdin = run.stdin, None
    assert stdin is not None
    with suppress(BrokenPipeError), stdin:
        stdin.write(text)


def _kill(run: subprocess.Popen[str]) -> None:
    """Kill a process and its children: what is called clang may be a script that waits for it."""
    if run.returncode is None:  # else the number may be somebody else's by now
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
