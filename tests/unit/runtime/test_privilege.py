# SPDX-License-Identifier: Apache-2.0
"""Which capabilities are missed, by what /proc says of the process."""

from __future__ import annotations

from pathlib import Path

import pytest

from ebpf_runtime import privilege
from ebpf_runtime.privilege import missing_capabilities

BPF, PERFMON, SYS_ADMIN = 1 << 39, 1 << 38, 1 << 21


def status(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None) -> None:
    """Let *text* be /proc/self/status; None: there is no /proc."""
    path = tmp_path / "status"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(privilege, "_STATUS", str(path))


@pytest.mark.parametrize(
    ("effective", "missing"),
    [
        (0, ("CAP_BPF", "CAP_PERFMON")),
        (BPF, ("CAP_PERFMON",)),
        (PERFMON, ("CAP_BPF",)),
        (BPF | PERFMON, ()),
        (SYS_ADMIN, ()),  # stands for both
        (~(BPF | PERFMON | SYS_ADMIN) & (1 << 41) - 1, ("CAP_BPF", "CAP_PERFMON")),
    ],
)
def test_missing_are_those_that_are_not_effective(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, effective: int, missing: tuple[str, ...]
) -> None:
    permitted = (1 << 41) - 1  # what is permitted and not effective is of no use
    status(monkeypatch, tmp_path, f"Name:\tx\nCapPrm:\t{permitted:016x}\nCapEff:\t{effective:016x}\nCapBnd:\t0\n")
    assert missing_capabilities() == missing


def test_networks_need_a_capability_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    status(monkeypatch, tmp_path, f"CapEff:\t{SYS_ADMIN:016x}\n")
    assert missing_capabilities("CAP_NET_ADMIN") == ("CAP_NET_ADMIN",)
    status(monkeypatch, tmp_path, f"CapEff:\t{SYS_ADMIN | 1 << 12:016x}\n")
    assert missing_capabilities("CAP_NET_ADMIN") == ()


@pytest.mark.parametrize(
    ("effective", "missing"),
    [(BPF | PERFMON, ("CAP_SYS_ADMIN",)), (SYS_ADMIN, ()), (BPF, ("CAP_PERFMON", "CAP_SYS_ADMIN"))],
)
def test_what_nothing_else_gives_is_asked_for_by_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, effective: int, missing: tuple[str, ...]
) -> None:
    status(monkeypatch, tmp_path, f"CapEff:\t{effective:016x}\n")
    assert missing_capabilities("CAP_SYS_ADMIN") == missing


@pytest.mark.parametrize("text", [None, "Name:\tx\n"])
def test_where_it_cannot_be_told_nothing_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None
) -> None:
    status(monkeypatch, tmp_path, text)
    assert missing_capabilities() == ()
