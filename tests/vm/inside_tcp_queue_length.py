# SPDX-License-Identifier: Apache-2.0
"""Every variant of tcp_queue_length that the kernel takes at once, on the same traffic; run inside a guest."""

from __future__ import annotations

import pytest

from ebpf_collector.probes.tcp_queue_length import Tracer
from tests.kernel import test_tcp_queue_length as suite
from tests.support.tcp import connection, workers_cgroup
from tests.vm.matrix import note_equal

pytestmark = pytest.mark.kernel

# What must be there is known to whoever boots the guest.
VARIANTS = tuple(name for name in suite.HOOKED if not suite.REFUSALS[name]())


@pytest.mark.parametrize("variant", [*VARIANTS, "iter"])
def test_tcp_variant_loads_and_attaches(variant: str) -> None:
    with suite.load(variant) as probe:
        assert probe.variant == variant
        assert probe.refused == ()
        probe.attach()
        assert [name for name, link in probe.links if link is not None] == [name for name, _ in probe.programs]


@pytest.mark.parametrize("variant", VARIANTS)
def test_tcp_variant_is_exact(variant: str) -> None:
    with workers_cgroup() as group:
        suite.test_each_variant_notes_both_queues_exactly(variant, group)


def test_tcp_variants_are_equal() -> None:
    with workers_cgroup() as group:
        readings = suite.readings_of_the_same_traffic(group)
    note_equal("tcp_queue_length", readings, "calls")


def test_tcp_variants_poll_the_same() -> None:
    """What each says of a connection that stands still; the kernel's iterator is all that sees it."""
    with workers_cgroup() as group, connection(group) as ends:
        ends.fill()
        readings = {}
        for variant in suite.POLLED:
            if variant in (*VARIANTS, "iter"):
                with Tracer(suite.load(variant).attach()) as tracer:
                    (readings[variant],) = suite.of_group(tracer.get_and_flush(), group)
    assert len(readings) >= 3
    assert len(set(readings.values())) == 1
    note_equal("tcp_queue_length", readings, "stalled")
