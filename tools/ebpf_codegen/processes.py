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
_STOPPED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What kills a compiler that is not to blame, and the next step.
_KILLED: Final[dict[int, str]] = {
    signal.SIGKILL: SHORTAGES[errno.ENOMEM],
    signal.SIGXFSZ: "Raise the limit of a file's size (ulimit -f, LimitFSIZE=).",
    signal.SIGXCPU: "Raise the limit of processor time (ulimit -t, LimitCPU=).",
    **dict.fromkeys(_STOPPED, "Try again."),
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
        CompilerRunError: It did not start, had not ended after `TIME_LIMIT_S`, was killed, or failed without a word.
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
    if run.returncode and (run.returncode < 0 or not said.strip()):
        raise _failure(name, action, run.returncode, said)
    return run.returncode, printed, said


def _failure(name: str, action: str, code: int, said: str) -> CompilerRunError:
    """Return the error of a compiler that did not say why it failed."""
    number = -code if code < 0 else code - 128  # of a shell that was told of the signal
    if number not in signal.valid_signals():
        return CompilerRunError(action, f"{name} ended with {code} and said nothing. {_ANOTHER}", said, is_final=False)
    killer = signal.Signals(number).name if number in {*signal.Signals} else f"signal {number}"
    next_step = _KILLED.get(number)
    return CompilerRunError(
        action,
        f"{name} was killed by {killer}. {next_step or _ANOTHER}",
        said,
        is_final=next_step is not None,
        is_stopped=number in _STOPPED,
    )


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
