# SPDX-License-Identifier: Apache-2.0
"""Where the BTF for CO-RE comes from: the configured file, the running kernel, the bundle in the package.

The bundle, `minimal-btf.tar.xz` beside the modules of a package, holds what `ebpf-codegen min-btf` cut from full BTF
files, under `<distribution>/<version>/[<architecture>/]<kernel release>.btf`. It serves CO-RE only: programs that
attach by BTF (fentry, tp_btf, iterators) need the running kernel's own.
"""

from __future__ import annotations

import os
import re
from _ctypes import get_errno
from pathlib import Path

from .errors import OpenError, describe
from .libbpf import captured, library
from .rare_errors import BtfError, DigestError, TrustError
from .specs import architecture
from .trust import SealedCopy, read_trusted
from .variants import is_transient, raise_transient
from .vmlinux import kernel_btf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from .specs import ObjectSpec

__all__ = ["BUNDLE", "BtfSource", "Host", "configured_btf", "find_btf", "host", "select"]

BUNDLE = "minimal-btf.tar.xz"
_OS_RELEASE = ("/host/etc/os-release", "/etc/os-release", "/usr/lib/os-release")
_PLATFORMS = {
    "amzn": "amazon", "amazon": "amazon",
    "suse": "suse", "sles": "suse",
    "opensuse": "opensuse-leap", "opensuse-leap": "opensuse-leap",
    "redhat": "rhel", "rhel": "rhel",
    "oracle": "oracle", "ol": "oracle",
    "ubuntu": "ubuntu", "centos": "centos", "debian": "debian", "fedora": "fedora",
}  # fmt: skip
# Which distributions a kernel's release speaks of.
_RELEASES = (
    (r"\.amzn[12]\.", ("amazon",)),
    (r"\.el(7|8(_\d+)?)\.", ("rhel", "centos", "oracle")),
    (r"\.el[78]uek\.", ("oracle",)),
    (r"\.deb10\.", ("debian",)),
    (r"\.fc\d+\.", ("fedora",)),
    (r"-(lp15\d\.|150300\.)", ("opensuse-leap",)),
)
_VERSION_MATTERS = ("ubuntu",)  # one release, built for several versions


class Host:
    """What tells this host's kernel from others: distribution, its version, the kernel's release, the architecture."""

    __slots__ = ("architecture", "distribution", "release", "version")

    def __init__(self, distribution: str, version: str, release: str, machine: str) -> None:
        self.distribution = distribution
        self.version = version
        self.release = release
        self.architecture = machine


class BtfSource:
    """BTF for CO-RE.

    Attributes:
        kind: "custom", "kernel", "embedded", or "none".
        path: What libbpf is told to read; None: what it finds by itself.
        file: The file, or the bundle's member.
        notes: Why the sources before it did not serve, a sentence without its full stop each.
    """

    __slots__ = ("_copy", "file", "kind", "notes", "path")

    def __init__(self, kind: str, file: str = "", copy: SealedCopy | None = None, notes: tuple[str, ...] = ()) -> None:
        self.kind = kind
        self.file = file
        self.notes = notes
        self.path = copy.path if copy else None
        self._copy = copy

    def close(self) -> None:
        """Free it."""
        if self._copy is not None:
            self._copy.close()


def find_btf(spec: ObjectSpec, btf_path: str | os.PathLike[str] | None) -> tuple[BtfSource, str]:
    """Return the first source that serves, and what is wrong with *btf_path*, empty if nothing is.

    What is embedded or configured is given to libbpf as a sealed copy, which is the one that was checked.

    Raises:
        DigestError: The bundle is not the one that was built: the package is damaged.
    """
    notes: list[str] = []
    warning = ""
    if btf_path is not None:
        file = os.fspath(btf_path)
        try:
            return BtfSource("custom", file, configured_btf(file)[1]), ""
        except (TrustError, BtfError) as error:
            raise_transient(spec.name, error)
            warning = str(error)
            notes.append(warning.removesuffix("."))
    found = kernel_btf(notes)
    if found:
        return BtfSource("kernel", found, notes=tuple(notes)), warning
    try:
        member, data, remark = _embedded(spec, host())
        if remark:
            notes.append(remark)
        return BtfSource("embedded", member, _checked(member, data), tuple(notes)), warning
    except DigestError:
        raise
    except OpenError:
        notes.append("this package embeds none")
    except (TrustError, BtfError) as error:
        raise_transient(spec.name, error)
        notes.append(str(error).removesuffix("."))
    return BtfSource("none", notes=tuple(notes)), warning


def configured_btf(file: str) -> tuple[bytes, SealedCopy]:
    """Return what a configured file holds, and a sealed copy that libbpf can read as BTF.

    Raises:
        TrustError: The file cannot be read, or others could have changed it.
        BtfError: libbpf finds no BTF in it.
    """
    data = read_trusted(file)
    return data, _checked(file, data)


def _checked(file: str, data: bytes) -> SealedCopy:
    """Return a sealed copy that libbpf can read as BTF.

    Raises:
        BtfError: It cannot; or something was short meanwhile, which is no fault of the file.
    """
    try:
        copy = SealedCopy("btf", data)
    except OSError as error:
        raise BtfError(f"copy {file}: {describe(error.errno or 0)}.", name=file, errno=error.errno or 0) from None
    lib = library()
    with captured():
        pointer = lib.btf__parse(copy.path.encode(), None)
        number = get_errno()
    if not pointer:
        copy.close()
        unread = BtfError(f"read {file}: {describe(number)}.", name=file, errno=number)
        if is_transient(unread):
            raise unread
        raise BtfError(
            f"read {file}: libbpf finds no intact BTF in it. Copy /sys/kernel/btf/vmlinux of the same kernel.",
            name=file,
        )
    lib.btf__free(pointer)
    return copy


def host() -> Host:
    """Return what this host is, by os-release and uname; `/host/etc/os-release` is looked at first, for containers."""
    fields: dict[str, str] = {}
    for path in _OS_RELEASE:
        try:
            lines = Path(path).read_text("utf-8", "replace").splitlines()
        except OSError:
            continue
        pairs = (line.partition("=") for line in lines if "=" in line)
        fields = {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}
        break
    name = fields.get("ID", "")
    return Host(_PLATFORMS.get(name, name), fields.get("VERSION_ID", ""), os.uname().release, architecture())


def _embedded(spec: ObjectSpec, here: Host) -> tuple[str, bytes, str]:
    """Return the member of the package's bundle for this kernel, its bytes, and a remark.

    Raises:
        OpenError: There is no bundle.
        DigestError: It is not the one that was built.
        BtfError: It has none for this kernel, or several.
    """
    import io
    import tarfile

    image = spec.read_listed(BUNDLE, f"{BUNDLE}.sha256")
    try:
        with tarfile.open(fileobj=io.BytesIO(image), mode="r:xz") as bundle:
            files = {item.name: item for item in bundle.getmembers() if item.isfile()}
            name, remark = select(files, here)
            data = bundle.extractfile(files[name])
            assert data is not None  # a regular file
            return name, data.read(), remark
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BtfError(f"read {BUNDLE}: {error}. Rebuild the package.", name=BUNDLE) from None


def select(files: Mapping[str, object], here: Host) -> tuple[str, str]:
    """Return the file for a host among those of a bundle, and a remark, empty where all was as expected.

    Raises:
        BtfError: None has this release, or several have it and none is this host's; the text names them.
    """
    found = [name for name in files if _is_for(name, here)]
    if not found:
        raise BtfError(
            f"find embedded BTF: the bundle has none for kernel {here.release} on {here.architecture}. "
            "Set system_probe_config.btf_path to the BTF of this kernel.",
            name=here.release,
        )
    own = [name for name in found if _platform(name) == here.distribution]
    expected = [name for name in own if _version(name) in (here.version, "")]
    if not expected and here.distribution not in _VERSION_MATTERS:
        expected = own  # a bundle's rhel/8 serves 8.4
    if len(expected) == 1:
        return expected[0], ""
    if len(found) == 1:
        is_other = _platform(found[0]) != here.distribution
        is_other |= here.distribution in _VERSION_MATTERS and _version(found[0]) != here.version
        system = f"{here.distribution or 'an unknown system'} {here.version}".rstrip()
        return found[0], f"the host seems to be {system}, but {found[0]} alone has its kernel" if is_other else ""
    likely = {name for pattern, names in _RELEASES if re.search(pattern, here.release) for name in names}
    narrowed = [name for name in found if _platform(name) in likely]
    if len(narrowed) == 1:
        return narrowed[0], ""
    raise BtfError(
        f"find embedded BTF: kernel {here.release} is that of {', '.join(sorted(narrowed or found))}, and the host "
        f"seems to be {here.distribution or 'none of them'} {here.version}".rstrip()
        + ". Mount the host's /etc/os-release at /host/etc/os-release, or set system_probe_config.btf_path.",
        name=here.release,
    )


def _is_for(name: str, here: Host) -> bool:
    parts = name.split("/")
    return (
        parts[-1] == f"{here.release}.btf"
        and parts[0] in _PLATFORMS
        and (len(parts) < 4 or parts[2] in (here.architecture, os.uname().machine))
    )


def _platform(name: str) -> str:
    return _PLATFORMS[name.partition("/")[0]]


def _version(name: str) -> str:
    parts = name.split("/")
    return parts[1] if len(parts) > 2 else ""
