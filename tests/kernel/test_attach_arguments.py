# SPDX-License-Identifier: Apache-2.0
"""Arguments of `attach` and `test_run` that the kernel has no room for: one error of ours, and nothing attached."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ebpf_runtime import AttachError, EbpfError, perf_events
from tests.support.kernel import open_files
from tests.support.programs import missing
from tests.support.sources import make_module, write_source

pytestmark = [pytest.mark.kernel, pytest.mark.any_kernel]

PROGRAMS = {
    "on_tick": "perf_event",
    "on_uprobe": "uprobe",
    "on_usdt": "usdt",
    "on_xdp": "xdp",
    "on_connect": "cgroup/connect4",
    "on_lookup": "sk_lookup",
}
U32, U64, INT = (1 << 32) - 1, (1 << 64) - 1, (1 << 31) - 1


def source(programs: dict[str, str]) -> str:
    return "".join(f'SEC("{section}")\nint {name}(void *ctx) {{ return 1; }}\n' for name, section in programs.items())


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("arguments")
    module = make_module(folder, write_source(folder, "arguments", source(PROGRAMS)))
    with module.Arguments.open_and_load() as loaded:
        yield loaded


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("on_tick", {"perf_event": -1}, f" to perf_event: perf_event -1 is not from 0 to {INT}."),
        ("on_tick", {"perf_event": 1 << 40}, f" to perf_event: perf_event {1 << 40} is not from 0 to {INT}."),
        ("on_tick", {"frequency": -1}, f" to perf_event: frequency -1 is not from 0 to {U64}."),
        ("on_tick", {"period": 1 << 64}, f" to perf_event: period {1 << 64} is not from 0 to {U64}."),
        ("on_tick", {"frequency": 1, "type": -7}, f" to perf_event: type -7 is not from 0 to {U32}."),
        ("on_tick", {"frequency": 1, "config": -1}, f" to perf_event: config -1 is not from 0 to {U64}."),
        ("on_tick", {"frequency": 1, "cpu": 1 << 32}, f" to perf_event: cpu {1 << 32} is not from -1 to {INT}."),
        ("on_tick", {"frequency": 1, "pid": -2}, f" to perf_event: pid -2 is not from -1 to {INT}."),
        ("on_tick", {"frequency": 1, "pid": "1"}, f" to perf_event: pid '1' is not from -1 to {INT}."),
        ("on_uprobe", {"path": "a", "offset": -1}, f" to a:-0x1: offset -1 is not from 0 to {U64}."),
        (
            "on_uprobe",
            {"path": "a", "symbol": "b", "pid": 1 << 32},
            f" to a:b: pid {1 << 32} is not from -1 to {INT}.",
        ),
        (
            "on_usdt",
            {"path": "a", "provider": "b", "probe": "c", "pid": 1 << 32},
            f" to a:b:c: pid {1 << 32} is not from -1 to {INT}.",
        ),
        ("on_xdp", {"ifindex": -1}, f" to device -1: ifindex -1 is not from 1 to {INT}."),
        ("on_xdp", {"ifindex": 0}, f" to device 0: ifindex 0 is not from 1 to {INT}."),
        ("on_xdp", {"ifindex": 1 << 40}, f" to device {1 << 40}: ifindex {1 << 40} is not from 1 to {INT}."),
        ("on_uprobe", {"path": "a\0b", "symbol": "c"}, ": the path 'a\\x00b' has a NUL."),
        ("on_uprobe", {"path": "libc.so.6", "symbol": "labs\0s"}, ": the symbol 'labs\\x00s' has a NUL."),
        ("on_usdt", {"path": "a", "provider": "b\0", "probe": "c"}, ": the provider 'b\\x00' has a NUL."),
        ("on_usdt", {"path": "a", "provider": "b", "probe": "c\0"}, ": the probe 'c\\x00' has a NUL."),
        ("on_connect", {"cgroup": "/sys/fs/cgroup\0"}, ": the cgroup '/sys/fs/cgroup\\x00' has a NUL."),
        ("on_lookup", {"namespace": "/proc\0"}, ": the namespace '/proc\\x00' has a NUL."),
    ],
)
def test_what_the_kernel_has_no_room_for_is_refused_by_name(
    probe: Any, name: str, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(AttachError) as caught:
        getattr(probe.programs, name).attach(**arguments)
    assert str(caught.value) == f"attach program {name!r}{said}"
    assert caught.value.name == name


def test_a_device_whose_name_has_a_nul_is_none(probe: Any) -> None:
    with pytest.raises(AttachError, match=r"^attach program 'on_xdp' to device 'lo\\x00': there is none; there are lo"):
        probe.programs.on_xdp.attach(ifindex="lo\0")


def test_an_event_that_is_not_open(probe: Any) -> None:
    before = open_files()
    with pytest.raises(AttachError) as caught:
        probe.programs.on_tick.attach(perf_event=9999)
    assert str(caught.value) == "attach program 'on_tick' to perf_event: EBADF, bad file descriptor."
    assert open_files() == before


@missing("netfilter", "6.4")
@pytest.mark.parametrize("priority", [1 << 40, INT, -INT - 1])
def test_a_priority_has_32_bits(tmp_path: Path, priority: int) -> None:
    module = make_module(tmp_path, write_source(tmp_path, "filter", source({"on_packet": "netfilter"})))
    with module.Filter.open_and_load() as probe, pytest.raises(AttachError) as caught:
        probe.programs.on_packet.attach(hook="forward", priority=priority)
    assert str(caught.value) == (
        f"attach program 'on_packet' to netfilter ipv4 forward: priority {priority} is not from -{INT} to {INT - 1}."
    )


@missing("uprobe.multi", "6.6")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"offsets": [-1]}, f" to libc.so.6: offset -1 is not from 0 to {U64}."),
        ({"symbols": ["labs"], "cookies": [1 << 64]}, f" to uprobe.multi: cookie {1 << 64} is not from 0 to {U64}."),
        ({"symbols": ["labs"], "pid": 1 << 40}, f" to libc.so.6: pid {1 << 40} is not from -1 to {INT}."),
    ],
)
def test_numbers_of_many_functions(tmp_path: Path, arguments: dict[str, Any], said: str) -> None:
    module = make_module(tmp_path, write_source(tmp_path, "many", source({"on_call": "uprobe.multi"})))
    with module.Many.open_and_load() as probe, pytest.raises(AttachError) as caught:
        probe.programs.on_call.attach(path="libc.so.6", **arguments)
    assert str(caught.value) == f"attach program 'on_call'{said}"


@pytest.mark.parametrize("offset", ["ten", "-1"])
def test_the_offset_of_a_kprobe_is_a_number(offset: str) -> None:
    assert perf_events.open_kprobe(f"vfs_read+{offset}", is_return=False) == -22


@pytest.mark.parametrize("arguments", [{"repeat": -1}, {"repeat": 1 << 40}, {"data_size_out": -1}])
def test_a_test_run_has_numbers_of_32_bits(probe: Any, arguments: dict[str, int]) -> None:
    ((what, value),) = arguments.items()
    with pytest.raises(EbpfError) as caught:
        probe.programs.on_xdp.test_run(data=bytes(64), **arguments)
    assert str(caught.value) == f"run program 'on_xdp': {what} {value} is not from 0 to {U32}."


def test_whatever_stops_attach_takes_back_what_was_attached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = source({"first": "tp/syscalls/sys_enter_getppid", "second": "tp/syscalls/sys_exit_getppid"})
    module = make_module(tmp_path, write_source(tmp_path, "both", code))
    with module.Both.open_and_load() as probe:

        def stop() -> None:
            raise RuntimeError("stopped")

        monkeypatch.setattr(probe.programs.second, "attach", stop)
        with pytest.raises(RuntimeError, match=r"^stopped$"):
            probe.attach()
        assert dict(probe.links) == {"first": None, "second": None}
        assert [link for link in probe.programs.first._attached if link.attached] == []
