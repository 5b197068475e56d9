# SPDX-License-Identifier: Apache-2.0
"""A process whose process id is in the /proc that it sees the one of another process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["as_somebody_elses_namesake"]

# The process 1 of a namespace, whose /proc it mounts, holds a file of its own under every likely descriptor. In a
# further namespace, which keeps that /proc, another process is the process 1.
_STRANGER = """\
import os, subprocess, sys
assert os.getpid() == 1
for _ in range(40):
    os.open(sys.argv[1], os.O_RDONLY)
command = ["unshare", "--pid", "--fork", sys.executable, "-c", sys.argv[2]]
sys.exit(subprocess.run(command, check=False).returncode)
"""


def as_somebody_elses_namesake(theirs: Path, script: str) -> str:
    """Return what a Python script prints as a process whose id, in the /proc it sees, is that of a stranger.

    Args:
        theirs: The file that the stranger has open.
    """
    script = f"import os\nassert os.getpid() == 1\n{script}"
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", _STRANGER, str(theirs), script]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()
