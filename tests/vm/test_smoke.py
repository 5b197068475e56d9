# SPDX-License-Identifier: Apache-2.0
"""One guest, wherever one can be had without a download: all variants of all probes on another kernel than this."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from tests.vm.expected import works_on
from tests.vm.guests import MATRIX, Boot, Fleet
from tests.vm.machines import Machine
from tests.vm.vmtest.kernels import Cache, default_cache

SERIES = "6.1"


def refusal() -> str:
    """Return why this machine boots no guest without further ado; empty if it does."""
    if os.geteuid() != 0:
        return "booting a guest needs root"
    if shutil.which("qemu-system-x86_64") is None:
        return "qemu-system-x86_64 is not installed (apt install qemu-system-x86)"
    if not default_cache().is_dir() or Cache(default_cache()).find(SERIES, "cloud") is None:
        return f"no kernel is in the cache (python -m tests.vm.vmtest --kernel {SERIES} --fetch)"
    return ""


@pytest.mark.timeout(900)
@pytest.mark.skipif(bool(refusal()), reason=f"no guest is booted: {refusal()}")
def test_a_guest_takes_every_variant_and_reads(tmp_path: Path) -> None:
    with closing(Fleet(tmp_path, Machine())) as fleet:
        finished = fleet.finished(SERIES, Boot((MATRIX,)))
    print(finished.said)
    assert finished.outcomes.names("passed") == set(finished.outcomes.by_name)
    assert finished.answers.all_that_works() == works_on(SERIES)
