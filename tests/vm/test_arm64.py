# SPDX-License-Identifier: Apache-2.0
"""The embedded arm64 objects in an emulated arm64 guest: `make vm ARCH=arm64`."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from tests.vm import inside_arm64
from tests.vm.arm64 import CHECKOUT, make_root
from tests.vm.matrix import Answers
from tests.vm.results import Finished, Outcomes, Results
from tests.vm.vmtest.errors import VmtestError
from tests.vm.vmtest.guest import Guest
from tests.vm.vmtest.kernels import Cache, default_cache, kernel_for
from tests.vm.vmtest.qemu import arm64_emulator
from tests.vm.vmtest.shares import Share

SERIES = "6.1"
ROOT = Path(__file__).resolve().parents[2]
REPORT = Path("/run/report")
LIMIT_S = 1800

pytestmark = [pytest.mark.vm, pytest.mark.timeout(LIMIT_S + 600)]


def test_the_arm64_objects_load_and_count(tmp_path: Path, request: pytest.FixtureRequest, results: Results) -> None:
    if request.config.getoption("--architecture", default="x86_64") != "arm64":
        pytest.skip("the guests are x86_64; make vm ARCH=arm64 boots this one")
    (wheel,) = (ROOT / "build" / "wheel").glob("ebpf_runtime-*-py3-none-any.whl")
    cache = Cache(default_cache())
    reports = tmp_path / "reports"
    reports.mkdir()
    start = time.monotonic()
    try:
        kernel = kernel_for(cache, SERIES, architecture="arm64")
        root = make_root(cache, wheel, tmp_path / "root")
        status = Guest(
            kernel,
            arm64_emulator(),
            ["/usr/bin/python3", "-B", str(CHECKOUT / "tests/vm/inside_arm64.py")],
            CHECKOUT,
            environment={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "PYTHONPATH": str(CHECKOUT),
                "EBPF_MATRIX": str(REPORT / "matrix.json"),
            },
            shares=[Share(reports, REPORT, writable=True)],
            root=root,
            timeout_s=LIMIT_S,
        ).run()
    except VmtestError as error:
        raise pytest.fail.Exception(f"Linux {SERIES} on arm64: {error}", pytrace=False) from None
    finally:
        shutil.rmtree(tmp_path / "root", ignore_errors=True)
    answers = Answers.read(reports / "matrix.json")
    release = f"{kernel.release} ({kernel.version})"
    results.add(SERIES, "arm64", Finished(release, Outcomes({}), answers, start, time.monotonic()))
    assert status == 0
    found = json.loads((reports / "matrix.json").read_text())
    assert found["machine"] == "aarch64"
    assert found["kills"] == inside_arm64.KILLS
    assert set(answers.default) == {"oom_kill", "tcp_queue_length", "ebpf_inventory"}
    assert all(answer["origin"] == "co_re" for answer in answers.default.values())
