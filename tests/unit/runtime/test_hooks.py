# SPDX-License-Identifier: Apache-2.0
"""Sections: which hook each names, and that generator and runtime agree about the class of its programs."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

import ebpf_runtime
from ebpf_codegen.runtime_names import PROGRAM_CLASSES, program_class
from ebpf_runtime import LibraryNotFoundError, libbpf
from ebpf_runtime.features import floor_of
from ebpf_runtime.hooks import _SECTIONS, hook_of
from ebpf_runtime.programs import attaches_without_libbpf, open_program
from ebpf_runtime.records import u32

SECTIONS = sorted(_SECTIONS)


@pytest.mark.parametrize("section", SECTIONS)
def test_the_generator_annotates_what_the_runtime_makes(section: str) -> None:
    made = open_program("name", section, 0, 0, None)
    assert type(made).__name__ == program_class(section, has_rows=False)
    assert getattr(ebpf_runtime, type(made).__name__) is type(made)


def test_programs_with_rows_are_iterators() -> None:
    for section in ("iter/task", "iter.s/task"):
        assert type(open_program("name", section, 0, 0, u32(0))).__name__ == program_class(section, has_rows=True)
        assert program_class(section, has_rows=True) == "IteratorProgram"


def test_all_classes_are_public() -> None:
    assert set(PROGRAM_CLASSES) <= set(ebpf_runtime.__all__)


@pytest.mark.parametrize(
    ("section", "kind", "target", "way", "program_type", "attach_type", "sleepable"),
    [
        ("?kprobe/tcp_recvmsg+0x4", "kprobe", "tcp_recvmsg+0x4", "kprobe", 2, 0, False),
        ("fentry.s/do_unlinkat", "fentry", "do_unlinkat", "tracing", 26, 24, True),
        ("tp/sched/sched_switch", "tp", "sched/sched_switch", "tracepoint", 5, 0, False),
        ("xdp", "xdp", "", "xdp", 6, 37, False),
        ("xdp/devmap", "xdp/devmap", "", "none", 6, 33, False),
        ("cgroup/connect4", "cgroup/connect4", "", "cgroup", 18, 10, False),
        ("cgroup_skb/egress", "cgroup_skb/egress", "", "cgroup", 8, 1, False),
        ("uprobe//bin/bash:readline", "uprobe", "/bin/bash:readline", "uprobe", 2, 0, False),
        ("iter.s/bpf_map_elem", "iter", "bpf_map_elem", "iter", 26, 28, True),
        ("sk_reuseport/migrate", "sk_reuseport/migrate", "", "reuseport", 21, 40, False),
        ("somebody's own", "somebody's own", "", "none", 0, 0, False),
    ],
)
def test_a_section_names_its_hook(
    section: str, kind: str, target: str, way: str, program_type: int, attach_type: int, sleepable: bool
) -> None:
    hook = hook_of(section)
    assert (hook.kind, hook.target, hook.way) == (kind, target, way)
    assert (hook.program_type, hook.attach_type, hook.sleepable) == (program_type, attach_type, sleepable)


def test_what_reads_symbols_is_left_to_libbpf() -> None:
    assert [section for section in SECTIONS if not attaches_without_libbpf(section)] == [
        "freplace", "kretsyscall", "ksyscall", "struct_ops", "uprobe", "uretprobe", "usdt",
    ]  # fmt: skip
    assert not attaches_without_libbpf("somebody's own")


@pytest.mark.parametrize("section", SECTIONS)
def test_every_kind_names_the_kernel_that_has_it(section: str) -> None:
    feature, floor = floor_of(hook_of(section))
    assert feature
    assert re.fullmatch(r"[3-7]\.\d+", floor)


@pytest.mark.parametrize("feature", sorted(libbpf._SINCE))
def test_what_a_libbpf_cannot_do_names_the_one_that_can(feature: str, monkeypatch: pytest.MonkeyPatch) -> None:
    since = libbpf._SINCE[feature]
    for version in (since, (since[0], since[1] - 1)):
        found = SimpleNamespace(
            libbpf_major_version=lambda version=version: version[0],
            libbpf_minor_version=lambda version=version: version[1],
        )
        monkeypatch.setattr(libbpf, "_loaded", found)
        if version >= since:
            libbpf.require(feature, "open object 'one'")
            continue
        with pytest.raises(LibraryNotFoundError) as caught:
            libbpf.require(feature, "open object 'one'")
        assert str(caught.value) == (
            f"open object 'one': libbpf {version[0]}.{version[1]} has no {feature}, "
            f"libbpf {since[0]}.{since[1]} has. Install a newer libbpf, or set EBPF_LIBBPF to the path of one."
        )
