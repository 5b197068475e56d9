# SPDX-License-Identifier: Apache-2.0
"""Makes the loader programs of `light`, when a wheel is built on a machine that has libbpf.

    python -m ebpf_runtime.light_maker DIRECTORY PROBE

reads `<probe>.py` and the objects beside it and writes `<probe>.<architecture>.light` for each, and their digests.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from pathlib import Path

from .digests import sha256
from .errors import EbpfError, OpenError, describe
from .libbpf import captured, library, open_options
from .libbpf_structures import GenLoaderOptions
from .light import FORMAT, SUFFIX
from .programs import attaches_without_libbpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .specs import ObjectSpec

__all__ = ["main", "make"]

_STRUCT_OPS, _ARENA = 26, 33  # BPF_MAP_TYPE_
# Name of the section, in BTF, of the kernel's functions and variables that a program uses. A loader program takes a
# weak one for absent though the kernel has it, and says nothing.
_KERNEL_SYMBOLS = b"\0.ksyms\0"


def make(spec: ObjectSpec, image: bytes) -> bytes | None:
    """Return the file of loader programs for one object, or None if there is no variant that could use it.

    Raises:
        OpenError: libbpf cannot open the object, or cannot make a loader program of it.
    """
    if _KERNEL_SYMBOLS in image:
        return None
    maps: list[str] = []
    values: list[bytes] = []
    variants: list[str] = []
    blobs: list[bytes] = []
    for variant in spec.variants or ("",):
        programs = [program for program in spec.programs if program.loads_in(variant)]
        if not all(attaches_without_libbpf(program.section) for program in programs):
            continue
        made = _one(spec, image, variant)
        if made is None:
            return None
        maps, values, data, code, names = made
        variants.append(f"variant {variant or '-'} {len(data)} {len(code)} {' '.join(names)}".rstrip())
        blobs += [data, code]
    if not variants:
        return None
    head = [FORMAT, f"object {sha256(image)}", *maps, *variants]
    return "\n".join(head).encode() + b"\n\n" + b"".join(values) + b"".join(blobs)


def _one(spec: ObjectSpec, image: bytes, variant: str) -> tuple[list[str], list[bytes], bytes, bytes, list[str]] | None:
    """Make the loader program of one variant; None if the object has what one cannot do."""
    lib = library()
    options, kept = open_options(spec.name)
    with captured() as messages:
        pointer = lib.bpf_object__open_mem(image, len(image), options)
        del kept
        if not pointer:
            raise OpenError(f"open object {spec.name!r}: {' '.join(messages)}", name=spec.name)
        try:
            maps, values = [], []
            item = lib.bpf_object__next_map(pointer, None)
            while item:
                name = lib.bpf_map__name(item).decode()
                kind = lib.bpf_map__type(item)
                size = ctypes.c_size_t()
                initial = lib.bpf_map__initial_value(item, ctypes.byref(size))
                # .kconfig would be filled with the building machine's values, a pinned map looked for there, struct_ops
                # needs the kernel's types, and an arena has to be mapped before programs are loaded.
                if name.endswith(".kconfig") or kind in (_STRUCT_OPS, _ARENA) or lib.bpf_map__pin_path(item):
                    return None
                value = ctypes.string_at(initial, size.value) if initial else b""
                entries = lib.bpf_map__max_entries(item)
                sizes = f"{lib.bpf_map__key_size(item)} {lib.bpf_map__value_size(item)} {entries}"
                section = next((s.section for s in spec.section_types if name.endswith(s.section)), name)
                maps.append(f"map {section} {kind} {sizes} {len(value)}")
                values.append(value)
                item = lib.bpf_object__next_map(pointer, item)
            names = []
            wanted = {program.c_name: program.loads_in(variant) for program in spec.programs}
            item = lib.bpf_object__next_program(pointer, None)
            while item:
                name = lib.bpf_program__name(item).decode()
                lib.bpf_program__set_autoload(item, wanted.get(name, False))
                names += [name] * wanted.get(name, False)
                item = lib.bpf_object__next_program(pointer, item)
            blob = GenLoaderOptions(sz=ctypes.sizeof(GenLoaderOptions))
            result = lib.bpf_object__gen_loader(pointer, ctypes.byref(blob)) or lib.bpf_object__load(pointer)
            if result:
                raise OpenError(
                    f"make the loader program of {spec.name!r}, variant {variant!r}: {describe(-result)}; "
                    f"{' '.join(''.join(messages).split())}",
                    name=spec.name,
                )
            # Lifetime: the blobs are libbpf's until the object closes.
            return (
                maps,
                values,
                ctypes.string_at(blob.data, blob.data_sz),
                ctypes.string_at(blob.insns, blob.insns_sz),
                names,
            )
        finally:
            lib.bpf_object__close(pointer)


def main(arguments: list[str]) -> int:
    """Make the files of one probe; the exit status."""
    directory, name = Path(arguments[0]), arguments[1]
    location = importlib.util.spec_from_file_location(name, directory / f"{name}.py")
    if location is None or location.loader is None:
        print(f"make loader programs: there is no {directory / name}.py", file=sys.stderr)
        return 2
    module = importlib.util.module_from_spec(location)
    sys.modules[name] = module
    location.loader.exec_module(module)
    digests = []
    for path in sorted(directory.glob(f"{name}.*.bpf.o")):
        target = f"{path.name.removesuffix('.bpf.o')}.{SUFFIX}"
        try:
            blob = make(module._OBJECT, path.read_bytes())
        except EbpfError as error:
            # The object loads through libbpf all the same.
            print(f"{error} No loader program is embedded.", file=sys.stderr)
            blob = None
        (directory / target).write_bytes(blob or b"")
        if blob:
            digests.append(f"{sha256(blob)}  {target}\n")
    (directory / f"{name}.{SUFFIX}.sha256").write_text("".join(digests))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
