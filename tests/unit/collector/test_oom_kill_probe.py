# SPDX-License-Identifier: Apache-2.0
"""What `new_probe` does around a generated module; the kernel's part is tested with the kernel."""

from types import SimpleNamespace

import pytest

from ebpf_collector.probes.oom_kill import new_probe
from ebpf_probes.oom_kill import OomKill, OomKillEvent
from ebpf_runtime import AttachError, ProbeConfig, RefusedVariant
from tests.unit.collector.records import kill


class FakeLoaded:
    """Stands for a loaded `OomKill`."""

    variant = "raw_tp"
    origin = "compiled"
    refused = (RefusedVariant("fentry", "load", 1, "EPERM"),)

    def __init__(self, attach_error: Exception | None = None) -> None:
        self.log: list[str] = []
        self.timeouts: list[float | None] = []
        self.maps = SimpleNamespace(oom_events=SimpleNamespace(poll=self._poll), oom_lost=[(3, 0, 4)])
        self._attach_error = attach_error

    def attach(self) -> None:
        self.log.append("attach")
        if self._attach_error:
            raise self._attach_error

    def close(self) -> None:
        self.log.append("close")

    def _poll(self, timeout: float | None) -> list[OomKillEvent]:
        self.timeouts.append(timeout)
        return [kill(), kill(victim_tgid=5)]


def serve(monkeypatch: pytest.MonkeyPatch, loaded: FakeLoaded) -> list[ProbeConfig]:
    configs: list[ProbeConfig] = []

    def open_and_load(config: ProbeConfig) -> FakeLoaded:
        configs.append(config)
        return loaded

    monkeypatch.setattr(OomKill, "open_and_load", open_and_load)
    return configs


def test_probe_is_attached_read_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = FakeLoaded()
    configs = serve(monkeypatch, loaded)
    config = ProbeConfig(bpf_debug=True)
    with new_probe(config) as probe:
        assert configs == [config]
        assert loaded.log == ["attach"]
        assert (probe.variant, probe.origin) == ("raw_tp", "compiled")
        assert [(refused.variant, refused.errno) for refused in probe.refused] == [("fentry", 1)]
        assert [event.victim_tgid for event in probe.get_and_flush()] == [4242, 5]
        assert loaded.timeouts == [0]  # drains, never waits
        assert probe.lost_events() == 7
    assert loaded.log == ["attach", "close"]


def test_probe_that_cannot_attach_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = FakeLoaded(AttachError("attach program 'p': ENOENT, no. Do x."))
    serve(monkeypatch, loaded)
    with pytest.raises(AttachError):
        new_probe(ProbeConfig())
    assert loaded.log == ["attach", "close"]
