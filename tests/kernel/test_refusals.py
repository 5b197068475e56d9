# SPDX-License-Identifier: Apache-2.0
"""Refusals: what the kernel lacks is named, and near names are offered; kprobes and fentry where it has them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from ebpf_runtime import AttachError, CoReError, LoadError, ProbeConfig, nearby
from tests.support.kernel import kprobe_refusal, tracing_refusal
from tests.support.sources import make_module, write_source

pytestmark = pytest.mark.kernel

NO_FALLBACK = ProbeConfig(allow_runtime_compiled_fallback=False)
COUNT = """
__u64 runs = 0;
const volatile __u32 wanted_pid = 0;

static __always_inline int count(void)
{
	if (bpf_get_current_pid_tgid() >> 32 == wanted_pid)
		__sync_fetch_and_add(&runs, 1);
	return 0;
}
"""


def one_of(directory: Path, section: str) -> Any:
    """Return the class of a probe with one program, of a section."""
    code = f'SEC("{section}")\nint program(void *ctx) {{ return 0; }}\n'
    return make_module(directory, write_source(directory, "one", code)).One


def refused(directory: Path, section: str) -> LoadError:
    """Return why a program of a section does not load."""
    opened = one_of(directory, section).open(NO_FALLBACK)
    with pytest.raises(CoReError) as caught:
        opened.load()
    cause = caught.value.__cause__
    assert isinstance(cause, LoadError)
    return cause


def test_an_absent_tracepoint_of_btf_has_near_names(tmp_path: Path) -> None:
    error = refused(tmp_path, "tp_btf/sched_switsch")
    assert str(error) == (
        "load program 'program': ESRCH, no such process, the kernel's BTF has no 'sched_switsch' to hang it on. "
        "Near names: sched_switch."
    )


def test_an_absent_tracepoint_of_btf_without_near_names_has_the_list_of_them(tmp_path: Path) -> None:
    assert str(refused(tmp_path, "tp_btf/like_no_other_at_all")) == (
        "load program 'program': ESRCH, no such process, the kernel's BTF has no 'like_no_other_at_all' to hang it on. "
        "See /sys/kernel/tracing/available_events."
    )


def test_an_absent_tracepoint_has_near_names_and_nothing_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cls = one_of(tmp_path, "tp/sched/sched_switsch")
    capfd.readouterr()  # of the build
    with cls.open_and_load() as probe, pytest.raises(AttachError) as caught:
        probe.attach()
    assert capfd.readouterr() == ("", "")
    assert str(caught.value).startswith(
        "attach program 'program' to tp/sched/sched_switsch: ENOENT, no such file or directory. "
        "Near names: sched/sched_switch"
    )
    assert caught.value.errno == 2


def test_kprobes_count_or_their_absence_is_named(tmp_path: Path) -> None:
    code = COUNT + (
        'SEC("kprobe/hrtimer_nanosleep")\nint enter(void *ctx) { return count(); }\n'
        'SEC("kretprobe/hrtimer_nanosleep")\nint leave(void *ctx) { return count(); }\n'
    )
    opened = make_module(tmp_path, write_source(tmp_path, "sleeps", code)).Sleeps.open()
    opened.rodata.wanted_pid = os.getpid()
    with opened.load() as probe:
        if kprobe_refusal():
            with pytest.raises(AttachError) as caught:
                probe.attach()
            assert str(caught.value) == (
                "attach program 'enter' to kprobe/hrtimer_nanosleep: ENOENT, no such file or directory; "
                "this kernel has no kprobes (CONFIG_KPROBE_EVENTS), Linux 4.1 has."
            )
            assert (caught.value.feature, caught.value.minimum_kernel) == ("kprobes (CONFIG_KPROBE_EVENTS)", "4.1")
            return
        probe.attach()
        for _ in range(3):
            _sleep()
        assert probe.bss.runs == 6
        probe.detach()
        _sleep()
        assert probe.bss.runs == 6


def _sleep() -> None:
    time.sleep(0.001)


def test_trampolines_count_or_their_refusal_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearby, "_SECONDS", 60)  # an emulated machine reads the list slowly
    refusal = tracing_refusal()
    if "attaches" in refusal:  # and loads them
        with (
            one_of(tmp_path, "fentry/hrtimer_nanosleep").open_and_load() as probe,
            pytest.raises(AttachError) as caught,
        ):
            probe.attach()
        assert str(caught.value) == (
            "attach program 'program' to fentry/hrtimer_nanosleep: ENOTSUPP, this kernel does not support it."
        )
        return
    if refusal:
        error = refused(tmp_path, "fentry/hrtimer_nanosleep")
        assert str(error) == (
            "load program 'program': EPERM, operation not permitted: this kernel refuses every fentry program."
        )
        assert error.feature == "fentry"
        return
    error = refused(tmp_path, "fentry/hrtimer_nanosleeep")
    assert str(error).startswith(
        "load program 'program': ESRCH, no such process, the kernel's BTF has no 'hrtimer_nanosleeep' to hang it on. "
        "Near names: hrtimer_nanosleep"
    )
    code = COUNT + (
        'SEC("fentry/hrtimer_nanosleep")\nint enter(void *ctx) { return count(); }\n'
        'SEC("fexit/hrtimer_nanosleep")\nint leave(void *ctx) { return count(); }\n'
    )
    opened = make_module(tmp_path, write_source(tmp_path, "naps", code)).Naps.open()
    opened.rodata.wanted_pid = os.getpid()
    with opened.load() as probe:
        probe.attach()
        for _ in range(5):
            _sleep()
        assert probe.bss.runs == 10
