# SPDX-License-Identifier: Apache-2.0
"""Compiling a probe on this host, from the start of a process to its end, and starting from what was compiled."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.jobs import Options
from benchmarks.peers import bcc_refusal, bcc_worker
from benchmarks.probes import environment, installation
from benchmarks.race import Bar, Job, Sample

__all__ = ["fallback"]

_ROOT = Path(__file__).resolve().parents[2]
_COMPILED = "compile on this host and load"
_CACHED = "load what was compiled"
_CO_RE = "load by CO-RE"
_VMLINUX = "bpftool's vmlinux.h and clang"
_BCC = "bcc compiles its tcptop"

_START = """
from ebpf_runtime import ProbeConfig
from ebpf_probes.oom_kill import OomKill
with OomKill.open_and_load(ProbeConfig({settings})) as probe:
    assert probe.origin == {origin!r}
"""


@contextmanager
def fallback(_options: Options) -> Iterator[Job]:
    import ebpf_codegen
    import ebpf_probes
    import ebpf_runtime
    from ebpf_codegen.compiler import find_compiler

    with TemporaryDirectory() as name, ExitStack() as stack:
        scratch = Path(name)
        installed = installation(scratch / "installed")
        installed.install([ebpf_runtime, ebpf_codegen, ebpf_probes])
        warm = f"enable_co_re=False, runtime_compiler_output_dir={str(scratch / 'warm')!r}"
        contenders: dict[str, Callable[[], Sample]] = {
            _COMPILED: partial(_cold, scratch / "cold", installed.python),
            _CACHED: partial(_started, _START.format(settings=warm, origin="compiled"), installed.python),
            _CO_RE: partial(_started, _START.format(settings="", origin="co_re"), installed.python),
        }
        notes = []
        if tool := shutil.which("bpftool", path="/usr/sbin:/usr/bin:/sbin:/bin"):
            contenders[_VMLINUX] = partial(_by_vmlinux, tool, find_compiler().command, scratch)
        else:
            notes.append("vmlinux.h is not raced: there is no bpftool (apt-get install bpftool)")
        tcptop = shutil.which("tcptop-bpfcc", path="/usr/sbin:/usr/bin")
        if tcptop and not bcc_refusal():
            worker = stack.enter_context(bcc_worker("tcptop_bcc", tcptop))
            assert worker is not None
            contenders[_BCC] = worker.contender("compile")
        else:
            notes.append(bcc_refusal() or "bcc is not raced: there is no tcptop (apt-get install bpfcc-tools)")
        bars = (Bar(_COMPILED, _VMLINUX, 0.3), Bar(_COMPILED, _BCC, 0.1), Bar(_CACHED, _CO_RE, 1.2))
        yield Job("compiling oom_kill on this host", _CO_RE, contenders, bars, notes=notes, checked=False)


def _started(code: str, python: str) -> Sample:
    started = time.perf_counter()
    subprocess.run([python, "-P", "-c", code], check=True, env=environment())
    return Sample(time.perf_counter() - started)


def _cold(directory: Path, python: str) -> Sample:
    shutil.rmtree(directory, ignore_errors=True)
    settings = f"enable_co_re=False, runtime_compiler_output_dir={str(directory)!r}"
    return _started(_START.format(settings=settings, origin="compiled"), python)


def _by_vmlinux(bpftool: str, compiler: tuple[str, ...], scratch: Path) -> Sample:
    """Dump the kernel's types as C and compile the same probe with all of them, as most do; it is not even loaded."""
    source = shutil.copy(_ROOT / "bpf" / "oom_kill.bpf.c", scratch)
    shutil.copy(_ROOT / "bpf" / "oom_kill.h", scratch)
    started = time.perf_counter()
    with (scratch / "vmlinux.h").open("w") as header:
        subprocess.run(
            [bpftool, "btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c"], check=True, stdout=header
        )
    command = [
        *compiler, "-target", "bpf", "-O2", "-g", "-w", "-D__TARGET_ARCH_x86", f"-I{scratch}",
        f"-I{_ROOT / 'bpf' / 'include'}", "-c", source, "-o", str(scratch / "oom_kill.o"),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return Sample(time.perf_counter() - started)
