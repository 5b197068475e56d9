# SPDX-License-Identifier: Apache-2.0
"""The pointers by which an object says which record belongs to which map or iterator: what they are called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

__all__ = ["BINDINGS", "INFERRED", "target"]

# Section of the pointers -> the macro of probe.bpf.h that makes them. Their names are `__<section>_<map or program>`,
# then `__` and a number; those that were inferred begin with `INFERRED` instead.
BINDINGS: Final = {".ringbuf_record": "RINGBUF_RECORD", ".iter_record": "ITER_RECORD"}
INFERRED: Final = "__inferred_record_"


def target(section: str, variable: str, known: Mapping[str, object] | Sequence[str]) -> tuple[str, bool]:
    """Return the map or program that a pointer of this name binds, and whether it was inferred; "" if it is none."""
    for prefix, inferred in ((f"__{section[1:]}_", False), (INFERRED, True)):
        if variable.startswith(prefix):
            name = variable.removeprefix(prefix)
            return (name if name in known else re.sub(r"__\d+$", "", name)), inferred
    return "", False
