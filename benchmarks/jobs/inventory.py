# SPDX-License-Identifier: Apache-2.0
"""All maps of the system, warm: by the iterator of ebpf_inventory, and by id."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from shutil import which
from typing import Any

from benchmarks.jobs import Options
from benchmarks.maps import SMALL, made
from benchmarks.peers import c_worker
from benchmarks.race import Bar, Job, Sample, Yardstick
from benchmarks.workers import python_worker

__all__ = ["inventory", "readers"]

_C = "C, by id"
_ARRAY = "read_array()"
_ROWS = "rows(), no numpy"
_BPFTOOL = "bpftool map show -j"


@contextmanager
def inventory(options: Options) -> Iterator[Job]:
    with ExitStack() as stack:
        for _ in range(options.maps):
            stack.enter_context(made(SMALL, 1))
        c = stack.enter_context(c_worker("inventory"))
        with_numpy, without = (stack.enter_context(python_worker(readers, numpy=numpy)) for numpy in (True, False))
        contenders = {_C: c.contender("walk"), _ARRAY: with_numpy.contender("array"), _ROWS: without.contender("rows")}
        notes = ["bpftool is not raced: there is none (apt-get install bpftool)"]
        if tool := which("bpftool"):
            contenders[_BPFTOOL] = partial(_bpftool, tool)
            notes = []
        bars = (Bar(_ARRAY, _C, 0.2), Bar(_ARRAY, _BPFTOOL, 1 / 25))
        title = f"inventory of {options.maps} maps and what else the system has"
        # Not checked: maps of others come and go.
        yield Job(title, _C, contenders, bars, Yardstick(_BPFTOOL, _C, 6.0), notes, checked=False)


def readers() -> dict[str, Callable[[], Sample]]:
    from ebpf_probes.ebpf_inventory import EbpfInventory

    probe = EbpfInventory.open_and_load()
    walk: Any = probe.programs.inventory_map
    walk.attach()
    return {
        "array": partial(_timed, walk.read_array, probe),
        "rows": partial(_timed, lambda: list(walk.rows()), probe),
    }


def _timed(read: Callable[[], Any], _probe: Any) -> Sample:
    """Read once; the probe stays open as long as there is a contender."""
    started = time.perf_counter()
    rows = read()
    return Sample(time.perf_counter() - started, len(rows))


def _bpftool(tool: str) -> Sample:
    started = time.perf_counter()
    subprocess.run([tool, "map", "show", "-j"], check=True, stdout=subprocess.DEVNULL)
    return Sample(time.perf_counter() - started)  # it sees maps of its own, too
