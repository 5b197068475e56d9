# SPDX-License-Identifier: Apache-2.0
"""Types out of kernel headers, whose assembly no compiler for BPF can read."""

from __future__ import annotations

from pathlib import Path

from ebpf_codegen import btf
from ebpf_codegen.compiler import find_compiler
from ebpf_codegen.header_types import header_types

# In the forms that headers of x86 and arm64 have.
SCHED = """
struct task_struct { long first; int second; };

register unsigned long current_stack_pointer asm ("sp");

static inline unsigned long swap(unsigned long *place, unsigned long old)
{
	register unsigned long x0 asm ("x0") = (unsigned long)place;
	register unsigned long x1 asm ("x1") = old;

	asm volatile("casp %[first], %[second]" : [first] "+&r" (x0) : [second] "r" (x1) : "memory");
	asm goto("b %l[there]" : : : : there);
	return x0 + current_stack_pointer;
there:
	return x1;
}
"""


def test_assembly_in_all_its_forms_is_passed_over(tmp_path: Path) -> None:
    header = tmp_path / "headers" / "include" / "linux" / "sched.h"
    header.parent.mkdir(parents=True)
    header.write_text(SCHED)
    for architecture in ("x86_64", "arm64"):
        scratch = tmp_path / architecture
        scratch.mkdir()
        data, read = header_types(
            find_compiler(), [tmp_path / "headers"], ["struct task_struct", "struct nowhere"], architecture, scratch
        )
        types = btf.read(data)
        number = types.find(btf.Struct, "task_struct")
        assert number is not None
        assert types.size(number) == 16
        assert types.find(btf.Struct, "nowhere") is None
        assert read == (header,)
