# SPDX-License-Identifier: Apache-2.0
"""From one `.bpf.c` to its bindings and embedded files: what `tools/regen` and a wheel build both run."""

from __future__ import annotations

import difflib
import hashlib
import keyword
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from . import atomics, constants, elf, model, syntax
from .binding import Binding, bind, concerns
from .compiler import ARCHITECTURES, Compiler, compile_object, constants_dump, syntax_dump
from .errors import CodegenError, DriftError, UnsupportedError
from .files import write_file
from .render import Origin, render
from .source import document, flatten
from .strip import strip

__all__ = ["Built", "build_probe", "compare", "write_probe"]

SUFFIX: Final = ".bpf.c"


@dataclass(frozen=True, slots=True)
class Built:
    """One probe: its bindings, its stripped objects by architecture, its flattened source, the files it came from.

    *warnings* say what could not be told, a sentence each.
    """

    name: str
    module: str
    objects: dict[str, bytes]
    flattened: str
    dependencies: tuple[Path, ...]
    warnings: tuple[str, ...] = ()

    def embedded(self) -> dict[str, bytes]:
        """Return the files that a package carries beside the module, by name, the list of digests last."""
        files = {f"{self.name}.{architecture}.bpf.o": data for architecture, data in self.objects.items()}
        files[f"{self.name}.flat.c"] = self.flattened.encode()
        lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()]
        return {**files, f"{self.name}.sha256": "".join(lines).encode()}


def build_probe(
    source: Path,
    compiler: Compiler,
    include: Sequence[Path] = (),
    architectures: Sequence[str] = tuple(ARCHITECTURES),
    records: Mapping[str, Sequence[str]] | None = None,
    *,
    holes: bool = False,
) -> Built:
    """Compile one source for each architecture and make its bindings.

    Args:
        source: `<name>.bpf.c`; the name becomes the module's.
        compiler: From `find_compiler`.
        include: Directories of headers, searched after the source's own.
        architectures: Keys of `ARCHITECTURES`.
        records: Types of records by map or iterator program, where the source does not tell them.
        holes: Whether records may have implicit padding, as those of sources that ship nothing may.
    Raises:
        CompilerError: clang refused the source.
        UnsupportedError: The source uses C without a Python form, as global variables or members that are `_Atomic`
            are without one that all compilers agree on, or a record with implicit padding; or what macros,
            *records* and the code say of a record disagrees.
        CodegenError: A file cannot be read, or the architectures disagree about a layout.
    """
    if not source.name.endswith(SUFFIX):
        raise CodegenError(f"build {source}: the name does not end in {SUFFIX}.")
    name = source.name.removesuffix(SUFFIX)
    if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) or keyword.iskeyword(name):
        raise CodegenError(f"build {source}: {name!r} is no name for a Python module. Rename the file.")
    include = tuple(directory for directory in include if directory.is_dir())
    flattened = flatten(source, include)
    documentation = document(flattened.text)
    binding = Binding()
    writes, atomic = bool(records) or concerns(flattened.text), atomics.concerns(flattened.text)
    if writes or atomic:
        dump = syntax_dump(compiler, source, architectures[0], include)
        if atomic:
            atomics.refuse(dump, source.name)
        if writes:
            binding = bind(syntax.read(dump), records or {}, source.name)
    text = flattened.text + "".join(f"{line}\n" for line in binding.lines)
    objects: dict[str, bytes] = {}
    models: dict[str, model.ObjectModel] = {}
    dependencies = set(flattened.files)
    with tempfile.TemporaryDirectory(prefix="ebpf-codegen-") as scratch:
        main, directories = source, include
        if binding.lines:
            main, directories = Path(scratch, source.name), (source.parent.absolute(), *include)
            main.write_text(f'#include "{source.absolute()}"\n' + text[len(flattened.text) :], "utf-8")
        for architecture in architectures:
            output = Path(scratch, f"{name}.o")
            depfile = Path(scratch, f"{name}.d")
            compile_object(compiler, main, output, architecture, directories, depfile)
            dependencies.update(path for path in _dependencies(depfile) if path != Path(scratch, source.name))
            image = output.read_bytes()
            models[architecture] = model.build(elf.parse(image, source.name), name, documentation)
            objects[architecture] = strip(image)
        found = _constants(source, Path(scratch), flattened.text, compiler, architectures[0], include)
    first, *others = models.values()
    for architecture, other in zip(list(models)[1:], others, strict=True):
        if replace(other, doc=first.doc) != first:
            raise UnsupportedError(
                f"{source.name}: its types, maps or programs differ between {next(iter(models))} and {architecture}. "
                "Make the public types independent of the architecture."
            )
    if not holes:
        model.refuse_holes(first)
    classes = {enumerator for enum in first.enums for enumerator, _, _ in enum.values}
    first = replace(first, constants=tuple(item for item in found if item.name not in classes))
    digest = hashlib.sha256(text.encode()).hexdigest()
    origin = Origin(f"bpf/{source.name}", digest, f"tools/regen {name}")
    warnings = (*binding.warnings, *first.warnings)
    warnings += tuple(
        f"{source.name}: map {item.name!r}: its records stay bytes: no program of the source writes any. "
        f"Add RINGBUF_RECORD({item.name}, struct …) below it."
        for item in first.maps
        if item.type == "RINGBUF" and item.value is None and not any(f"map {item.name!r}: " in w for w in warnings)
    )
    return Built(name, render(first, origin), objects, text, tuple(sorted(dependencies)), warnings)


def _constants(
    source: Path, scratch: Path, text: str, compiler: Compiler, architecture: str, include: Sequence[Path]
) -> tuple[constants.Constant, ...]:
    """Return the constants of a source's own files; a compiler runs only where there are some."""
    found = constants.candidates(text, source.name, lambda name: not any((d / name).is_file() for d in include))
    names = [item.name for item in found if item.text is None]
    integers: dict[str, int] = {}
    if names:
        probing = scratch / "constants.c"
        probing.write_text(f'#include "{source.absolute()}"\n{constants.probing(names)}', "utf-8")
        directories = (source.parent.absolute(), *include)
        integers = constants.values(constants_dump(compiler, probing, architecture, directories), names)
    return tuple(constants.constants(found, integers))


def _dependencies(depfile: Path) -> Iterable[Path]:
    """Return the prerequisites of a make-style dependency file."""
    _, _, rest = depfile.read_text().replace("\\\n", " ").partition(": ")
    return (Path(word.replace("\0", " ")) for word in rest.replace("\\ ", "\0").split())


def compare(built: Built, directory: Path) -> None:
    """Refuse bindings in *directory* that differ from the built ones.

    Raises:
        DriftError: They differ or are missing; carries a unified diff.
    """
    path = directory / f"{built.name}.py"
    try:
        present = path.read_text("utf-8")
    except FileNotFoundError:
        present = ""
    except (OSError, UnicodeError) as error:
        raise CodegenError(f"read {path}: {getattr(error, 'strerror', None) or error}.") from error
    if present != built.module:
        diff = difflib.unified_diff(
            present.splitlines(keepends=True), built.module.splitlines(keepends=True), str(path), "generated"
        )
        raise DriftError(
            f"compare {path}: it is not what bpf/{built.name}{SUFFIX} generates. Run tools/regen {built.name}.",
            "".join(diff),
        )


def write_probe(built: Built, directory: Path, *, embedded: bool) -> list[Path]:
    """Write the module, and with *embedded* the files beside it, each whole or not at all.

    Returns:
        The paths whose content changed.
    """
    files = {f"{built.name}.py": built.module.encode(), **(built.embedded() if embedded else {})}
    return [path for name, data in files.items() if write_file(path := directory / name, data)]
