# SPDX-License-Identifier: Apache-2.0
"""Whom the warning of a fallback names."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import pytest

from ebpf_runtime import FallbackWarning
from ebpf_runtime.rare_errors import warn_of_fallback

INSIDE = "def open(text):\n    warn(text)\n"


def named(code: str, **names: Any) -> tuple[str, int]:
    """Return file and line that are named when code, with these globals, calls `warn`."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(compile(code, "user.py", "exec"), {"warn": warn_of_fallback, **names})
    (warning,) = caught
    assert (warning.category, str(warning.message)) == (FallbackWarning, "fell back")
    return warning.filename, warning.lineno


@pytest.mark.parametrize(
    "names",
    [{"__name__": "user"}, {}, {"__name__": "user", "_OBJECT": 1},
     {"__name__": "user", "_OBJECT": SimpleNamespace(module="made.probe")}],
    ids=["module", "no name", "an _OBJECT of its own", "the _OBJECT of a generated module"],
)  # fmt: skip
def test_the_caller_is_named(names: dict[str, Any]) -> None:
    assert named("\n\nwarn('fell back')", **names) == ("user.py", 3)


@pytest.mark.parametrize(
    "names",
    [{"__name__": "made.probe", "_OBJECT": SimpleNamespace(module="made.probe")}, {"__name__": "ebpf_runtime.loader"}],
    ids=["generated module", "runtime"],
)
def test_what_is_inside_is_not_named(names: dict[str, Any]) -> None:
    inside: dict[str, Any] = {"warn": warn_of_fallback, **names}
    exec(compile(INSIDE, "inside.py", "exec"), inside)
    assert named("\nopen('fell back')", open=inside["open"], __name__="user") == ("user.py", 2)
