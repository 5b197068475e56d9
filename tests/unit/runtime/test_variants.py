# SPDX-License-Identifier: Apache-2.0
"""What is made of refused variants; the lines are those that kernels gave."""

from __future__ import annotations

from errno import EINVAL, EPERM, ESRCH
from pathlib import Path

import pytest

from ebpf_runtime import RefusedVariant, privilege
from ebpf_runtime.variants import locked_down

UNKNOWN = "unknown func bpf_probe_read#4"
NO_TARGET = RefusedVariant("tp_btf", "load", ESRCH, "the kernel's BTF has no 'x' to hang it on.", "")


def lockdown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None) -> None:
    """Let *text* be the kernel's lockdown; None: securityfs is not mounted."""
    path = tmp_path / "lockdown"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(privilege, "_LOCKDOWN", str(path))


@pytest.mark.parametrize(
    "line",
    [
        UNKNOWN,
        "unknown func bpf_probe_read_str#45",
        "program of this type cannot use helper bpf_probe_read_kernel#113",
        "program of this type cannot use helper bpf_probe_read_kernel_str#115",
    ],
)
def test_lockdown_is_named_where_it_refuses_the_helper(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str
) -> None:
    lockdown(monkeypatch, tmp_path, "none integrity [confidentiality]\n")
    refused = [NO_TARGET, RefusedVariant("iter", "load", EINVAL, line, f"0: (85) call\n{line}\n")]
    error = locked_down("calls", refused)
    assert str(error) == (
        "load probe 'calls': EINVAL, the kernel is locked down for confidentiality, so no program may read its memory. "
        "Boot it with lockdown=integrity, or without."
    )
    assert error is not None
    assert (error.errno, error.refused) == (EINVAL, tuple(refused))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[none] integrity confidentiality\n", UNKNOWN),
        ("none [integrity] confidentiality\n", UNKNOWN),
        (None, UNKNOWN),
        ("none integrity [confidentiality]\n", "unknown func bpf_probe_read_user#112"),
        ("none integrity [confidentiality]\n", "R1 invalid mem access 'scalar'"),
    ],
)
def test_lockdown_is_not_blamed_for_what_it_did_not_refuse(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, line: str
) -> None:
    lockdown(monkeypatch, tmp_path, text)
    refused = [
        NO_TARGET,
        RefusedVariant("fentry", "load", EPERM, "", ""),
        RefusedVariant("i", "load", EINVAL, "", line),
    ]
    assert locked_down("calls", refused) is None
