# SPDX-License-Identifier: Apache-2.0
"""Choosing among several variants of an object: the first that loads and attaches."""

from __future__ import annotations

import os
from errno import ENOENT, EPERM

from . import system_calls
from .errors import AttachError, LoadError, OpenError, PermissionDeniedError, VariableError, describe
from .hooks import hook_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .hooks import Hook
    from .loader import Loaded, Opened
    from .variants import RefusedVariant

__all__ = ["kind_refusal", "load_best"]

# Kinds that hang on a trampoline, which takes a program only once on kernels before 5.13; and those that need kprobes.
_TRAMPOLINES = ("fentry", "fexit", "fmod_ret", "freplace", "lsm")
_KPROBES = ("kprobe", "kretprobe", "ksyscall", "kretsyscall")
_RETURN_0 = b"\xb7\0\0\0\0\0\0\0\x95\0\0\0\0\0\0\0"  # r0 = 0; exit
_EVENTS = "/sys/bus/event_source/devices"
_TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")

_refusals: dict[str, tuple[str, int, str] | None] = {}
_attaches_again: bool | None = None


def load_best(opened: Opened) -> Loaded:
    """Load the first variant that loads and attaches.

    Whether a hook accepts its program shows only when it attaches, so while there are other variants left each is
    attached once and detached again before it is chosen. The object is opened afresh for each try, and once more for a
    chosen variant that has spent its only attachment on the trial. What is short for a moment, such as file
    descriptors, says nothing of a variant: it is raised, as a worse one would stay for the probe's life.
    """
    name = opened.spec.name
    refused: list[RefusedVariant] = []
    for number, variant in enumerate(opened.variants, 1):
        last = number == len(opened.variants)
        if not last and (hopeless := _hopeless(opened, variant)) is not None:
            refused.append(hopeless)
            continue
        try:
            loaded = opened.attempt(variant, tuple(refused))
        except (OpenError, VariableError) as error:
            from .variants import raise_transient

            raise_transient(name, error, refused)
            raise
        except (LoadError, PermissionDeniedError) as error:
            from .variants import locked_down, raise_transient, refusal

            raise_transient(name, error, refused)
            refused.append(refusal(variant, "load", error))
            if last and (denied := locked_down(name, refused)) is not None:
                raise denied from error
            continue
        if last:
            return loaded
        try:
            loaded.try_attaching()
            if not _has_trampolines(loaded) or _attaches_once_more(loaded):
                return loaded
        except (AttachError, PermissionDeniedError) as error:
            loaded.close()
            from .variants import raise_transient, refusal

            raise_transient(name, error, refused)
            refused.append(refusal(variant, "attach", error))
            continue
        except BaseException:
            loaded.close()
            raise
        loaded.close()
        return opened.attempt(variant, tuple(refused))
    from .variants import no_variant

    raise no_variant(name, refused)


def _hopeless(opened: Opened, variant: str) -> RefusedVariant | None:
    """Return why a variant cannot work on this kernel, as far as that shows without loading it."""
    for item in opened.spec.programs:
        if item.loads_in(variant) and (refusal := kind_refusal(hook_of(item.section))):
            from .variants import RefusedVariant

            phase, number, reason = refusal
            action = f"{phase} program {item.c_name!r}" + (f" to {item.section}" if phase == "attach" else "")
            return RefusedVariant(variant, phase, number, f"{action}: {reason}.")
    return None


def _has_trampolines(loaded: Loaded) -> bool:
    return any(program.section.startswith(_TRAMPOLINES) for _, program in loaded.programs)


def _attaches_once_more(loaded: Loaded) -> bool:
    """Return whether programs attach once more after a trial; asked of the kernel once a process.

    Raises:
        AttachError: Something was short meanwhile, so it cannot be told.
    Kernel: trampolines take a program again since 5.13.
    """
    global _attaches_again
    if _attaches_again is None:
        try:
            loaded.try_attaching()
        except (AttachError, PermissionDeniedError) as error:
            from .variants import is_transient

            if is_transient(error):
                raise
            _attaches_again = False
        else:
            _attaches_again = True
    return _attaches_again


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
    elif hook.kind in _TRAMPOLINES:
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
