# SPDX-License-Identifier: Apache-2.0
"""What is said of variants that are not in use, and of what was short."""

from __future__ import annotations

import errno

import pytest

from ebpf_runtime import LoadError, OpenError, RefusedVariant, libbpf
from ebpf_runtime.variants import misjudged, no_variant, raise_transient

RAISE = "Raise this process's limit of open files (ulimit -n, LimitNOFILE=)."


def test_reasons_are_one_sentence_that_names_the_probe_once() -> None:
    refused = [
        RefusedVariant("fentry", "load", errno.EPERM, "load program 'a': this kernel refuses every fentry program."),
        RefusedVariant("kprobe", "load", errno.ESRCH, "load probe 'one': ESRCH, no such process."),
        RefusedVariant("raw_tp", "load", errno.ESRCH, "load probe 'one': ESRCH, no such process."),
    ]
    assert str(no_variant("one", refused)) == (
        "load probe 'one': no variant works here. fentry: load, load program 'a': this kernel refuses every fentry "
        "program; kprobe, raw_tp: load, ESRCH, no such process."
    )


@pytest.mark.parametrize("step", ["", " Check the path.", " Rebuild the package."])
def test_a_shortage_has_the_one_next_step_that_helps(step: str) -> None:
    error = OpenError(f"open object 'one': EMFILE, too many open files.{step}", errno=errno.EMFILE)
    with pytest.raises(LoadError) as caught:
        raise_transient("one", error)
    assert str(caught.value) == f"load probe 'one': open object 'one': EMFILE, too many open files. {RAISE}"
    with pytest.raises(LoadError) as again:
        raise_transient("one", caught.value)
    assert again.value is caught.value


@pytest.mark.parametrize("error", ["-24", "-EMFILE"])
def test_a_test_of_the_kernel_that_was_short_is_known_in_the_words_of_every_libbpf(
    monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    said = [f"Detection of kernel BTF support failed: {number}\n" for number in ("-1", error)]
    monkeypatch.setattr(libbpf, "detections", said)
    raised = misjudged("one", ["the log"])
    assert raised is not None
    assert (raised.errno, raised.log, str(raised)) == (
        errno.EMFILE,
        "the log",
        "load probe 'one': EMFILE, too many open files, when libbpf tested the kernel for BTF, which it takes for "
        f"missing from now on. Restart this process. {RAISE}",
    )


def test_a_test_of_the_kernel_that_it_refused_is_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libbpf, "detections", ["Detection of kernel BTF support failed: -1\n"])
    assert misjudged("one", []) is None
