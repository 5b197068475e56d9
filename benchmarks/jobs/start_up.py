# SPDX-License-Identifier: Apache-2.0
"""From the start of a process to its end."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from benchmarks.jobs import Options
from benchmarks.race import Job, Sample

__all__ = ["start_up"]

_PROGRAMS = {
    "python -c pass": "pass",
    "import the generated module": "import ebpf_probes.oom_kill",
    "import numpy": "import numpy",
    "load and attach oom_kill": (
        "from ebpf_probes.oom_kill import OomKill\nwith OomKill.open_and_load() as probe: probe.attach()"
    ),
}


@contextmanager
def start_up(_options: Options) -> Iterator[Job]:
    contenders = {name: partial(_timed, code) for name, code in _PROGRAMS.items()}
    yield Job("start-up, whole process", "python -c pass", contenders)


def _timed(code: str) -> Sample:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
    return Sample(time.perf_counter() - started)
