# SPDX-License-Identifier: Apache-2.0
"""Where memory cgroups can be made, told from what /proc says."""

from pathlib import Path

import pytest

from ebpf_collector.workloads.memory_cgroup import Hierarchy, MemoryCgroup, find_hierarchy

V2 = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MEMORY = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
V1_CPU = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
V1_SYSTEMD = "37 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
V2_BESIDE_V1 = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
OTHER = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n23 22 0:5 / /x rw - tmpfs  rw,memory\n"


@pytest.mark.parametrize(
    ("mountinfo", "cgroup", "expected"),
    [
        pytest.param(OTHER, "0::/\n", None, id="none"),
        pytest.param(OTHER + V1_CPU + V1_SYSTEMD, "3:cpu,cpuacct:/\n", None, id="v1-without"),
        pytest.param(
            OTHER + V2,
            "0::/user.slice/session-3.scope\n",
            Hierarchy(2, Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/user.slice/session-3.scope")),
            id="v2",
        ),
        pytest.param(
            V1_CPU + V2_BESIDE_V1 + V1_MEMORY + V1_SYSTEMD,
            "4:cpu,cpuacct:/c\n3:memory:/m/n\n1:name=systemd:/s\n0::/u\n",
            Hierarchy(1, Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup/memory/m/n")),
            id="hybrid",
        ),
        pytest.param(
            V1_CPU + V2_BESIDE_V1,
            "4:cpu,cpuacct:/c\n0::/u\n",
            Hierarchy(2, Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/unified/u")),
            id="hybrid-memory-in-v2",
        ),
        pytest.param(
            "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro master:17 - cgroup cgroup rw,memory\n",
            "3:memory:/docker/abc/inner\n",
            Hierarchy(1, Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup/memory/inner")),
            id="container-without-namespace",
        ),
        pytest.param(
            "35 31 0:32 /../../other /mnt rw - cgroup2 cgroup rw\n",
            "0::/../sibling\n",
            Hierarchy(2, Path("/mnt"), Path("/mnt")),
            id="outside-of-the-namespace",
        ),
        pytest.param(
            "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
            "3:memory:/docker/other\n",
            Hierarchy(1, Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup/memory")),
            id="another-container's-mount",
        ),
        pytest.param(
            "35 31 0:32 / /mnt/a\\040b\\134c rw - cgroup2  rw\n",
            "0::/d e\n",
            Hierarchy(2, Path("/mnt/a b\\c"), Path("/mnt/a b\\c/d e")),
            id="escaped",
        ),
    ],
)
def test_find_hierarchy(mountinfo: str, cgroup: str, expected: Hierarchy | None) -> None:
    assert find_hierarchy(mountinfo, cgroup) == expected


@pytest.mark.parametrize(
    ("version", "file", "text", "kills"),
    [
        (1, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 23\n", 23),
        (1, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", None),
        (2, "memory.events", "low 0\nhigh 3\nmax 9\noom 8\noom_kill 7\noom_group_kill 0\n", 7),
    ],
)
def test_kernels_own_count(tmp_path: Path, version: int, file: str, text: str, kills: int | None) -> None:
    (tmp_path / file).write_text(text)
    assert MemoryCgroup(tmp_path, version).oom_kills() == kills
