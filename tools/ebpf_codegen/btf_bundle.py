# SPDX-License-Identifier: Apache-2.0
"""Full BTF files of many kernels in, minimal ones out: as files, or as the one bundle that a package carries."""

from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from . import btf, elf
from .errors import CodegenError
from .files import write_file
from .min_btf import minimal_btf

__all__ = ["FullBtf", "cut", "find", "write_bundle", "write_files"]

# Plain, or packed as in BTFHub's archive.
_SUFFIXES: Final = (".btf.tar.xz", ".btf.xz", ".btf")
_MAX_BYTES: Final = 256 << 20


@dataclass(frozen=True, slots=True)
class FullBtf:
    """One kernel's BTF: the file, and what it is called below the output, `debian/12/x86_64/6.1.0-1-amd64.btf`."""

    path: Path
    name: str

    def read(self) -> bytes:
        """Return its bytes, unpacked.

        Raises:
            CodegenError: It cannot be read, or is too large for a kernel's BTF.
        """
        try:
            if self.path.name.endswith(".tar.xz"):
                with tarfile.open(self.path) as archive:
                    member = next((item for item in archive if item.isfile()), None)
                    if member is None or (file := archive.extractfile(member)) is None:
                        raise CodegenError(f"read {self.path}: the archive holds no file.")
                    data = file.read(_MAX_BYTES + 1)
            elif self.path.name.endswith(".xz"):
                with lzma.open(self.path) as packed:
                    data = packed.read(_MAX_BYTES + 1)
            else:
                with self.path.open("rb") as plain:
                    data = plain.read(_MAX_BYTES + 1)
        except (OSError, tarfile.TarError, lzma.LZMAError, EOFError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise CodegenError(f"read {self.path}: {reason}.") from None
        if len(data) > _MAX_BYTES:
            raise CodegenError(f"read {self.path}: it is too large for a kernel's BTF.")
        return data


def find(paths: Iterable[Path]) -> list[FullBtf]:
    """Return the BTF files among *paths*, those in folders by their names below these, in order of name.

    Raises:
        CodegenError: A path is neither file nor folder, a folder holds no BTF file, or two files have one name.
    """
    found: dict[str, FullBtf] = {}
    for path in paths:
        if not path.exists():
            raise CodegenError(f"read {path}: it is not there.")
        if not path.is_dir() and not path.is_file():
            raise CodegenError(f"read {path}: it is neither a file nor a folder.")
        files = list(_below(path)) if path.is_dir() else [FullBtf(path, f"{_stem(path.name)}.btf")]
        if not files:
            raise CodegenError(f"read {path}: it holds no file whose name ends in {', '.join(_SUFFIXES)}.")
        for item in files:
            other = found.setdefault(item.name, item)
            if other is not item:
                raise CodegenError(f"cut {item.path} and {other.path}: both are called {item.name}. Leave one out.")
    return [found[name] for name in sorted(found)]


def _below(folder: Path) -> Iterator[FullBtf]:
    for path in folder.rglob("*"):
        if path.is_file() and path.name.endswith(_SUFFIXES):
            relative = path.relative_to(folder)
            yield FullBtf(path, str(relative.with_name(f"{_stem(path.name)}.btf")))


def _stem(name: str) -> str:
    suffix = next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), "")
    return name.removesuffix(suffix)


def cut(objects: Sequence[Path], full: Sequence[FullBtf]) -> Iterator[tuple[FullBtf, bytes]]:
    """Yield each kernel's minimal BTF, which serves all objects.

    Raises:
        CodegenError: A file cannot be read, or is damaged.
    """
    parsed = [elf.read(path) for path in objects]
    for item in full:
        yield item, minimal_btf(parsed, btf.index(item.read(), str(item.path)))


def write_files(folder: Path, cuts: Iterable[tuple[FullBtf, bytes]]) -> Iterator[tuple[Path, int]]:
    """Write each to a file of its own below *folder*; yield file and size in bytes."""
    for item, data in cuts:
        path = folder / item.name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, data)
        yield path, len(data)


def write_bundle(path: Path, cuts: Iterable[tuple[FullBtf, bytes]]) -> Iterator[tuple[str, int]]:
    """Write all of them as one archive, and its digest beside it, as `sha256sum` does; yield name and size in bytes.

    The archive is the same whenever and by whomever it is made.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", format=tarfile.USTAR_FORMAT, preset=9) as archive:
        for item, data in cuts:
            member = tarfile.TarInfo(item.name)
            member.size = len(data)
            member.mode = 0o644
            archive.addfile(member, io.BytesIO(data))
            yield item.name, len(data)
    write_file(path, buffer.getvalue())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    write_file(path.with_name(f"{path.name}.sha256"), f"{digest}  {path.name}\n".encode())
