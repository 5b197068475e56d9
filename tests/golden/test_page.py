# SPDX-License-Identifier: Apache-2.0
"""docs/from-c-to-python.md says what the cases show."""

from __future__ import annotations

import pytest

from .cases import BOUND, CASES
from .page import FORM, PAGE, page


def test_the_page_is_current(request: pytest.FixtureRequest) -> None:
    text = page()
    if request.config.getoption("--update", default=False):
        PAGE.write_text(text, "utf-8")
    assert PAGE.read_text("utf-8") == text


def test_every_case_is_on_the_page() -> None:
    """But those that show no construct, and those whose names stand in no module of their own."""
    text = page()
    shown = {case for case in BOUND if f"\n## {case.replace('_', ' ').capitalize()}\n" in text}
    assert set(BOUND) - shown == set(FORM)
    assert text.count("\n| ") > 200
    for line in ("low: int = bitfield(0, 3)", "by_task: HashMap[Key, Count]", "union { … } either[2];"):
        assert f"`{line}`" in text
    refused = text.partition("## What is refused")[2]
    assert refused.count("\n| ") == 1 + len(CASES) - len(BOUND)
