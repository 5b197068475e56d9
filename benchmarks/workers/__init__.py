# SPDX-License-Identifier: Apache-2.0
"""Warm persistent processes that run contenders: one line in names the contender, one line out has time and check."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path

from benchmarks.race import Sample

__all__ = ["Worker", "python_worker", "serve", "worker"]

_SERVER = Path(__file__).with_name("python.py")


class Worker:
    """One process; `contender` makes a function of one of the names that it knows."""

    def __init__(self, command: Sequence[str], process: subprocess.Popen[str]) -> None:
        self._command = " ".join(command)
        self._process = process

    def line(self) -> str:
        assert self._process.stdout is not None
        text = self._process.stdout.readline()
        if not text:
            raise RuntimeError(f"the worker {self._command} ended with {self._process.wait()}")
        return text.strip()

    def run(self, name: str) -> Sample:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        seconds, check = self.line().split()
        return Sample(float(seconds), None if check == "-" else int(check))

    def contender(self, name: str) -> Callable[[], Sample]:
        return partial(self.run, name)


@contextmanager
def worker(
    command: Sequence[str], files: Sequence[int] = (), environment: Mapping[str, str] | None = None
) -> Iterator[Worker]:
    """Start a process that inherits *files*, and wait until it says that it is ready."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=files, env=environment
    ) as process:
        try:
            started = Worker(command, process)
            if (said := started.line()) != "ready":
                raise RuntimeError(f"the worker {' '.join(command)} says {said!r}")
            yield started
        finally:
            assert process.stdin is not None
            process.stdin.close()


@contextmanager
def python_worker(function: Callable[..., Mapping[str, Callable[[], Sample]]], *arguments: int | str,
                  files: Sequence[int] = (), numpy: bool = True) -> Iterator[Worker]:  # fmt: skip
    """Start a Python that calls *function*, one of a module of the benchmarks, for its contenders."""
    where = [function.__module__, function.__name__, "numpy" if numpy else "no-numpy"]
    with worker([sys.executable, str(_SERVER), *where, *map(str, arguments)], files) as started:
        yield started


def serve(arguments: Sequence[str]) -> None:
    """Be the process that `python_worker` starts."""
    module, function, numpy, *rest = arguments
    if numpy == "no-numpy":
        sys.modules["numpy"] = None  # type: ignore[assignment]  # whoever imports it finds that there is none
    contenders: Mapping[str, Callable[[], Sample]] = getattr(import_module(module), function)(*rest)
    print("ready", flush=True)
    for line in sys.stdin:
        sample = contenders[line.strip()]()
        print(f"{sample.seconds:.9f} {'-' if sample.check is None else sample.check}", flush=True)
