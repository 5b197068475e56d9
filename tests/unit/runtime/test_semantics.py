# SPDX-License-Identifier: Apache-2.0
"""What members of records mean, by what this machine's clocks, cgroups and symbols say themselves."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from ebpf_runtime import (
    boot_time,
    cgroup_path,
    errno_name,
    ipv4_address,
    ipv6_address,
    kernel_symbol,
    memory_cgroup_path,
    monotonic_time,
    network_port,
    semantics,
    tai_time,
    text_of,
)


def test_bytes_of_the_network() -> None:
    assert ipv4_address(b"\xc0\x00\x02\x01") == IPv4Address("192.0.2.1")
    assert ipv6_address(bytes(15) + b"\1") == IPv6Address("::1")
    assert network_port(b"\x01\xbb") == 443


def test_text_ends_at_its_first_nul() -> None:
    assert [text_of(data) for data in (b"ab\0cd", b"\0", b"", b"\xff")] == ["ab", "", "", "\\xff"]


@pytest.mark.parametrize(
    ("number", "name"), [(2, "ENOENT"), (-2, "ENOENT"), (-524, "ENOTSUPP"), (512, "ERESTARTSYS"), (0, ""), (999, "999")]
)
def test_errors_have_names(number: int, name: str) -> None:
    assert errno_name(number) == name


@pytest.mark.parametrize(
    ("function", "clock"),
    [(monotonic_time, time.CLOCK_MONOTONIC), (boot_time, time.CLOCK_BOOTTIME), (tai_time, time.CLOCK_TAI)],
)
def test_readings_of_clocks_are_times(function: object, clock: int) -> None:
    assert callable(function)
    before = datetime.now(UTC)
    reading = time.clock_gettime_ns(clock)
    after = datetime.now(UTC)
    found = function(reading)
    # A first use may have taken the clocks up to a millisecond ago.
    assert before - timedelta(milliseconds=2) <= found <= after + timedelta(milliseconds=2)
    assert function(reading) == found
    assert function(reading + 1_500_000_000) - found == timedelta(seconds=1.5)
    assert found.tzinfo is UTC


def test_a_clock_that_was_set_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    first = boot_time(0)
    monkeypatch.setattr(time, "time_ns", lambda now=time.time_ns: now() + 3600 * 10**9)
    try:
        later = boot_time(0)
    finally:
        semantics._offsets.clear()
    assert timedelta(minutes=59) < later - first < timedelta(minutes=61)


@pytest.mark.parametrize(("function", "hierarchy"), [(cgroup_path, "cgroup2"), (memory_cgroup_path, "memory")])
def test_a_cgroup_is_known_by_its_inode(function: object, hierarchy: str) -> None:
    assert callable(function)
    root = semantics._mounted(hierarchy)
    if not root:
        pytest.skip("no hierarchy of cgroups is mounted")
    assert function(Path(root).stat().st_ino) == "/"
    below = next((path for path in sorted(Path(root).iterdir()) if path.is_dir()), None)
    if below is not None:
        assert function(below.stat().st_ino) == f"/{below.name}"
    assert function(2**64 - 1) == ""


def test_a_cgroup_that_is_new_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantics, "_mounted", lambda _: str(tmp_path))
    monkeypatch.setattr(semantics, "_cgroups", {})
    assert cgroup_path(tmp_path.stat().st_ino) == "/"
    new = tmp_path / "a.slice" / "b"
    new.mkdir(parents=True)
    assert cgroup_path(new.stat().st_ino) == "/a.slice/b"
    assert memory_cgroup_path(new.stat().st_ino) == "/a.slice/b"


def test_an_address_has_the_symbol_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantics, "_symbols", ([0x1000, 0x2000], ["first", "second"]))
    found = [kernel_symbol(address) for address in (0, 0xFFF, 0x1000, 0x1FFF, 0x2004)]
    assert found == ["", "", "first", "first+0xfff", "second+0x4"]


def test_the_kernels_own_symbols_are_read() -> None:
    lines = [line.split() for line in Path("/proc/kallsyms").read_text().splitlines()]
    addresses = [int(line[0], 16) for line in lines]
    if not any(addresses):
        assert kernel_symbol(0xFFFFFFFF81000000) == ""
        return
    # Several symbols may share an address: any of them is right.
    wanted = next(address for address, line in zip(addresses, lines, strict=True) if line[2] == "do_exit")
    names = {line[2] for address, line in zip(addresses, lines, strict=True) if address == wanted}
    assert kernel_symbol(wanted) in names
    assert kernel_symbol(wanted + 3).partition("+") in {(name, "+", "0x3") for name in names}


def test_nothing_is_imported_before_it_is_used() -> None:
    code = (
        "import sys\nfrom ebpf_runtime import ipv4_address, boot_time\n"
        "print(sorted({'ipaddress', 'datetime', 'bisect', 'pathlib'} & set(sys.modules)))"
    )
    command, path = [sys.executable, "-S", "-c", code], str(Path(semantics.__file__).parents[1])
    run = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": path})
    assert (run.stdout, run.stderr) == ("[]\n", "")
