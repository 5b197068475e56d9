# SPDX-License-Identifier: Apache-2.0
"""Names of hooks that this kernel has and that are near one that it has not."""

from __future__ import annotations

import os
import time

from . import perf_events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .hooks import Hook

__all__ = ["near_functions", "near_names", "nearest"]

_SHOWN = 3
_SECONDS = 0.5  # for reading; the kernel has some 200,000 functions
_CUTOFF = 0.75


def near_names(hook: Hook) -> list[str]:
    """Return up to three names of the hook's kind that are nearest to its target."""
    if hook.way == "tracepoint":
        return nearest(hook.target, _events(with_category=True))
    if hook.way == "raw_tp" or hook.kind == "tp_btf":
        return nearest(hook.target, _events(with_category=False))
    if hook.way in ("kprobe", "kprobe_multi", "tracing", "libbpf") and hook.kind.startswith(("k", "f")):
        return near_functions(hook.target.partition("+")[0])
    return []


def near_functions(name: str) -> list[str]:
    """Return up to three functions of the kernel that are nearest to a name, as far as they are found in time."""
    return nearest(name, _functions())


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three of the known names that are nearest to one, as far as they are found in time."""
    from difflib import SequenceMatcher

    matcher = SequenceMatcher(b=name, autojunk=False)
    found: list[tuple[float, str]] = []
    end = time.monotonic() + _SECONDS
    for candidate in known:
        if abs(len(candidate) - len(name)) <= len(name) // 2:
            matcher.set_seq1(candidate)
            if matcher.real_quick_ratio() > _CUTOFF and matcher.quick_ratio() > _CUTOFF:
                found.append((matcher.ratio(), candidate))
        if time.monotonic() > end:
            break
    best = sorted((item for item in found if item[0] > _CUTOFF and item[1] != name), reverse=True)
    return list(dict.fromkeys(candidate for _, candidate in best))[:_SHOWN]


def _events(*, with_category: bool) -> Iterator[str]:
    root = f"{perf_events.tracefs()}/events"
    try:
        with os.scandir(root) as categories:
            for category in categories:
                if not category.is_dir():
                    continue
                with os.scandir(category.path) as events:
                    for event in events:
                        if event.is_dir():
                            yield f"{category.name}/{event.name}" if with_category else event.name
    except OSError:
        return  # no tracefs, or none that may be read


def _functions() -> Iterator[str]:
    """Yield the names of traceable functions, or of all where there is no list of those."""
    from pathlib import Path

    for path, column in ((f"{perf_events.tracefs()}/available_filter_functions", 0), ("/proc/kallsyms", 2)):
        try:
            with Path(path).open(encoding="ascii", errors="replace") as lines:
                for line in lines:
                    words = line.split()
                    if len(words) > column and (not column or words[1] in "tT"):
                        yield words[column]
            return
        except OSError:
            continue
