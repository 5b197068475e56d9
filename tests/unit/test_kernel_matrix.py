# SPDX-License-Identifier: Apache-2.0
"""The page of kernels: cells from answers, and sections that a partial run leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.vm.matrix import Answers, note_equal, page, rows, write
from tests.vm.results import Finished, Outcomes, Results

VARIANTS = {
    "oom_kill": {
        "fentry": {"loads": "EINVAL: program of this type cannot | use <helper>"},
        "kprobe": {"loads": "", "attaches": "ENOENT: no such file"},
        "raw_tp": {"loads": "", "attaches": ""},
        "tracepoint": {"loads": "", "attaches": ""},
    }
}
DEFAULT = {
    "oom_kill": {"variant": "raw_tp", "origin": "co_re", "loads": ""},
    "tcp_queue_length": {"loads": "ESRCH: no types"},
}


def test_cells_are_yes_or_the_reason() -> None:
    answers = Answers(VARIANTS, DEFAULT, {"oom_kill": {"raw_tp": ["kills"], "tracepoint": ["kills", "maps"]}})
    assert list(rows(answers)) == [
        "| probe | variant | loads | attaches | readings equal |",
        "|---|---|---|---|---|",
        "| `oom_kill` | `fentry` | EINVAL: program of this type cannot \\| use &lt;helper> |  |  |",
        "| `oom_kill` | `kprobe` | yes | ENOENT: no such file |  |",
        "| `oom_kill` | `raw_tp` | yes | yes | kills |",
        "| `oom_kill` | `tracepoint` | yes | yes | kills, maps |",
        "",
        "| probe | by default | readings right |",
        "|---|---|---|",
        "| `oom_kill` | `raw_tp`, origin `co_re` | yes |",
        "| `tcp_queue_length` | ESRCH: no types | |",
    ]


def test_readings_that_were_not_compared_say_so() -> None:
    yes = {"loads": "", "attaches": ""}
    works = {"oom_kill": {"raw_tp": yes, "kprobe": yes}}
    assert list(rows(Answers(works, {})))[2].endswith("| yes | yes | not compared |")
    assert list(rows(Answers({"oom_kill": {"raw_tp": yes}}, {})))[2].endswith("| yes | yes | the only one |")


def test_what_variants_said_the_same_of_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "matrix.json"
    note_equal("oom_kill", ["raw_tp", "kprobe"], "kills")  # outside of a guest
    monkeypatch.setenv("EBPF_MATRIX", str(path))
    note_equal("oom_kill", ["raw_tp"], "kills")
    assert not path.exists()
    write("variants", VARIANTS)
    note_equal("tcp_queue_length", ["kprobe", "fentry"], "calls")
    note_equal("tcp_queue_length", ["iter", "fentry"], "stalled")
    found = Answers.read(path)
    assert found.variants == VARIANTS
    assert found.equal == {
        "tcp_queue_length": {"kprobe": ["calls"], "fentry": ["calls", "stalled"], "iter": ["stalled"]}
    }


def test_a_run_replaces_its_own_sections_and_no_other() -> None:
    first = page("", {"6.12": ["| a |"], "5.10": ["| b |", "| c |"]})
    assert first.startswith("# What works on which kernel\n")
    assert first.endswith("\n## 5.10\n\n| b |\n| c |\n\n## 6.12\n\n| a |\n")
    second = page(first, {"6.12": ["| new |"], "6.1, cgroup v1": ["| d |"]})
    assert second.endswith("\n## 5.10\n\n| b |\n| c |\n\n## 6.1, cgroup v1\n\n| d |\n\n## 6.12\n\n| new |\n")
    assert page(second, {}) == second


def test_answers_are_read_from_the_guests_file(tmp_path: Path) -> None:
    path = tmp_path / "matrix.json"
    assert Answers.read(path) == Answers({}, {})
    path.write_text(json.dumps({"variants": VARIANTS, "default": DEFAULT}))
    assert Answers.read(path) == Answers(VARIANTS, DEFAULT)


def test_a_guests_section_says_how_long_it_took_and_what_was_not_run() -> None:
    answers = Answers(VARIANTS, DEFAULT)
    results = Results(width=2)
    results.add("6.1", "", Finished("6.1.0 (6.1.1-1)", Outcomes({}), answers, 100.0, 160.0))
    outcomes = Outcomes(
        {"a": "passed", "b": "passed", "c": "skipped", "d": "skipped", "e": "failed"},
        {"c": "the kernel has no x (before 6.3)", "d": "the kernel has no x (before 6.3)"},
    )
    results.add("6.1", "kernel tests", Finished("6.1.0 (6.1.1-1)", outcomes, Answers({}, {}), 110.0, 700.0))
    sections = results.sections()
    assert sections["6.1"][:3] == [
        "Linux 6.1.0 (6.1.1-1). The guest took 60 s.",
        "The run booted 2 of its guests, 2 at a time: 10 min.",
        "",
    ]
    assert sections["6.1"][3:] == list(rows(answers))
    assert sections["6.1, kernel tests"] == [
        "Linux 6.1.0 (6.1.1-1). The guest took 10 min.",
        "",
        "2 tests passed.",
        "",
        "| tests | not passed because |",
        "|---|---|",
        "| 1 | failed |",
        "| 2 | the kernel has no x (before 6.3) |",
    ]
    assert list(results.table())[-1] == "Linux 6.1: The run booted 2 of its guests, 2 at a time: 10 min."
