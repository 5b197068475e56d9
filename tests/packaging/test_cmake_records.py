# SPDX-License-Identifier: Apache-2.0
"""RECORDS of `ebpf_add_probes`, tried with CMake alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

CONFIG = Path(__file__).resolve().parents[2] / "ebpf_runtime" / "cmake"
# The one beside the interpreter, as a build takes it, else the system's.
CMAKE = shutil.which("cmake", path=Path(sys.executable).parent) or "cmake"
SOURCE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct began { __u32 pid; };
struct ended { __u64 code; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");

SEC("raw_tp/sys_enter")
int on_call(void *ctx)
{
	__u64 data = 0;

	bpf_ringbuf_output(&events, &data, bpf_get_prandom_u32() & 7, 0);
	return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


def configured(folder: Path, records: str) -> subprocess.CompletedProcess[str]:
    (folder / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.20)\nproject(p LANGUAGES NONE)\nfind_package(EbpfRuntime REQUIRED)\n"
        f"ebpf_add_probes(PACKAGE p SOURCES trace.bpf.c sub/other.bpf.c RECORDS {records})\n"
    )
    (folder / "sub").mkdir(exist_ok=True)
    for name in ("trace", "sub/other"):
        (folder / f"{name}.bpf.c").write_text(SOURCE)
    return subprocess.run(
        [CMAKE, "-S", folder, "-B", folder / "build", "-DEBPF_LIGHT=OFF", f"-DEbpfRuntime_DIR={CONFIG}",
         f"-DPython_EXECUTABLE={sys.executable}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_records_are_told_to_the_probe_that_they_name(tmp_path: Path) -> None:
    done = configured(tmp_path, '"trace:events=struct began" trace:events=ended other:events=ended')
    assert done.returncode == 0, done.stderr
    build = subprocess.run([CMAKE, "--build", tmp_path / "build"], capture_output=True, text=True, check=False)
    assert build.returncode == 0, build.stdout
    made = tmp_path / "build" / "ebpf" / "p"
    assert "    events: RingBuffer[Began | Ended]\n" in (made / "trace.py").read_text()
    assert "    events: RingBuffer[Ended]\n" in (made / "other.py").read_text()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("events=ended", "ebpf_add_probes: 'events=ended' of RECORDS is not <x>:<map>=<type>."),
        ("trace:events", "ebpf_add_probes: 'trace:events' of RECORDS is not <x>:<map>=<type>."),
        ("race:events=ended", "ebpf_add_probes: 'race:events=ended' of RECORDS: race.bpf.c is none of SOURCES."),
    ],
)
def test_records_that_name_nothing_are_refused(record: str, message: str, tmp_path: Path) -> None:
    done = configured(tmp_path, record)
    assert done.returncode == 1
    assert message in " ".join(done.stderr.split())
