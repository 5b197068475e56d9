# SPDX-License-Identifier: Apache-2.0
"""What of this host matters for loading probes. Nothing is changed by looking."""

from __future__ import annotations

import os
from pathlib import Path

from .btf_sources import host
from .config import HEADER_RESULTS, ProbeConfig
from .errors import EbpfError
from .kernel_headers import HeaderError, find_headers, host_version_code
from .libbpf import library, origin
from .privilege import lockdown, missing_capabilities
from .vmlinux import kernel_btf

__all__ = ["HostFacts", "host_facts"]

_MOUNTS = {"tracefs": "/sys/kernel/tracing", "bpf": "/sys/fs/bpf", "cgroup": "", "cgroup2": ""}


class HostFacts:
    """One host, as far as loading probes is concerned.

    Attributes:
        release: The kernel's release.
        version: Its version as x.y.z, which a distribution's release need not tell.
        architecture: As embedded objects carry it.
        distribution: The name and version of the system, as os-release has them.
        missing_capabilities: Those that BPF needs and this process lacks.
        libbpf: Version, what chose it ("EBPF_LIBBPF", "bundled", "system"), and its file; empty if there is none.
        libbpf_error: Why there is none.
        kernel_btf: The file of the kernel's own BTF, empty if it shows none.
        compiler: The compiler that would be used, empty if there is none.
        compiler_error: Why there is none.
        header_result: Index into `HEADER_RESULTS`, of looking for headers without unpacking or downloading any.
        header_result_name: The same in words.
        header_dirs: The headers found.
        header_error: Why there are none.
        mounts: Where tracefs, bpf, cgroup and cgroup2 are mounted, the first place of each, empty if nowhere.
        lockdown: What of the kernel is locked: "none", "integrity", "confidentiality", empty where it cannot be told.
    """

    __slots__ = (
        "architecture",
        "compiler",
        "compiler_error",
        "distribution",
        "header_dirs",
        "header_error",
        "header_result",
        "header_result_name",
        "kernel_btf",
        "libbpf",
        "libbpf_error",
        "lockdown",
        "missing_capabilities",
        "mounts",
        "release",
        "version",
    )

    def __init__(self, config: ProbeConfig) -> None:
        here = host()
        self.release = here.release
        self.architecture = here.architecture
        self.distribution = f"{here.distribution} {here.version}".strip()
        self.missing_capabilities = missing_capabilities()
        self.kernel_btf = kernel_btf()
        self.mounts = _mounts()
        self.lockdown = lockdown()
        self.libbpf: tuple[str, str, str] = ("", "", "")
        self.libbpf_error = self.compiler = self.compiler_error = self.header_error = ""
        self.header_dirs: tuple[str, ...] = ()
        try:
            lib = library()
            self.libbpf = (f"{lib.libbpf_major_version()}.{lib.libbpf_minor_version()}", *origin())
        except EbpfError as error:
            self.libbpf_error = str(error)
        from .host_compiler import available_compiler

        self.compiler, self.compiler_error = available_compiler()
        self.version = ""
        try:
            code = host_version_code()
            self.version = f"{code >> 16}.{code >> 8 & 255}.{code & 255}"
            headers = find_headers(config, look_only=True)
            self.header_result = headers.result
            self.header_dirs = tuple(map(str, headers.directories))
        except HeaderError as error:
            self.header_result = error.result
            self.header_error = str(error)
        self.header_result_name = HEADER_RESULTS[self.header_result]


def host_facts(config: ProbeConfig | None = None) -> HostFacts:
    """Return what of this host matters for loading probes as *config* says."""
    return HostFacts(config or ProbeConfig())


def _mounts() -> dict[str, str]:
    """Return the first mount point of each file system that probes and checks use; tracefs may be seen in debugfs."""
    found = dict.fromkeys(_MOUNTS, "")
    try:
        lines = Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return found
    for line in lines:
        _, place, kind, *_ = line.split(" ")
        # The usual place counts more than another one, and a container's own more than none.
        if kind in found and (not found[kind] or place == _MOUNTS[kind]):
            found[kind] = place
    if not found["tracefs"] and os.path.isdir("/sys/kernel/debug/tracing/events"):  # noqa: PTH112
        found["tracefs"] = "/sys/kernel/debug/tracing"
    return found
