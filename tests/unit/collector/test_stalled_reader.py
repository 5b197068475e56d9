# SPDX-License-Identifier: Apache-2.0
"""The connection whose reader stalls; it needs no root unless buffers are asked for."""

import time
from pathlib import Path

import pytest

from ebpf_collector.errors import WorkloadError
from ebpf_collector.workloads import stalled_reader as module
from ebpf_collector.workloads.stalled_reader import Queue, stalled_reader


def test_full_queues_add_up_to_what_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    written = 0
    with stalled_reader() as connection:
        write = connection.write

        def count(data: bytes) -> int:
            nonlocal written
            size = write(data)
            written += size
            return size

        monkeypatch.setattr(connection, "write", count)
        connection.fill()
        receive, send = connection.receive_queue(), connection.send_queue()
        assert receive.queued_bytes + send.queued_bytes == written > 100_000
        assert receive.permille > 500
        assert send.permille > 500
        assert connection.write(b"x") == 0
        assert len(connection.read(1000)) == 1000
        assert connection.receive_queue().queued_bytes >= receive.queued_bytes - 1000


def test_permille_of_more_than_32_bits() -> None:
    assert Queue(4_500_000, 16 << 20).permille == 268


def test_queues_that_never_calm_down_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CALM_S", 0.01)
    with stalled_reader() as connection:
        monkeypatch.setattr(connection, "send_queue", time.monotonic)
        with pytest.raises(WorkloadError) as caught:
            connection.fill(0.1)
        assert str(caught.value) == (
            f"fill the connection to port {connection.port}: the queues still grew after 0.1 s. Run the command again."
        )


def test_both_ends_are_closed_after_the_block() -> None:
    before = {path.name for path in Path("/proc/self/fd").iterdir()}
    with stalled_reader() as connection:
        assert 0 < connection.port < 65536
    assert {path.name for path in Path("/proc/self/fd").iterdir()} == before


def test_errors_of_the_block_are_not_the_connections() -> None:
    with pytest.raises(PermissionError, match="mine"), stalled_reader():
        raise PermissionError("mine")


def test_a_kernel_that_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(address: tuple[str, int]) -> None:
        raise OSError(99, "x")

    monkeypatch.setattr("socket.create_server", refuse)
    with pytest.raises(WorkloadError) as caught, stalled_reader():
        pass
    assert str(caught.value) == (
        "make a connection on the loopback interface: EADDRNOTAVAIL, cannot assign requested address. "
        "See whether the interface lo is up."
    )
    assert caught.value.errno == 99
