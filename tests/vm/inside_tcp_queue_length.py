# SPDX-License-Identifier: Apache-2.0
"""Every variant of tcp_queue_length at once, on the same traffic; run inside a guest whose kernel takes all of them."""

from __future__ import annotations

import pytest

from tests.kernel import test_tcp_queue_length as suite
from tests.support.kernel import send_length_refusal
from tests.support.tcp import workers_cgroup

pytestmark = pytest.mark.kernel

# Linux 6.3 has both kinds of tracepoints.
VARIANTS = tuple(name for name in suite.HOOKED if name != "tp_btf_send_length" or not send_length_refusal())


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
        suite.test_variants_agree_on_the_same_traffic(group)
