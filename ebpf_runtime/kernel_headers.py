# SPDX-License-Identifier: Apache-2.0
"""The running kernel's headers: configured directories, the usual ones, the kernel's own archive, or a download.

    1. `kernel_header_dirs`, which excludes 2 and 3
    2. /lib/modules/R/build, /lib/modules/R/source, /usr/src/linux-headers-R, /usr/src/kernels/R, R being the release
    3. /sys/kernel/kheaders.tar.xz, for which the module kheaders is loaded and removed again
    4. what was downloaded before
    5. a download by the distribution's package manager, where `enable_kernel_header_download` allows it

What others than root and the running user could have changed is refused.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
from pathlib import Path

from .build_directory import BuildDirectory, default_directory
from .config import HEADER_RESULTS
from .digests import sha256
from .errors import EbpfError, describe
from .rare_errors import CompileError, TrustError
from .trust import read_trusted, trusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .config import ProbeConfig

__all__ = [
    "DEFAULT_DIRECTORIES",
    "HeaderError",
    "KernelHeaders",
    "find_headers",
    "header_identity",
    "host_version_code",
]

DEFAULT_DIRECTORIES = (
    "/lib/modules/{}/build",
    "/lib/modules/{}/source",
    "/usr/src/linux-headers-{}",
    "/usr/src/kernels/{}",
)
_ARCHIVE = "/sys/kernel/kheaders.tar.xz"
_VERSION_FILES = ("include/generated/uapi/linux/version.h", "include/linux/version.h")
_CONFIGURATION = "include/generated/autoconf.h"
_CRITICAL = ("include/linux/types.h", "include/linux/kconfig.h")
_MAX_MEMBERS = 1 << 17
_AT_SYSINFO_EHDR = 33
_PT_NOTE = 4
_INVALID = HEADER_RESULTS.index("validation_failure")


class HeaderError(EbpfError):
    """There are no usable kernel headers; *result* is an index into `HEADER_RESULTS`."""

    def __init__(self, reason: str, result: str) -> None:
        super().__init__(reason)
        self.result = HEADER_RESULTS.index(result)


class KernelHeaders:
    """Directories of headers that belong together, and how they were found: an index into `HEADER_RESULTS`."""

    __slots__ = ("directories", "result")

    def __init__(self, directories: tuple[Path, ...], result: str) -> None:
        self.directories = directories
        self.result = HEADER_RESULTS.index(result)


def find_headers(
    config: ProbeConfig,
    release: str | None = None,
    version_code: int | None = None,
    archive: str = _ARCHIVE,
    *,
    look_only: bool = False,
) -> KernelHeaders:
    """Return the headers of the running kernel.

    Args:
        release: The kernel's release, None: of uname.
        version_code: The kernel's LINUX_VERSION_CODE, None: of the running one.
        archive: Where the kernel keeps its own.
        look_only: Change nothing: neither unpack the archive nor download anything.
    Raises:
        HeaderError: There are none, or they are not those of this kernel, or others could have changed them.
    """
    release = release or os.uname().release
    version_code = version_code or host_version_code()
    refused: list[str] = []
    results: list[int] = []  # of the refusals that have one

    def note(where: str, error: EbpfError) -> None:
        refused.append(f"{where}: {str(error).removesuffix('.')}")
        if isinstance(error, HeaderError):
            results.append(error.result)

    if config.kernel_header_dirs:
        try:
            return KernelHeaders(_validated(config.kernel_header_dirs, version_code), "custom")
        except HeaderError as error:
            note("kernel_header_dirs", error)
            refused += filter(None, map(_absence, config.kernel_header_dirs))
    else:
        try:
            return KernelHeaders(
                _validated((path.format(release) for path in DEFAULT_DIRECTORIES), version_code), "default"
            )
        except HeaderError as error:
            note("the usual directories", error)
        unpacked = Path(default_directory("kheaders"), _build(release))
        is_unpacked = os.path.isdir(unpacked)  # noqa: PTH112  # is_dir() raises where we may not look
        if look_only and not is_unpacked and os.access(archive, os.R_OK):
            return KernelHeaders((Path(archive),), "sysfs")
        try:
            if not is_unpacked:
                if look_only:
                    raise HeaderError("it is not there", "not_found")
                _unpack_once(archive, unpacked)
            return KernelHeaders(_validated([unpacked], version_code), "sysfs")
        except EbpfError as error:
            note(archive, error)
    # Of a name that is ours, so that what is deleted was downloaded by us, whatever the configured directory is.
    downloads = _download_directory(config) / f"ebpf-runtime-{release}"
    is_mendable = False
    if os.path.isdir(downloads):  # noqa: PTH112
        try:
            return KernelHeaders(_validated(_below(downloads, release), version_code), "previously_downloaded")
        except HeaderError as error:
            note("downloaded before", error)
            is_mendable = isinstance(error.__cause__, TrustError)
    if look_only or is_mendable or not config.enable_kernel_header_download:
        step = "set system_probe_config.enable_kernel_header_download to true"
        if config.enable_kernel_header_download:
            step = f"delete {downloads}" if is_mendable else "load a probe that needs them, which downloads them"
        raise HeaderError(
            f"find the headers of kernel {release}: {'; '.join(refused)}. Install them "
            f"(apt install linux-headers-$(uname -r), dnf install kernel-devel-$(uname -r)), or {step}",
            "validation_failure" if _INVALID in results else "not_found",
        )
    import shutil

    from .header_download import download

    if os.path.isdir(downloads):  # noqa: PTH112
        shutil.rmtree(downloads, ignore_errors=True)
    try:
        directory = BuildDirectory(downloads, "kernel-headers").path
    except CompileError as error:
        raise HeaderError(str(error).removesuffix("."), "download_failure") from None
    download(directory, release)
    try:
        return KernelHeaders(_validated(_below(downloads, release), version_code), "downloaded")
    except HeaderError as error:
        raise HeaderError(f"use the downloaded headers of kernel {release}: {error}", "validation_failure") from None


def header_identity(config: ProbeConfig) -> bytes:
    """Return what tells the configured or usual headers from others that were at the same place; empty: there are none.

    What is unpacked or downloaded lies in a directory of this kernel's, and does not change.
    """
    release = os.uname().release
    found = []
    for path in config.kernel_header_dirs or [path.format(release) for path in DEFAULT_DIRECTORIES]:
        if not os.path.isdir(path):  # noqa: PTH112
            continue
        found.append(os.fsencode(os.path.realpath(path)))
        for name in (*_VERSION_FILES, _CONFIGURATION):
            try:
                found.append(read_trusted(os.path.join(path, name)))  # noqa: PTH118
            except TrustError:
                found.append(b"")  # what is not there; what must not be used is refused by find_headers
    return b"\0".join(found)


def _below(downloads: Path, release: str) -> list[Path]:
    """Return where downloaded packages have headers; the common part, and the one of openSUSE's flavour, lie apart."""
    usual = (path.format(release).lstrip("/") for path in DEFAULT_DIRECTORIES)
    apart = ("usr/src/linux-*-obj/*/*/include", "usr/src/linux-*/include")
    found = (path.parent for pattern in apart for path in sorted(downloads.glob(pattern)))
    return [*(downloads / path for path in usual), *found]


def host_version_code() -> int:
    """Return the running kernel's LINUX_VERSION_CODE, as its vDSO notes it; a distribution's release often hides it.

    Source: vdso(7), the note "Linux" of type 0; proc(5), /proc/pid/auxv.
    """
    try:
        if code := _vdso_version_code():
            return code
    except OSError:
        pass  # no /proc, or one that hides this
    numbers = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", os.uname().release)
    if numbers is None:
        raise HeaderError(f"read the kernel's version: {os.uname().release!r} is none", "host_version_error")
    return _version_code(*(int(number or 0) for number in numbers.groups()))


def _vdso_version_code() -> int:
    vector = dict(struct.iter_unpack("<QQ", Path("/proc/self/auxv").read_bytes()))
    base = vector.get(_AT_SYSINFO_EHDR, 0)
    if not base:
        return 0
    with open("/proc/self/mem", "rb", buffering=0) as memory:  # noqa: PTH123
        header = os.pread(memory.fileno(), 64, base)
        (table,) = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        for number in range(count):
            part = os.pread(memory.fileno(), 40, base + table + number * size)
            kind, _, offset, _, _, length = struct.unpack("<IIQQQQ", part)
            if kind == _PT_NOTE and (code := _linux_note(os.pread(memory.fileno(), length, base + offset))):
                return code
    return 0


def _linux_note(notes: bytes) -> int:
    position = 0
    while position + 12 <= len(notes):
        name_size, size, kind = struct.unpack_from("<III", notes, position)
        name = notes[position + 12 : position + 12 + name_size]
        start = position + 12 + -(-name_size // 4) * 4
        if kind == 0 and name == b"Linux\0" and size == 4:
            return int.from_bytes(notes[start : start + 4], "little")
        position = start + -(-size // 4) * 4
    return 0


def _version_code(major: int, minor: int, patch: int) -> int:
    return (major << 16) + (minor << 8) + min(patch, 255)


def _validated(paths: Iterable[str | os.PathLike[str]], version_code: int) -> tuple[Path, ...]:
    """Return the directories that exist, links followed, each once.

    Raises:
        HeaderError: They are of another kernel, are not complete, or others could have changed them.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if not os.path.isdir(path):  # noqa: PTH112
            continue
        try:
            directory = Path(trusted(path))
            codes = _version_codes(directory)
        except TrustError as error:
            raise HeaderError(str(error).removesuffix("."), "validation_failure") from error
        if codes and version_code not in codes:
            raise HeaderError(
                f"{directory} has LINUX_VERSION_CODE {codes[0]} ({_dotted(codes[0])}), "
                f"the running kernel {version_code} ({_dotted(version_code)})",
                "validation_failure",
            )
        found[directory] = None
    if not found:
        raise HeaderError("there are none", "not_found")
    for name in _CRITICAL:
        if not any(os.path.isfile(directory / name) for directory in found):  # noqa: PTH113
            raise HeaderError(f"{', '.join(map(str, found))} lack {name}", "validation_failure")
    return tuple(found)


def _absence(path: str | os.PathLike[str]) -> str:
    """Return why a path is not that of a directory, empty if it is."""
    try:
        return "" if stat.S_ISDIR(os.stat(path).st_mode) else f"{os.fspath(path)} is no directory"  # noqa: PTH116
    except ValueError:  # holds a null character, or half of a surrogate pair
        return f"{os.fspath(path)!r} is not a name"
    except OSError as error:
        return f"{os.fspath(path)}: {describe(error.errno or 0)}"


def _version_codes(directory: Path) -> list[int]:
    """Return the version that a directory says it is of; none where it does not say."""
    for name in _VERSION_FILES:
        path = directory / name
        if os.path.isfile(path) and (  # noqa: PTH113  # is_file() raises where we may not look
            match := re.search(rb"^#define\s+LINUX_VERSION_CODE\s+(\d+)", read_trusted(path), re.MULTILINE)
        ):
            return [int(match[1])]
    return []


def _dotted(code: int) -> str:
    return f"{code >> 16}.{code >> 8 & 255}.{code & 255}"


def _build(release: str) -> str:
    """Return a name for this very build of the kernel: flavours and rebuilds share a version, and differ in layouts."""
    return f"{release}-{sha256(os.uname().version.encode())[:16]}"


def _unpack_once(archive: str, target: Path) -> None:
    """Unpack the kernel's own archive, for which its module is loaded if need be."""
    import shutil
    import tempfile

    directory = BuildDirectory(None, "kheaders").path
    is_ours = False
    if not os.path.exists(archive) and archive == _ARCHIVE:  # noqa: PTH110
        is_ours = _modprobe("kheaders")
    try:
        if not os.path.exists(archive):  # noqa: PTH110
            raise HeaderError("it is not there (CONFIG_IKHEADERS)", "not_found")
        scratch = Path(tempfile.mkdtemp(prefix=".unpack-", dir=directory))
        try:
            unpack(Path(archive), scratch)
            scratch.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            # Another start has unpacked it meanwhile.
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise HeaderError(f"unpack it to {target}: {describe(error.errno or 0)}", "not_found") from None
    finally:
        if is_ours:
            _modprobe("-r", "kheaders")


def unpack(archive: Path, target: Path) -> None:
    """Unpack the directories and the plain files of an archive into an empty directory, and nothing outside of it.

    Raises:
        HeaderError: It is damaged, has too many members, or one that would lie outside.
    """
    import lzma
    import shutil
    import tarfile

    try:
        with tarfile.open(archive) as members:
            for number, item in enumerate(members):
                parts = Path(item.name).parts
                if item.name.startswith("/") or ".." in parts or number > _MAX_MEMBERS:
                    raise HeaderError(f"unpack {archive}: its member {item.name!r} is refused", "validation_failure")
                if item.isdir():
                    (target / item.name).mkdir(mode=0o755, parents=True, exist_ok=True)
                elif item.isfile() and (data := members.extractfile(item)) is not None:
                    path = target / item.name
                    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                    with path.open("xb") as file:
                        shutil.copyfileobj(data, file)
                    path.chmod(0o644)
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as error:
        raise HeaderError(f"unpack {archive}: {error}", "validation_failure") from None


def _modprobe(*words: str) -> bool:
    import shutil
    import subprocess

    if os.geteuid() != 0 or not (command := shutil.which("modprobe", path="/usr/sbin:/sbin:/usr/bin:/bin")):
        return False
    return subprocess.run((command, "-q", *words), capture_output=True, check=False).returncode == 0


def _download_directory(config: ProbeConfig) -> Path:
    configured = config.kernel_header_download_dir
    return Path(os.path.abspath(default_directory("kernel-headers") if configured is None else configured))  # noqa: PTH100
