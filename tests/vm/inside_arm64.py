# SPDX-License-Identifier: Apache-2.0
"""The embedded objects for arm64 on an arm64 kernel: they load, attach, and say what happened; run inside a guest.

A script, because the guest has a Python of the distribution and nothing that its suite of tests needs.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from ebpf_probes.oom_kill import OomKill
from tests.support.kills import kill_one, victims_cgroup
from tests.vm.inside_matrix import PROBES, READERS, attempt, variants

KILLS = 7


def count_kills() -> int:
    """Plant kills, and return how many of them the probe told, each with its own score adjust."""
    with OomKill.open_and_load() as probe, victims_cgroup() as group:
        probe.attach()
        planted = [kill_one(group, score_adj=100 * number, comm=f"victim-{number}") for number in range(KILLS)]
        pids = {kill.pid for kill in planted}
        events = [event for event in probe.maps.oom_events.poll(20) if event.victim_tgid in pids]
        assert [(event.victim_tgid, event.score_adj, event.victim_comm) for event in events] == [
            (kill.pid, kill.score_adj, kill.comm) for kill in planted
        ]
        return len(events)


def main() -> int:
    answers: dict[str, Any] = {"machine": os.uname().machine, "variants": {}, "default": {}}
    for name, cls in PROBES.items():
        answers["variants"][name] = {variant: attempt(cls, variant) for variant in variants(cls)}
    failed = False
    for name, reader in READERS.items():
        try:
            variant, origin = reader()
            answers["default"][name] = {"variant": variant, "origin": origin, "loads": ""}
        except Exception:
            failed = True
            traceback.print_exc()
    try:
        answers["kills"] = count_kills()
    except Exception:
        failed = True
        traceback.print_exc()
    Path(os.environ["EBPF_MATRIX"]).write_text(json.dumps(answers))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
