# SPDX-License-Identifier: Apache-2.0
"""What the tracer makes of maps and rows; the kernel's part is tested with the kernel."""

from types import SimpleNamespace
from typing import Any

import pytest

from ebpf_collector.probes.tcp_queue_length import longest, new_tracer
from ebpf_probes.tcp_queue_length import TcpQueue, TcpQueueKey, TcpQueueLength, TcpQueueStats
from ebpf_runtime import AttachError, ProbeConfig, RefusedVariant
from tests.unit.collector.records import queue


def stats(*figures: int) -> TcpQueueStats:
    """Return figures in the order bytes read and written, per mille read and written."""
    names = (
        "read_queue_max_bytes",
        "write_queue_max_bytes",
        "read_queue_max_permille",
        "write_queue_max_permille",
    )
    return TcpQueueStats(**dict(zip(names, figures, strict=True)))


class FakeLoaded:
    """Stands for a loaded `TcpQueueLength`."""

    variant = "tp_btf_probe"
    refused = (RefusedVariant("fentry", "load", 1, "EPERM"),)

    def __init__(self, attach_error: Exception | None = None) -> None:
        self.log: list[str] = []
        self.drained: dict[int, tuple[TcpQueueStats, ...]] = {}
        self.cgroups: dict[int, TcpQueueKey] = {}
        self.file_rows: list[TcpQueue] = []
        self.sock_rows: list[TcpQueue] = []
        self.maps = SimpleNamespace(
            tcp_queues=SimpleNamespace(drain=lambda: iter(self.drained.items())),
            tcp_cgroups=SimpleNamespace(lookup=self.cgroups.get),
            tcp_lost=[(3, 0, 4)],
        )
        self.programs = SimpleNamespace(
            tcp_file_iter=SimpleNamespace(rows=lambda: iter(self.file_rows)),
            tcp_sock_iter=SimpleNamespace(rows=lambda: iter(self.sock_rows)),
        )
        self._attach_error = attach_error

    def attach(self) -> None:
        self.log.append("attach")
        if self._attach_error:
            raise self._attach_error

    def close(self) -> None:
        self.log.append("close")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> FakeLoaded:
    return serve(monkeypatch, FakeLoaded())


def serve(monkeypatch: pytest.MonkeyPatch, fake: FakeLoaded) -> FakeLoaded:
    def open_and_load(config: ProbeConfig) -> FakeLoaded:
        assert config.bpf_debug
        return fake

    monkeypatch.setattr(TcpQueueLength, "open_and_load", open_and_load)
    return fake


def readings() -> list[TcpQueue]:
    with new_tracer(ProbeConfig(bpf_debug=True)) as tracer:
        return tracer.get_and_flush()


def test_tracer_is_attached_read_and_closed(loaded: FakeLoaded) -> None:
    with new_tracer(ProbeConfig(bpf_debug=True)) as tracer:
        assert loaded.log == ["attach"]
        assert tracer.variant == "tp_btf_probe"
        assert [(refused.variant, refused.errno) for refused in tracer.refused] == [("fentry", 1)]
        assert tracer.get_and_flush() == []
        assert tracer.lost_events() == 7
    assert loaded.log == ["attach", "close"]


def test_tracer_that_cannot_attach_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = serve(monkeypatch, FakeLoaded(AttachError("attach program 'p': ENOENT, no. Do x.")))
    with pytest.raises(AttachError):
        new_tracer(ProbeConfig(bpf_debug=True))
    assert loaded.log == ["attach", "close"]


def test_maximum_of_each_figure_over_the_cpus(loaded: FakeLoaded) -> None:
    loaded.drained[5] = (stats(1, 20, 300, 4), stats(10, 2, 30, 4000), stats(0, 0, 0, 0))
    loaded.cgroups[5] = TcpQueueKey(cgroup_id=5, cgroup="five")
    assert readings() == [TcpQueue(key=loaded.cgroups[5], stats=stats(10, 20, 300, 4000))]


def test_maximum_of_hooks_and_both_iterators(loaded: FakeLoaded) -> None:
    key = TcpQueueKey(cgroup_id=5, cgroup="five")
    loaded.drained[5] = (stats(9, 1, 1, 1),)
    loaded.cgroups[5] = key
    loaded.file_rows = [TcpQueue(key=key, stats=stats(1, 9, 1, 1)), TcpQueue(key=key, stats=stats(1, 1, 9, 1))]
    loaded.sock_rows = [TcpQueue(key=key, stats=stats(1, 1, 1, 9))]
    assert readings() == [TcpQueue(key=key, stats=stats(9, 9, 9, 9))]


def test_groups_of_one_name_stay_apart_in_the_order_of_their_ids(loaded: FakeLoaded) -> None:
    loaded.file_rows = [queue("x", 9), queue("x", 3), queue("x", 9)]
    assert [(reading.key.cgroup_id, reading.key.cgroup) for reading in readings()] == [(3, "x"), (9, "x")]


def test_a_name_that_made_room_for_others_is_taken_from_the_rows(loaded: FakeLoaded) -> None:
    loaded.drained = {5: (stats(1, 1, 1, 1),), 6: (stats(2, 2, 2, 2),)}
    loaded.file_rows = [queue("five", 5)]
    assert [reading.key.cgroup for reading in readings()] == ["five", ""]


def test_figures_are_not_cut_to_32_bits() -> None:
    values: Any = (1 << 40, (1 << 40) + 1, (1 << 32) - 1, 5)
    assert longest([stats(0, 0, 0, 0), stats(*values)]) == stats(*values)
