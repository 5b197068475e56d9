# SPDX-License-Identifier: Apache-2.0
"""Objects that were compiled on this host: what they are called, and finding them again without a compiler.

A name is made of digests: of the kernel, the source, and the rules, by which is meant all of the generator that has a
say in what comes out; where `EBPF_CLANG` is set, also of that; where the kernel shows no BTF, also of what its types
are taken from. A start from a kept object imports little more than a start by CO-RE.
"""

from __future__ import annotations

import os
import time

from . import vmlinux
from .build_directory import BuildDirectory
from .config import LoadReport, compile_result
from .digests import package_file, sha256
from .rare_errors import CompileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import ProbeConfig
    from .specs import ObjectSpec

__all__ = ["HEADER_LIST", "CompiledObjects", "compiled_image", "kept_file"]

HEADER_LIST = "libbpf_headers.sha256"  # digests of libbpf's headers in this package
# Of each package what has a say.
_RULES = {
    "ebpf_codegen": ("btf.py", "compiler.py", "header_types.py", "host_source.py", "strip.py"),
    "ebpf_runtime": ("host_compiler.py", HEADER_LIST),
}


def compiled_image(spec: ObjectSpec, config: ProbeConfig, report: LoadReport, refused: bytes | None = None) -> bytes:
    """Return a probe's embedded source as an object for the running kernel, compiled now or before.

    Args:
        report: Is told what became of it.
        refused: A kept object that does not load: another is compiled, which takes its place.
    Raises:
        OpenError: The source is missing from the package.
        DigestError: The source was changed, or the object that was kept.
        CompileError: There is no compiler or no BTF, the compiler refuses the source, the directory is not safe, or a
            record, map or variable has another layout than in the module.
    """
    started = time.monotonic()
    try:
        report.compile_result = compile_result("source_verification_error")
        objects = CompiledObjects(spec.name, spec.read("flat.c"), config, report)
        objects.warn()
        if not objects.kernel_btf:
            objects.refuse_attaching_by_btf(spec)
        found = objects.find() if refused is None else None
        if found is None:
            from .host_compiler import compile_image

            found = compile_image(objects, spec)
            if refused is not None and found != refused:
                objects.forget(refused)
        return found
    finally:
        report.compile_seconds += time.monotonic() - started


def kept_file(spec: ObjectSpec, config: ProbeConfig, image: bytes) -> str:
    """Return the file in which a probe's compiled object is kept, empty if it is no longer there; raises as above."""
    return CompiledObjects(spec.name, spec.read("flat.c"), config, LoadReport()).file(image)


class CompiledObjects:
    """What was compiled of one source for the running kernel.

    Attributes:
        directory: Where it is kept.
        prefix: What the names of these objects begin with.
        kernel_btf: The file of the kernel's own BTF, empty if it shows none.
        btf: Configured BTF, which serves where the kernel shows none; None: the kernel's, or that of its headers.
        warning: What is wrong with the configured file, empty if nothing is, or it is known already.
    """

    def __init__(self, name: str, source: bytes, config: ProbeConfig, report: LoadReport) -> None:
        self.name = name
        self.source = source
        self.config = config
        self.report = report
        report.compile_result = compile_result("output_directory_error")
        self.directory = BuildDirectory(config.runtime_compiler_output_dir)
        report.compile_result = compile_result("kernel_version_error")
        self.kernel_btf = vmlinux.kernel_btf()
        self.btf: bytes | None = None
        self.warning = ""
        self._needs_headers = False
        kernel = self._kernel()
        report.compile_result = compile_result("input_hash_error")
        parts = (kernel, source, _rules())
        digests = "-".join(sha256(part)[:16] for part in parts)
        self.prefix = f"{name}-{digests}-{_chosen_compiler()}{self._headers()}"

    def _headers(self) -> str:
        """Return what the names have more of, where types come from headers.

        Where the headers are no longer there, an object that was made with them serves.
        """
        if not self._needs_headers:
            return ""
        from .kernel_headers import header_identity

        found = header_identity(self.config)
        return f"{sha256(found)[:16]}-" if found else ""

    def find(self) -> bytes | None:
        """Return the newest object, None if there is none yet.

        Raises:
            CompileError: Others than we could have made it.
            DigestError: It is not the one that was compiled.
        """
        self.report.compile_result = compile_result("output_file_error")
        found = self.directory.find(self.prefix)
        if found is not None:
            self.report.compile_result = compile_result("cached")
        return found

    def file(self, image: bytes) -> str:
        """Return the file that an object is kept in, empty if it is no longer there."""
        ending = f"-{sha256(image)}.o"
        names = (path.name for path in self.directory.path.iterdir())
        found = next((name for name in names if name.startswith(self.prefix) and name.endswith(ending)), "")
        return found and str(self.directory.path / found)

    def forget(self, image: bytes) -> None:
        """Delete an object."""
        if file := self.file(image):
            from pathlib import Path

            Path(file).unlink(missing_ok=True)

    def refuse_attaching_by_btf(self, spec: ObjectSpec) -> None:
        """Refuse a probe that a kernel without BTF does not take, whatever its types are taken from.

        Raises:
            CompileError: It is such a one.
        """
        from .verifier import KERNEL_BTF_STEP, attaches_by_btf

        if attaches_by_btf(spec):
            self.report.compile_result = compile_result("compile_error")
            reason = f"its programs attach by the kernel's BTF, and {vmlinux.SYSFS} is missing"
            raise self.fail(f"{reason}. {KERNEL_BTF_STEP.removesuffix('.')}")

    def fail(self, reason: str, log: str = "") -> CompileError:
        """Return the error that says why there is no object."""
        return CompileError(f"compile {self.name!r} on this host: {reason}.", name=self.name, log=log)

    def _kernel(self) -> bytes:
        """Return what tells this kernel from others.

        `btf_path` serves only where the kernel shows no BTF, as what CO-RE could not use may well be wrong.
        """
        system = os.uname()
        identity = f"{system.release} {system.version} {system.machine} {os.sysconf('SC_PAGESIZE')}".encode()
        if self.kernel_btf == vmlinux.SYSFS:
            return identity
        if self.kernel_btf:
            state = os.stat(self.kernel_btf)  # noqa: PTH116
            return b"%b %b %d %d" % (identity, os.fsencode(self.kernel_btf), state.st_size, state.st_mtime_ns)
        if self.config.btf_path is not None:
            self.btf = self._configured(os.fspath(self.config.btf_path))
        if self.btf is not None:
            return identity + sha256(self.btf).encode()
        self._needs_headers = True
        places = map(os.path.abspath, self.config.kernel_header_dirs)
        return "\0".join((identity.decode(), "headers", *places)).encode("utf-8", "surrogatepass")

    def _configured(self, file: str) -> bytes | None:
        """Return what `btf_path` holds, None where it does not serve, which is no error: headers may be there."""
        from .btf_sources import configured_btf
        from .rare_errors import BtfError, LibraryNotFoundError, TrustError
        from .trust import read_trusted
        from .variants import raise_transient

        try:
            try:
                data, copy = configured_btf(file)
                copy.close()
            except LibraryNotFoundError:  # which compiling does not need
                data = read_trusted(file)
            try:
                return vmlinux.btf_of(data)
            except ValueError:
                next_step = f"Copy {vmlinux.SYSFS} of the same kernel."
                raise BtfError(f"read {file}: it holds no BTF. {next_step}", name=file) from None
        except (TrustError, BtfError) as error:
            raise_transient(self.name, error)
            note = str(error).removesuffix(".")
            if note not in self.report.btf_notes:  # CO-RE, tried before, has said so
                self.warning = f"{error} Looking for BTF elsewhere."
                self.report.btf_notes += (note,)
            return None

    def warn(self) -> None:
        """Say what is wrong with the configured file."""
        if self.warning:
            from .rare_errors import warn_of_fallback

            warn_of_fallback(self.warning)


def _chosen_compiler() -> str:
    """Return what the names have more of where `EBPF_CLANG` says who is to compile; it is neither run nor looked for.

    It stands before what comes of headers: where those are gone, an object that was made with them serves on.
    """
    chosen = os.environ.get("EBPF_CLANG")
    return f"{sha256(os.fsencode(chosen))[:16]}-" if chosen else ""


def _rules() -> bytes:
    """Return the text of what says how a source is compiled; none of the modules is imported for that."""
    import ebpf_codegen
    import ebpf_runtime

    texts = (
        package_file(package, name) for package in (ebpf_codegen, ebpf_runtime) for name in _RULES[package.__name__]
    )
    return b"\0".join(text or b"" for text in texts)
