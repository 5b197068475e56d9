# SPDX-License-Identifier: Apache-2.0
"""The light path: a loader program, made when the wheel was built, has the kernel load maps and programs.

The kernel does the relocations against its own BTF, so neither libbpf nor the kernel's BTF is read here. The loader
programs stand in `<object>.<architecture>.light` beside the object:

    ebpf-light 1                                        format
    object <SHA-256>                                    of the object they were made from
    map <name> <type> <key> <value> <entries> <initial> sizes; bytes of the initial value, 0 where there is none
    variant <data> <code> <program>...                  bytes of the blobs, programs in the loader's order
    <an empty line, the initial values of the maps, then data and code of each variant>

Kernel: 5.17 (relocations by the kernel); where it refuses, libbpf is taken.
Source: libbpf src/skel_internal.h, bpf_load_and_run(); bpf_object__gen_loader().
"""

from __future__ import annotations

import os

from . import system_calls
from .errors import EbpfError, OpenError, describe
from .handles import Handle
from .system_calls import address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .arenas import Arena
    from .loader import Opened
    from .specs import ObjectSpec

__all__ = ["SUFFIX", "Light", "LightObject", "LightRefusedError"]

SUFFIX = "light"
FORMAT = "ebpf-light 1"
_PROG_TYPE_SYSCALL = 31
_MAP_TYPE_ARRAY = 2
_PERF_EVENT_ARRAY = 4
_SLEEPABLE = 1 << 4
_CONTEXT_BYTES = 24  # struct bpf_loader_ctx
_MAP_BYTES = 16  # struct bpf_map_desc
_PROGRAM_BYTES = 4  # struct bpf_prog_desc


class LightRefusedError(EbpfError):
    """The kernel did not take the loader program, or the loader program did not get to its end."""


class _LightMap:
    """One map, as the file has it."""

    __slots__ = ("initial", "name", "sizes", "type")

    def __init__(self, name: str, kind: int, sizes: tuple[int, int, int], initial: bytes) -> None:
        self.name = name
        self.type = kind
        self.sizes = sizes
        self.initial = initial


class Light:
    """The loader programs of one object."""

    def __init__(self, name: str, image: bytes) -> None:
        head, _, body = image.partition(b"\n\n")
        lines = [line.split(" ") for line in head.decode().split("\n")]
        if " ".join(lines[0]) != FORMAT:
            raise OpenError(f"open the loader programs of {name!r}: their format is not {FORMAT!r}.", name=name)
        self.name = name
        self.object_digest = lines[1][1]
        self.maps: list[_LightMap] = []
        self._variants: dict[str, tuple[bytes, bytes, list[str]]] = {}
        start = 0
        for word, *values in lines[2:]:
            if word == "map":
                kind, key, value, entries, initial = map(int, values[1:])
                end = start + initial
                self.maps.append(_LightMap(values[0], kind, (key, value, entries), body[start:end]))
            elif word == "variant":
                middle = start + int(values[1])
                end = middle + int(values[2])
                # The empty variant is that of an object without any; its name is written as a dash.
                self._variants[values[0].strip("-")] = (body[start:middle], body[middle:end], values[3:])
            else:
                raise OpenError(f"open the loader programs of {name!r}: {word!r} is unknown.", name=name)
            start = end

    def load(self, opened: Opened, variant: str) -> LightObject:
        """Load one variant of a probe by its loader program, as it was configured.

        Raises:
            LightRefusedError: There is no loader program for that, or the kernel refused a step.
        """
        if opened.pins:
            raise LightRefusedError("a map is to be pinned, or one that is to be taken")
        if opened.targets:
            raise LightRefusedError("a program has a target, which its loader program does not know")
        if variant not in self._variants:
            raise LightRefusedError(f"variant {variant!r} has no loader program")
        sizes = {item.c_name: opened.entries(item) for item in opened.spec.maps if item.name in opened.sizes}
        return self._run(variant, sizes, opened.initial)

    def _run(self, variant: str, sizes: dict[str, int], memory: dict[str, bytearray]) -> LightObject:
        """Run the loader program of a variant.

        Args:
            sizes: Numbers of entries by map, where they differ from the object's.
            memory: Initial values by section.
        Raises:
            LightRefusedError: The kernel refused a step.
        Source: libbpf src/skel_internal.h, bpf_load_and_run().
        """
        data, code, programs = self._variants[variant]
        context = bytearray(_CONTEXT_BYTES + _MAP_BYTES * len(self.maps) + _PROGRAM_BYTES * len(programs))
        context[:4] = len(context).to_bytes(4, "little")
        kept = []
        facts: dict[str, tuple[int, int, int]] = {}
        for number, item in enumerate(self.maps):
            at = _CONTEXT_BYTES + _MAP_BYTES * number
            key, value, entries = item.sizes
            entries = sizes.get(item.name, entries)
            if item.type == _PERF_EVENT_ARRAY and not entries:
                from .cpus import possible_cpus

                entries = possible_cpus()  # libbpf would have put in those of the building machine
            facts[item.name] = (key, value, entries)
            context[at + 4 : at + 8] = entries.to_bytes(4, "little")
            if item.initial:
                # Lifetime: held in *kept* until the loader program has copied it.
                where, block = address(memory.get(item.name, bytearray(item.initial)))
                kept.append(block)
                context[at + 8 : at + 16] = where.to_bytes(8, "little")
        _run(self.name, data, code, context)
        fds = [int.from_bytes(context[at : at + 4], "little") for at in self._slots(len(programs))]
        del kept
        if not all(fds):
            for fd in filter(None, fds):
                os.close(fd)
            raise LightRefusedError(
                f"load by the loader program of {self.name!r}: {fds.count(0)} of {len(fds)} objects are missing.",
                name=self.name,
            )
        return LightObject(
            {item.name: fd for item, fd in zip(self.maps, fds, strict=False)},
            dict(zip(programs, fds[len(self.maps) :], strict=True)),
            facts,
        )

    def _slots(self, programs: int) -> list[int]:
        """Return where the loader program leaves its file descriptors: those of the maps, then of the programs."""
        end = _CONTEXT_BYTES + _MAP_BYTES * len(self.maps)
        return [
            *range(_CONTEXT_BYTES, end, _MAP_BYTES),
            *range(end, end + _PROGRAM_BYTES * programs, _PROGRAM_BYTES),
        ]


def _run(name: str, data: bytes, code: bytes, context: bytearray) -> None:
    """Load a loader program and run it on its context."""

    def checked(what: str, result: int) -> int:
        if result < 0:
            raise LightRefusedError(f"{what} of {name!r}: {describe(-result)}.", name=name, errno=-result)
        return result

    fds = []
    try:
        fds.append(
            checked(
                "create the loader map",
                system_calls.map_create(_MAP_TYPE_ARRAY, 4, len(data), 1, name=b"__loader.map"),
            )
        )
        checked("fill the loader map", system_calls.map_update(fds[0], bytes(4), data))
        fds.append(
            checked(
                "load the loader program",
                system_calls.program_load(
                    _PROG_TYPE_SYSCALL, code, name=b"__loader.prog", flags=_SLEEPABLE, map_fds=fds
                ),
            )
        )
        result, returned, _, _, _ = system_calls.program_test_run(fds[1], context=context)
        checked("run the loader program", result)
        checked("load by the loader program", returned - (1 << 32) if returned >> 31 else returned)
    finally:
        for fd in fds:
            os.close(fd)


class LightObject(Handle):
    """What a loader program has left: owns file descriptors of maps and programs."""

    path = "light"

    def __init__(self, maps: dict[str, int], programs: dict[str, int], facts: dict[str, tuple[int, int, int]]) -> None:
        self.arenas: dict[str, Arena] = {}  # none: loader programs have no arenas
        self._maps = maps
        self._programs = programs
        self._facts = facts

    def map_fd(self, name: str) -> int:
        """Return the file descriptor of a map by its name, or by its section for variables."""
        return self._maps[name]

    def map_sizes(self, name: str) -> tuple[int, int, int]:
        """Return the bytes of a map's key and value, and its number of entries."""
        return self._facts[name]

    def program_fd(self, name: str) -> int:
        """Return the file descriptor of a program."""
        return self._programs[name]

    def program(self, name: str) -> int:
        """Return libbpf's program, of which there is none."""
        return 0

    def close(self) -> None:
        """Close all file descriptors; a second call does nothing.

        Raises:
            OSError: Some could not be closed, of which this is the first; all others are.
        """
        fds = [*self._maps.values(), *self._programs.values()]
        self._maps, self._programs = {}, {}
        first: OSError | None = None
        for fd in reversed(fds):
            try:
                os.close(fd)
            except OSError as error:
                first = first or error
        if first is not None:
            raise first


def read(spec: ObjectSpec, architecture: str) -> Light | None:
    """Return the loader programs of a probe, or None if the wheel has none for the object it has.

    Raises:
        DigestError: The file is not the one that was built.
    """
    suffix, digests = f"{architecture}.{SUFFIX}", f"{SUFFIX}.sha256"
    try:
        if not spec.digest(suffix, digests=digests):
            return None
        image = spec.read(suffix, digests=digests)
    except OpenError as error:
        from .rare_errors import DigestError

        if isinstance(error, DigestError):
            raise
        return None  # the wheel was built without loader programs, or was put together without the file
    light = Light(spec.name, image)
    return light if light.object_digest == spec.digest(f"{architecture}.bpf.o") else None
