# SPDX-License-Identifier: Apache-2.0
"""Records as the kernel side would send them, every field with a value of its own."""

from typing import Any

from ebpf_probes.oom_kill import OomKillConstraint, OomKillEvent, OomKillSource
from ebpf_probes.tcp_queue_length import TcpQueue, TcpQueueKey, TcpQueueStats
from ebpf_runtime import LoadReport

DOCKER_ID = "3f" * 32


def kill(**changes: Any) -> OomKillEvent:
    """Return a kill in a Docker container, triggered by another process; *changes* are fields."""
    fields: dict[str, Any] = {
        "timestamp_ns": 1_000_000_007,
        "score_points": 18426,
        "total_pages": 12288,
        "victim_cgroup_id": 101,
        "trigger_cgroup_id": 103,
        "victim_pid": 4243,
        "victim_tgid": 4242,
        "trigger_pid": 4104,
        "trigger_tgid": 4101,
        "constraint": OomKillConstraint.MEMCG,
        "source": OomKillSource.STACK,
        "score_adj": 42,
        "is_memcg": True,
        "group_member": False,
        "victim_comm": "hog",
        "trigger_comm": "asker",
        "victim_cgroup": f"docker-{DOCKER_ID}.scope",
        "trigger_cgroup": "trigger.scope",
    }
    return OomKillEvent(**(fields | changes))


class FakeProbe:
    """Hands out what the test put in, as the real probe does with what the kernel sent."""

    def __init__(
        self, *windows: list[OomKillEvent], variant: str = "raw_tp", origin: str = "co_re", lost: int = 0
    ) -> None:
        self.windows = list(windows)
        self.variant = variant
        self.origin = origin
        self.report = LoadReport()
        self.lost = lost
        self.closed = 0

    def get_and_flush(self) -> list[OomKillEvent]:
        return self.windows.pop(0) if self.windows else []

    def lost_events(self) -> int:
        return self.lost

    def close(self) -> None:
        self.closed += 1


def queue(cgroup: str = f"docker-{DOCKER_ID}.scope", cgroup_id: int = 101, **changes: int) -> TcpQueue:
    """Return the longest queues of a control group; *changes* are fields of its figures."""
    figures = {
        "read_queue_max_bytes": 121344,
        "write_queue_max_bytes": 4152832,
        "read_queue_max_permille": 925,
        "write_queue_max_permille": 1002,
    }
    return TcpQueue(key=TcpQueueKey(cgroup_id=cgroup_id, cgroup=cgroup), stats=TcpQueueStats(**(figures | changes)))


class FakeTracer:
    """Hands out what the test put in, as the real tracer does with what the kernel noted."""

    def __init__(self, *windows: list[TcpQueue], variant: str = "iter", origin: str = "co_re", lost: int = 0) -> None:
        self.windows = list(windows)
        self.variant = variant
        self.origin = origin
        self.report = LoadReport()
        self.lost = lost
        self.closed = 0

    def get_and_flush(self) -> list[TcpQueue]:
        return self.windows.pop(0) if self.windows else []

    def lost_events(self) -> int:
        return self.lost

    def close(self) -> None:
        self.closed += 1
