# SPDX-License-Identifier: Apache-2.0
"""Finding clang and compiling BPF C to CO-RE objects.

An installed clang of 16 or newer is preferred; else the clang inside the `ziglang` wheel serves. clang 14 and 15 are
refused because they truncate 64-bit enumerators in BTF.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from .errors import CompilerError, NoCompilerError
from .processes import SHORTAGES, run_compiler

__all__ = [
    "ARCHITECTURES",
    "FLAGS",
    "MINIMUM_CLANG",
    "Compiler",
    "compile_object",
    "constants_dump",
    "find_clang",
    "find_compiler",
    "likely_compiler",
    "made_by",
    "syntax_dump",
]

MINIMUM_CLANG: Final = 16
ZIGLANG: Final = "ziglang==0.15.2"
_ZIGLANG_COMMAND: Final = (sys.executable, "-m", "ziglang", "clang")

# Wheel architecture -> the name that libbpf's bpf_tracing.h knows.
ARCHITECTURES: Final = {"x86_64": "x86", "arm64": "arm64"}

FLAGS: Final = ("-target", "bpf", "-mcpu=v3", "-O2", "-g", "-std=gnu11", "-Wall", "-Werror")
_HEADER: Final = "bpf/bpf_helpers.h"
_SYSTEM_INCLUDES: Final = (Path("/usr/include"), Path("/usr/local/include"))


class Compiler(NamedTuple):
    """A clang driver: the command that runs it, its major version, 0 where unknown, and its version as it says it."""

    command: tuple[str, ...]
    major: int
    version: str = ""

    def __str__(self) -> str:
        version = f" (clang {self.major})" if self.major else ""
        return f"{' '.join(self.command)}{version}"


def find_clang() -> Compiler | None:
    """Return an installed clang of at least `MINIMUM_CLANG`, or None; `EBPF_CLANG` alone decides where set.

    Raises:
        NoCompilerError: `EBPF_CLANG` names something that is not a clang of at least `MINIMUM_CLANG`, or as
            `find_compiler`.
    """
    chosen = os.environ.get("EBPF_CLANG")
    if chosen:
        compiler = _probe((chosen,))
        if compiler is None:
            raise NoCompilerError(
                f"use EBPF_CLANG={chosen}: it does not answer like clang. Name a clang of {MINIMUM_CLANG} or newer."
            )
        if compiler.major < MINIMUM_CLANG:
            raise NoCompilerError(
                f"use EBPF_CLANG={chosen}: clang {compiler.major} is too old (it truncates 64-bit enumerators). "
                f"Name a clang of {MINIMUM_CLANG} or newer."
            )
        return compiler
    for path in _installed():
        compiler = _probe((path,))
        if compiler is not None and compiler.major >= MINIMUM_CLANG:
            return compiler
    return None


def find_compiler() -> Compiler:
    """Return the clang to build with: an installed one, else the one of the `ziglang` package.

    Raises:
        NoCompilerError: There is neither, and the text says how to get one.
        CompilerError: Something was short, so it cannot be told.
    """
    compiler = find_clang()
    if compiler is None and _has_ziglang():
        compiler = _probe(_ZIGLANG_COMMAND)
    if compiler is None:
        raise NoCompilerError(
            f"find a BPF compiler: no clang of {MINIMUM_CLANG} or newer on PATH or in /usr/lib/llvm-*. "
            f"Install one (apt install clang-16, dnf install clang) or run pip install '{ZIGLANG}', "
            "or set EBPF_CLANG."
        )
    return compiler


def likely_compiler() -> Compiler | None:
    """Return what `find_compiler` would ask first, without running it: its version is 0, and it may be unfit."""
    chosen = os.environ.get("EBPF_CLANG") or next(_installed(), None)
    if chosen:
        return Compiler((chosen,), 0)
    return Compiler(_ZIGLANG_COMMAND, 0) if _has_ziglang() else None


def made_by(compiler: Compiler, made: bytes) -> Compiler | None:
    """Return a compiler with the version that it signed an object's DWARF with; None if there is no signature."""
    match = re.search(rb"clang version ((\d+)[^\s\0]*)", made)
    return Compiler(compiler.command, int(match[2]), match[1].decode("ascii", "replace")) if match else None


def _has_ziglang() -> bool:
    import importlib.util

    return importlib.util.find_spec("ziglang") is not None


def _installed() -> Iterator[str]:
    """Yield clang commands: plain `clang` first, then the newest versioned ones."""
    plain = shutil.which("clang")
    if plain:
        yield plain
    versioned: dict[int, str] = {}
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        try:
            names = os.listdir(directory or ".")  # noqa: PTH208  # glob() would raise, too
        except OSError as error:
            _refuse_short(f"look for clang in {directory or '.'}", error)
            continue  # not there, or not ours to read
        for name in names:
            match = re.fullmatch(r"clang-(\d+)", name) if name.startswith("clang-") else None  # of thousands
            if match and os.access(command := os.path.join(directory or ".", name), os.X_OK):  # noqa: PTH118
                versioned.setdefault(int(match[1]), command)
    for path in Path("/usr/lib").glob("llvm-*/bin/clang"):
        match = re.fullmatch(r"llvm-(\d+)", path.parent.parent.name)
        if match and os.access(path, os.X_OK):
            versioned.setdefault(int(match[1]), str(path))
    for major in sorted(versioned, reverse=True):
        yield versioned[major]


def _probe(command: tuple[str, ...]) -> Compiler | None:
    """Ask a driver for its version; None if it is no clang."""
    try:
        run = subprocess.run(
            (*command, "--version"), capture_output=True, encoding="utf-8", errors="replace", timeout=60, check=False
        )
    except OSError as error:
        _refuse_short(f"run {' '.join(command)}", error)
        return None
    except subprocess.TimeoutExpired:
        return None
    match = re.search(r"clang version ((\d+)\S*)", run.stdout)
    return Compiler(command, int(match[2]), match[1]) if match and run.returncode == 0 else None


def _refuse_short(action: str, error: OSError) -> None:
    """Do nothing about an error that says something of the file; raise that of a process for which something is short.

    Raises:
        CompilerError: Files, memory or processes are short; the text says which limit to raise.
    """
    remedy = SHORTAGES.get(error.errno or 0)
    if remedy is not None:
        name = errno.errorcode[error.errno or 0]
        raise CompilerError(f"{action}: {name}, {os.strerror(error.errno or 0).lower()}. {remedy}") from error


def find_headers(include: Iterable[Path]) -> Path:
    """Return the directory that holds libbpf's `bpf/bpf_helpers.h`.

    Raises:
        CompilerError: It is in none of *include* and not in the system's include directories.
    """
    for directory in (*include, *_SYSTEM_INCLUDES):
        if (directory / _HEADER).is_file():
            return directory
    raise CompilerError(
        f"find libbpf's header {_HEADER}: it is not installed. "
        "Install libbpf's headers (apt install libbpf-dev, dnf install libbpf-devel)."
    )


def compile_object(
    compiler: Compiler,
    source: Path,
    output: Path,
    architecture: str,
    include: Iterable[Path] = (),
    depfile: Path | None = None,
    flags: Iterable[str] = (),
    prepare: Callable[[], object] | None = None,
    meanwhile: Callable[[], object] | None = None,
    pass_fds: Collection[int] = (),
) -> None:
    """Compile one BPF C file to a CO-RE object with DWARF and BTF, independent of where it is compiled.

    Args:
        source: The `.bpf.c` file.
        output: The object to write; its directory exists.
        architecture: A key of `ARCHITECTURES`.
        include: Directories searched after the source's own.
        depfile: Where to write make-style dependencies, if wanted.
        flags: Further flags.
        prepare: What makes the source while the compiler starts, which waits for it.
        meanwhile: What to do while the compiler works.
        pass_fds: Files of this process that the compiler has, too: where the source is /proc/self/fd/N, N.
    Raises:
        CompilerError: clang refused the source; carries clang's own message.
    """
    named = (str(source),) if prepare is None else ("-x", "c", "-")
    _run(
        compiler,
        source,
        architecture,
        include,
        (
            *flags,
            *(("-MD", "-MF", str(depfile), "-MT", str(output)) if depfile else ()),
            "-c",
            *named,
            "-o",
            str(output),
        ),
        prepare=prepare,
        meanwhile=meanwhile,
        pass_fds=pass_fds,
    )


def syntax_dump(compiler: Compiler, source: Path, architecture: str, include: Iterable[Path] = ()) -> str:
    """Return clang's textual dump of the syntax tree of one BPF C file, for `syntax.read`.

    Raises:
        CompilerError: As `compile_object` does.
    """
    dump = ("-fsyntax-only", "-Xclang", "-ast-dump", "-fno-color-diagnostics", str(source))
    return _run(compiler, source, architecture, include, dump)


def constants_dump(compiler: Compiler, source: Path, architecture: str, include: Iterable[Path] = ()) -> str:
    """Return clang's dump of what `constants.probing` has added to a source; what does not compile is left out."""
    only = ("-Xclang", "-ast-dump-filter=__constant_")
    dump = ("-w", "-ferror-limit=0", "-fsyntax-only", "-Xclang", "-ast-dump", *only, str(source))
    return _run(compiler, source, architecture, include, dump, refuse=False)


def _run(
    compiler: Compiler,
    source: Path,
    architecture: str,
    include: Iterable[Path],
    arguments: Iterable[str],
    *,
    refuse: bool = True,
    prepare: Callable[[], object] | None = None,
    meanwhile: Callable[[], object] | None = None,
    pass_fds: Collection[int] = (),
) -> str:
    """Run clang with the flags that all runs share; return what it prints.

    With *prepare* the arguments name standard input, whose one line includes the source once that is made.
    """
    include = tuple(include)
    headers = find_headers(include)
    directories = dict.fromkeys((source.parent, *include, headers))
    maps = [f"-ffile-prefix-map={directory}/=" for directory in directories if directory != headers]
    command = [
        *compiler.command,
        *FLAGS,
        f"-D__TARGET_ARCH_{ARCHITECTURES[architecture]}",
        *maps,
        f"-ffile-prefix-map={headers}/=libbpf/",
        "-fdebug-compilation-dir=.",
        *(f"-I{directory}" for directory in directories if directory != headers),
        f"-isystem{headers}",
        *arguments,
    ]
    action = f"compile {source}"

    def include_source() -> str:
        assert prepare is not None
        prepare()
        return f"#include <{source.name}>\n"  # a directory may hold what does not stand in quotes

    code, printed, said = run_compiler(
        command,
        " ".join(compiler.command),
        action,
        prepare=None if prepare is None else include_source,
        meanwhile=meanwhile,
        pass_fds=pass_fds,
    )
    if code and refuse:
        raise CompilerError(f"{action} for {architecture} with {compiler}: clang refused it.\n{said.strip()}", said)
    return printed
