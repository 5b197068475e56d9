# SPDX-License-Identifier: Apache-2.0
"""Kinds of hooks that this kernel takes no program on at all."""

from __future__ import annotations

import os
from errno import ENOENT, EPERM

from . import system_calls
from .errors import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .hooks import Hook

__all__ = ["TRAMPOLINES", "kind_refusal"]

# Kinds that hang on a trampoline, which takes a program only once on kernels before 5.13; and those that need kprobes.
TRAMPOLINES = ("fentry", "fexit", "fmod_ret", "freplace", "lsm")
_KPROBES = ("kprobe", "kretprobe", "ksyscall", "kretsyscall")
_RETURN_0 = b"\xb7\0\0\0\0\0\0\0\x95\0\0\0\0\0\0\0"  # r0 = 0; exit
_EVENTS = "/sys/bus/event_source/devices"
_TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")

_refusals: dict[str, tuple[str, int, str] | None] = {}


def kind_refusal(hook: Hook) -> tuple[str, int, str] | None:
    """Return why this kernel takes no program on hooks of a kind at all, or None if it may take one.

    It is asked without the program and without the kernel's BTF, once a process for each kind: a sure no saves trying,
    anything else is for the trial to show.

    Returns:
        The phase that would fail ("load" or "attach"), the error number and the reason.
    """
    if hook.kind in _refusals:
        return _refusals[hook.kind]
    answer = None
    if hook.kind in _KPROBES:
        answer = _kprobe_refusal()
    elif hook.kind in TRAMPOLINES:
        answer = _trampoline_refusal(hook)
    _refusals[hook.kind] = answer
    return answer


def _kprobe_refusal() -> tuple[str, int, str] | None:
    """The kernel has kprobes if it has their event source or their file in tracefs."""
    if not os.access(_EVENTS, os.F_OK) or os.access(f"{_EVENTS}/kprobe", os.F_OK):
        return None
    if any(os.access(f"{tracefs}/kprobe_events", os.F_OK) for tracefs in _TRACEFS):
        return None
    return "attach", ENOENT, "this kernel has no kprobes (it is built without CONFIG_KPROBE_EVENTS)"


def _trampoline_refusal(hook: Hook) -> tuple[str, int, str] | None:
    """A program for BTF type 1, no function, is refused with EINVAL; EPERM to a process that may is a policy."""
    from .privilege import missing_capabilities

    fd = system_calls.program_load(hook.program_type, _RETURN_0, expected_attach_type=hook.attach_type, attach_btf_id=1)
    if fd >= 0:
        os.close(fd)
    if fd == -EPERM and not missing_capabilities():
        return "load", EPERM, f"{describe(EPERM)}: this kernel refuses every {hook.kind} program"
    return None
