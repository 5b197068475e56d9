# SPDX-License-Identifier: Apache-2.0
"""Reading of mountinfo."""

from pathlib import Path

from ebpf_collector.mounts import Mount, mounts

MOUNTINFO = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw,errors=remount-ro
36 22 0:33 / /sys/fs/bpf rw,nosuid shared:11 master:3 - bpf bpf rw,mode=700
41 22 0:33 /deep\\040er /run/a\\134b rw - bpf none rw
"""


def test_mounts_are_told_in_order() -> None:
    assert list(mounts(MOUNTINFO)) == [
        Mount("8:1", "/", Path("/"), "ext4", ("rw", "errors=remount-ro")),
        Mount("0:33", "/", Path("/sys/fs/bpf"), "bpf", ("rw", "mode=700")),
        Mount("0:33", "/deep er", Path("/run/a\\b"), "bpf", ("rw",)),
    ]


def test_nothing_mounted() -> None:
    assert list(mounts("")) == []
