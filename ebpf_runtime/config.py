# SPDX-License-Identifier: Apache-2.0
"""How a probe is to be loaded, and what became of each way: where BTF came from, whether headers were found, what the
compiler did.

The numbers of results are those of the Datadog Agent, so that dashboards can be kept. Some never come; see decision 24.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

__all__ = ["COMPILE_RESULTS", "CO_RE_RESULTS", "HEADER_RESULTS", "LoadReport", "ProbeConfig", "compile_result"]


class ProbeConfig:
    """What a probe may do to load; the names and defaults are those of the collector's configuration file.

    Attributes:
        enable_co_re: Load the embedded CO-RE object; False: compile on this host at once.
        allow_runtime_compiled_fallback: Where CO-RE cannot load, compile on this host, with one warning.
        btf_path: BTF file of the running kernel, where the kernel does not show its own; None: the kernel's.
        kernel_header_dirs: Kernel headers for compiling on this host.
        enable_kernel_header_download: Where there are no headers, have the package manager download them.
        kernel_header_download_dir: Where to, as ebpf-runtime-RELEASE; None: /var/tmp/ebpf-runtime/kernel-headers for
            root, in the cache directory of other users.
        runtime_compiler_output_dir: Where objects compiled on this host are kept; None: /var/tmp/ebpf-runtime/build
            for root, ebpf-runtime/build in the cache directory of other users.
        bpf_debug: Ask the verifier for its full log also when programs load; it is in `LoadReport.log`.
    """

    __slots__ = (
        "allow_runtime_compiled_fallback",
        "bpf_debug",
        "btf_path",
        "enable_co_re",
        "enable_kernel_header_download",
        "kernel_header_dirs",
        "kernel_header_download_dir",
        "runtime_compiler_output_dir",
    )

    def __init__(
        self,
        enable_co_re: bool = True,
        allow_runtime_compiled_fallback: bool = True,
        btf_path: str | PathLike[str] | None = None,
        kernel_header_dirs: Iterable[str | PathLike[str]] = (),
        runtime_compiler_output_dir: str | PathLike[str] | None = None,
        bpf_debug: bool = False,
        enable_kernel_header_download: bool = False,
        kernel_header_download_dir: str | PathLike[str] | None = None,
    ) -> None:
        self.enable_co_re = enable_co_re
        self.allow_runtime_compiled_fallback = allow_runtime_compiled_fallback
        self.btf_path = btf_path
        self.kernel_header_dirs = tuple(kernel_header_dirs)
        self.runtime_compiler_output_dir = runtime_compiler_output_dir
        self.bpf_debug = bpf_debug
        self.enable_kernel_header_download = enable_kernel_header_download
        self.kernel_header_download_dir = kernel_header_download_dir

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ProbeConfig):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self.__slots__))

    def __repr__(self) -> str:
        return f"ProbeConfig({', '.join(f'{name}={getattr(self, name)!r}' for name in sorted(self.__slots__))})"


# Of a CO-RE object; the first four are successes, by the source of BTF.
CO_RE_RESULTS = ("custom", "embedded", "default", "remoteconfig", "btf_not_found", "asset_read", "verifier", "loader")
HEADER_RESULTS = (
    "not_attempted",
    "custom",
    "default",
    "sysfs",
    "previously_downloaded",
    "downloaded",
    "host_version_error",
    "download_failure",
    "validation_failure",
    "repositories_inaccessible",
    "not_found",
)
COMPILE_RESULTS = (
    "not_attempted",
    "compiled",
    "kernel_version_error",
    "source_verification_error",
    "output_directory_error",  # retired by the Agent; here the directory is not safe
    "output_file_error",
    "compiler_not_found",  # retired by the Agent; here there is none that is fit
    "compile_error",
    "result_unreadable",
    "headers_not_found",
    "cached",
    "input_hash_error",
)

_CO_RE_SUCCESSES = CO_RE_RESULTS[:4]
_HEADER_SUCCESSES = HEADER_RESULTS[1:6]
_COMPILE_SUCCESSES = ("compiled", "cached")


def compile_result(name: str) -> int:
    """Return the code of a result of compiling."""
    return COMPILE_RESULTS.index(name)


class LoadReport:
    """The ways that were tried to load a probe.

    Attributes:
        btf_source: Where CO-RE's BTF came from: "custom" (btf_path), "kernel", "embedded", "none"; empty: not looked
            for.
        btf_file: The file, or the bundle's member; empty where libbpf looks by itself.
        btf_notes: Why the sources before that one, or all, did not serve.
        co_re_result: One of `CO_RE_RESULTS`; empty where CO-RE was not tried.
        header_result: Index into `HEADER_RESULTS`.
        header_dirs: The directories of kernel headers in use.
        compile_result: Index into `COMPILE_RESULTS`.
        compile_seconds: What finding or making the compiled object took.
        compiler: The compiler, where it ran.
        log: The verifier's logs of the programs that loaded, where `bpf_debug` asks for them; empty otherwise.
    """

    __slots__ = (
        "btf_file",
        "btf_notes",
        "btf_source",
        "co_re_result",
        "compile_result",
        "compile_seconds",
        "compiler",
        "header_dirs",
        "header_result",
        "log",
    )

    def __init__(self) -> None:
        self.btf_source = ""
        self.btf_file = ""
        self.btf_notes: tuple[str, ...] = ()
        self.co_re_result = ""
        self.header_result = 0
        self.header_dirs: tuple[str, ...] = ()
        self.compile_result = 0
        self.compile_seconds = 0.0
        self.compiler = ""
        self.log = ""

    @property
    def header_result_name(self) -> str:
        """*header_result* in words."""
        return HEADER_RESULTS[self.header_result]

    @property
    def compile_result_name(self) -> str:
        """*compile_result* in words."""
        return COMPILE_RESULTS[self.compile_result]

    @property
    def co_re_succeeded(self) -> bool:
        """True where CO-RE was tried and loaded the probe."""
        return self.co_re_result in _CO_RE_SUCCESSES

    @property
    def header_succeeded(self) -> bool:
        """True where kernel headers were looked for and found."""
        return self.header_result_name in _HEADER_SUCCESSES

    @property
    def compile_succeeded(self) -> bool:
        """True where there is a compiled object, made now or before."""
        return self.compile_result_name in _COMPILE_SUCCESSES

    def __repr__(self) -> str:
        return f"LoadReport({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"
