# SPDX-License-Identifier: Apache-2.0
"""The BTF of some kernel types, made from kernel headers: for a kernel that shows none of its own.

The compiler reads the headers in a file of its own, which only names the types that a probe declares, and writes down
their layout as BTF. The probe's source never meets the headers: it gets the layout of its declarations from that BTF,
as it would from the kernel's (see `host_source`).

Types that are private to a file of the kernel (struct bpf_htab for instance) are in no header and so missing. Compilers
agree on layouts, so clang's is that of a kernel compiled by GCC.

Proven with Debian's headers of 5.10 (x86-64 alone), 6.1, 6.12 and 7.2 for x86-64 and arm64, by clang 16 and 19.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from . import elf
from .compiler import ARCHITECTURES, Compiler
from .errors import CompilerError
from .processes import run_compiler

__all__ = ["header_types"]

# Where the types of probes are defined; what a kernel does not have is left out.
_HEADERS: Final = (
    "linux/sched.h", "linux/sched/signal.h", "linux/sched/user.h", "linux/sched/task_stack.h", "linux/mm_types.h",
    "linux/mm.h", "linux/oom.h", "linux/pid.h", "linux/pid_namespace.h", "linux/nsproxy.h", "linux/idr.h",
    "linux/xarray.h", "linux/fs.h", "linux/net.h", "linux/skbuff.h", "net/sock.h", "linux/tcp.h", "linux/kernfs.h",
    "linux/cgroup-defs.h", "linux/cgroup.h", "linux/memcontrol.h", "linux/bpf.h", "linux/bpf_mem_alloc.h",
    "linux/filter.h", "linux/btf.h", "linux/perf_event.h", "linux/percpu_counter.h", "linux/seq_file.h",
)  # fmt: skip

# BPF has no assembly of another processor, and nothing here is ever run: every asm statement becomes an empty one.
_NO_ASSEMBLY: Final = """\
#undef asm_volatile_goto
#define asm_volatile_goto(...) asm volatile("")
#undef asm_goto_output
#define asm_goto_output(...) asm volatile("")
#undef asm_inline
#define asm_inline asm
#define __asm__ asm
#define __volatile__ volatile
#define asm(...)
#define volatile(...) volatile("")
#define goto(...) volatile("")
#define inline(...) volatile("")
#define register
"""
# What the kernel's own build forces into every file, where it has it.
_FORCED: Final = ("linux/compiler-version.h", "linux/kconfig.h", "linux/compiler_types.h")
_SUBDIRECTORIES: Final = (
    "arch/{}/include",
    "arch/{}/include/generated",
    "include",
    "arch/{}/include/uapi",
    "arch/{}/include/generated/uapi",
    "include/uapi",
    "include/generated/uapi",
)
# __x86_64__ from 6.1 on (the size of a word), __seg_gs from 6.12 on (GCC's named address spaces), the two others 7.2.
_FLAGS: Final = (
    "-target", "bpf", "-O2", "-g", "-std=gnu11", "-w", "-nostdlibinc", "-fms-extensions", "-DCC_USING_FENTRY",
    "-D__KERNEL__", '-DKBUILD_MODNAME="ebpf"',
)  # fmt: skip
_OF_ARCHITECTURE: Final = {"x86": ("-D__x86_64__", "-D__seg_gs="), "arm64": ("-D__aarch64__",)}


def header_types(
    compiler: Compiler, directories: Sequence[Path], tags: Iterable[str], architecture: str, scratch: Path
) -> tuple[bytes, tuple[Path, ...]]:
    """Return BTF with the layout of these types, and the files that were read for it.

    Args:
        directories: Kernel headers: the generated ones, and the common part where that is apart.
        tags: Types as C writes them, `struct task_struct`; those that the headers do not define are left out.
        architecture: A key of `ARCHITECTURES`.
        scratch: A directory for the compiler's files, which nobody else can write.
    Raises:
        CompilerError: clang refused the headers; carries what it said.
        CompilerRunError: It did not come to that.
        ElfError: clang wrote no BTF.
    """
    source, output, depfile = scratch / "types.c", scratch / "types.o", scratch / "types.d"
    includes = "".join(f"#if __has_include(<{name}>)\n#include <{name}>\n#endif\n" for name in _HEADERS)
    # Of a pointer to a type that is not defined there remains a declaration, and no error.
    wanted = "".join(f"{tag} *ebpf_type_{number};\n" for number, tag in enumerate(dict.fromkeys(tags)))
    source.write_text(includes + wanted)
    (scratch / "no_assembly.h").write_text(_NO_ASSEMBLY)
    kind = ARCHITECTURES[architecture]
    folders = [
        directory / part.format(kind)
        for part in _SUBDIRECTORIES
        for directory in directories
        if (directory / part.format(kind)).is_dir()
    ]
    forced = [found for name in _FORCED if (found := _find(directories, name))]
    command = [
        *compiler.command,
        *_FLAGS,
        *_OF_ARCHITECTURE[kind],
        f"-D__TARGET_ARCH_{kind}",
        *(part for folder in folders for part in ("-isystem", str(folder))),
        *(part for path in (*forced, scratch / "no_assembly.h") for part in ("-include", str(path))),
        "-MD", "-MF", str(depfile), "-c", str(source), "-o", str(output),
    ]  # fmt: skip
    code, _, said = run_compiler(command, " ".join(compiler.command), "read kernel headers")
    if code:
        raise CompilerError(
            f"read kernel headers in {', '.join(map(str, directories))} with {compiler}: clang refused them.\n"
            f"{said.strip()}",
            said,
        )
    made = elf.read(output)
    (data,) = (section.data for section in made.sections if section.name == ".BTF")
    return data, _dependencies(depfile)


def _find(directories: Sequence[Path], name: str) -> Path | None:
    return next((path for directory in directories if (path := directory / "include" / name).is_file()), None)


def _dependencies(depfile: Path) -> tuple[Path, ...]:
    """Return the files that make's rule names, without what stands in the scratch directory."""
    words = depfile.read_text().replace("\\\n", " ").replace("\\ ", "\0").split()[1:]
    paths = (Path(word.replace("\0", " ")) for word in words)
    return tuple(path for path in paths if path.parent != depfile.parent)
