# SPDX-License-Identifier: Apache-2.0
"""Choosing among several variants of an object: the first that loads and attaches."""

from __future__ import annotations

from .errors import AttachError, LoadError, OpenError, PermissionDeniedError, VariableError
from .hooks import hook_of
from .kind_refusals import TRAMPOLINES, kind_refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .loader import Loaded, Opened
    from .variants import RefusedVariant

__all__ = ["load_best"]

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
    return any(program.section.startswith(TRAMPOLINES) for _, program in loaded.programs)


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
