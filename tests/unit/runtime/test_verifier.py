# SPDX-License-Identifier: Apache-2.0
"""What the verifier said, as the text of an error."""

from __future__ import annotations

import pytest

from ebpf_runtime.verifier import load_error


@pytest.mark.parametrize("end", ["", "."])
def test_the_verifiers_last_word_ends_in_one_full_stop(end: str) -> None:
    said = (
        "prog 'first': BPF program load failed: -13\n"
        "prog 'first': -- BEGIN PROG LOAD LOG --\n"
        "0: (b7) r0 = 1\n"
        f"At program exit the register R0 has value 1 and should have been 0{end}\n"
        "processed 1 insns\n"
        "-- END PROG LOAD LOG --\n"
    )
    assert str(load_error("one", 13, [said], b"")) == (
        "load program 'first', instruction 0: EACCES, permission denied, the verifier says: "
        "At program exit the register R0 has value 1 and should have been 0. 2 more lines are in the error's log."
    )


@pytest.mark.parametrize(
    "aside", ["", "kernel BTF is missing at '/sys/kernel/btf/vmlinux', was CONFIG_DEBUG_INFO_BTF enabled?\n"]
)
def test_every_libbpf_gives_one_reason_where_the_kernel_has_no_btf(aside: str) -> None:
    """From 1.5 on it says first which file it would have liked best."""
    messages = [*([aside] if aside else []), "failed to find valid kernel BTF\n", "Error loading vmlinux BTF: -3\n"]
    assert str(load_error("one", 3, messages, b"", btf_step="Mount sysfs on /sys.")) == (
        "load probe 'one': ESRCH, no such process; failed to find valid kernel BTF. Mount sysfs on /sys."
    )
