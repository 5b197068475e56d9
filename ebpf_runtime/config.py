# SPDX-License-Identifier: Apache-2.0
"""How a probe is to be loaded."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

__all__ = ["ProbeConfig"]


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
        bpf_debug: Ask the verifier for its full log also when programs load.
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
