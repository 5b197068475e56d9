# SPDX-License-Identifier: Apache-2.0
"""One object in libbpf's hands: opened, configured, loaded and closed."""

from __future__ import annotations

import os
from _ctypes import byref, get_errno

from .errors import LoadError, MapError, OpenError, describe
from .handles import Handle
from .hooks import hook_of
from .libbpf import (
    c_size_t,
    c_uint32,
    captured,
    library,
    load_with_logs,
    memory_at,
    open_options,
    require,
    short_of_files,
    version,
)
from .specs import ARENA_SECTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ctypes import Array

    from .arenas import Arena
    from .config import ProbeConfig
    from .errors import EbpfError
    from .loader import Opened
    from .map_layouts import Layouts
    from .specs import MapSpec, ObjectSpec
    from .system_calls import c_char
    from .variables import Variables

__all__ = ["LibbpfObject", "initial_memory", "load_object"]

# Beside those of maps and programs: the object's BTF, an inner map, and two for a test of what the kernel has.
_FILES = 4
_VERBOSE = 1  # bpf_program log level: the full log of every program, also of accepted ones


class LibbpfObject(Handle):
    """Owns one `struct bpf_object`."""

    path = "libbpf"

    def __init__(self, spec: ObjectSpec, image: bytes, config: ProbeConfig, btf_path: str | None) -> None:
        self._library = library()
        self.arenas: dict[str, Arena] = {}
        self._maps: dict[str, int] = {}
        self._arena = next((item.c_name for item in spec.maps if item.type == "ARENA"), "")
        if any(section.section == ARENA_SECTION for section in spec.section_types):
            require("global variables in arenas", f"open object {spec.name!r}")
        options, kept = open_options(spec.name, btf_path, _VERBOSE if config.bpf_debug else 0)
        with captured() as messages:
            # Lifetime: libbpf copies the image and the strings of the options.
            self.pointer: int | None = self._library.bpf_object__open_mem(image, len(image), options)
            number = get_errno()
        del kept
        if not self.pointer:
            said = " ".join("".join(messages).split())
            raise OpenError(
                f"open object {spec.name!r}: {describe(number)}{'; ' if said else ''}{said}. Rebuild the package.",
                name=spec.name,
                errno=number,
            )
        try:
            self._complete(spec)
        except BaseException:
            self.close()
            raise

    def _complete(self, spec: ObjectSpec) -> None:
        """Give programs their type whose section is newer than this libbpf."""
        lib = self._library
        for item in spec.programs:
            pointer = self.program(item.c_name)
            hook = hook_of(item.section)
            if hook.program_type and not lib.bpf_program__type(pointer):
                lib.bpf_program__set_type(pointer, hook.program_type)
                lib.bpf_program__set_expected_attach_type(pointer, hook.attach_type)

    def map(self, name: str) -> int:
        """Return a map of the object by its name, or by its section for variables."""
        if name == ARENA_SECTION:
            name = self._arena
        pointer: int | None = self._maps.get(name) or self._library.bpf_object__find_map_by_name(
            self.pointer, name.encode()
        )
        if not pointer:
            raise OpenError(f"open map {name!r}: the object has none of this name. Run tools/regen.", name=name)
        return pointer

    def make_arena(self, item: MapSpec, variables: bytes) -> None:
        """Make an arena, whose variables have these values, and map it: programs are told its address when loaded.

        One with an address of its own (map_extra) is left to libbpf, which maps it there.

        Raises:
            MapError: The kernel has no arenas, or refused otherwise.
        """
        lib, pointer = self._library, self.map(item.c_name)
        if lib.bpf_map__map_extra(pointer):
            if variables:
                raise MapError(
                    f"map arena {item.name!r}: its variables cannot be mapped at an address of its own. "
                    "Declare it without map_extra.",
                    name=item.name,
                )
            return
        from .arenas import Arena

        flags, pages = lib.bpf_map__map_flags(pointer), lib.bpf_map__max_entries(pointer)
        arena = self.arenas[item.c_name] = Arena(item.c_name, pages, flags, variables, version())
        result = lib.bpf_map__reuse_fd(pointer, arena.fd)
        arena.close_file()  # libbpf has opened it anew
        if result:
            raise MapError(f"create arena {item.name!r}: {describe(-result)}.", name=item.name, errno=-result)

    def pin(self, item: MapSpec, path: str) -> None:
        """Take the map that is pinned at a path, or pin the new one there.

        Raises:
            MapError: What is pinned there is another map.
        """
        from .pinning import open_pinned_map

        lib, pointer = self._library, self.map(item.c_name)
        flags, extra = lib.bpf_map__map_flags(pointer), lib.bpf_map__map_extra(pointer)
        wanted = (lib.bpf_map__type(pointer), *self.map_sizes(item.c_name), flags, extra)
        fd = open_pinned_map(item.name, path, wanted, self._layouts(pointer))
        if fd < 0:
            lib.bpf_map__set_pin_path(pointer, os.fsencode(path))
            return
        self._keep_names()
        result = lib.bpf_map__reuse_fd(pointer, fd)
        os.close(fd)  # libbpf has opened it anew
        if result:
            raise MapError(
                f"reuse map {item.name!r} pinned at {path}: {describe(-result)}.", name=item.name, errno=-result
            )

    def _keep_names(self) -> None:
        """Remember the maps by their names in the object: libbpf calls one that it reuses as the kernel does."""
        lib, pointer = self._library, None
        while not self._maps or pointer:
            pointer = lib.bpf_object__next_map(self.pointer, pointer)
            if pointer:
                self._maps[lib.bpf_map__name(pointer).decode()] = pointer

    def _layouts(self, pointer: int) -> Layouts | None:
        """Return what a map's key and value are made of."""
        from .map_layouts import Layouts

        lib = self._library
        key, value = lib.bpf_map__btf_key_type_id(pointer), lib.bpf_map__btf_value_type_id(pointer)
        if not (key or value):
            return None
        size = c_uint32()
        data = lib.btf__raw_data(lib.bpf_object__btf(self.pointer), byref(size))
        return Layouts(bytes(memory_at(data, size.value)), key, value)

    def program(self, name: str) -> int:
        pointer: int | None = self._library.bpf_object__find_program_by_name(self.pointer, name.encode())
        if not pointer:
            raise OpenError(f"open program {name!r}: the object has none of this name. Run tools/regen.", name=name)
        return pointer

    def map_fd(self, name: str) -> int:
        """Return the file descriptor of a map by its name, or by its section for variables."""
        fd: int = self._library.bpf_map__fd(self.map(name))
        return fd

    def map_sizes(self, name: str) -> tuple[int, int, int]:
        """Return the bytes of a map's key and value, and its number of entries."""
        lib, pointer = self._library, self.map(name)
        return lib.bpf_map__key_size(pointer), lib.bpf_map__value_size(pointer), lib.bpf_map__max_entries(pointer)

    def program_fd(self, name: str) -> int:
        """Return the file descriptor of a program."""
        fd: int = self._library.bpf_program__fd(self.program(name))
        return fd

    def close(self) -> None:
        """Close the object and all that it loaded; a second call does nothing."""
        if self.pointer:
            pointer, self.pointer = self.pointer, None
            self._library.bpf_object__close(pointer)
            for arena in self.arenas.values():
                arena.close()


def initial_memory(opened: LibbpfObject, section: type[Variables]) -> Array[c_char]:
    """Return the memory of a section's initial value; libbpf owns it until the object closes."""
    size = c_size_t()
    pointer = library().bpf_map__initial_value(opened.map(section.section), byref(size))
    if not pointer or size.value != section._size_:
        raise OpenError(
            f"open the {section.section} variables: the object has {size.value} bytes, "
            f"the module says {section._size_}. Run tools/regen.",
            name=section.section,
        )
    return memory_at(pointer, size.value)


def load_object(opened: Opened, variant: str) -> LibbpfObject:
    """Load one variant of a probe from a fresh object, as it was configured.

    Raises:
        LoadError: The kernel or libbpf refuses it, or something is short.
        PermissionDeniedError: The process lacks a capability.
        OpenError: What was configured does not fit.
        MapError: A map cannot be made, or not be taken from where it is pinned.
    """
    spec, files = opened.spec, _files(opened.spec, variant)
    if number := short_of_files(files):
        raise LoadError(
            f"load probe {spec.name!r}: {describe(number)}; libbpf has to have {files} more.",
            name=spec.name,
            errno=number,
        )
    fresh = opened.fresh(opened.image)
    try:
        _configure(fresh, opened, variant)
        with captured() as messages:
            if opened.config.bpf_debug and fresh.pointer:
                result, log = load_with_logs(fresh.pointer)
            else:
                result, log = library().bpf_object__load(fresh.pointer), ""
        if result:
            raise _refused(opened, -result, messages)
        opened.report.log = log
        return fresh
    except BaseException:
        fresh.close()
        raise


def _files(spec: ObjectSpec, variant: str) -> int:
    """Return how many files libbpf may have open at once to load a variant."""
    programs = sum(item.loads_in(variant) for item in spec.programs)
    return _FILES + len(spec.maps) + len(spec.section_types) + programs


def _configure(fresh: LibbpfObject, opened: Opened, variant: str) -> None:
    """Do to a fresh object what was asked of the probe."""
    lib, spec = library(), opened.spec
    for item in spec.maps:
        if item.name in opened.sizes:
            result = lib.bpf_map__set_max_entries(fresh.map(item.c_name), opened.entries(item))
            if result:
                raise OpenError(f"resize map {item.name!r}: {describe(-result)}.", name=item.name)
        if item.name in opened.pins:
            fresh.pin(item, opened.pins[item.name])
        if item.type == "ARENA":
            fresh.make_arena(item, bytes(opened.initial.get(ARENA_SECTION, b"")))
    for section in spec.section_types:
        if section.section != ARENA_SECTION:
            initial_memory(fresh, section).raw = bytes(opened.initial[section.section])
    for program in spec.programs:
        pointer = fresh.program(program.c_name)
        lib.bpf_program__set_autoload(pointer, program.loads_in(variant))
        if program.name in opened.targets and program.loads_in(variant):
            fd, function = opened.targets[program.name]
            result = lib.bpf_program__set_attach_target(pointer, fd, function.encode())
            if result:
                raise OpenError(
                    f"set the target of program {program.name!r} to function {function!r}: {describe(-result)}.",
                    name=program.name,
                    errno=-result,
                )


def _refused(opened: Opened, number: int, messages: list[str]) -> EbpfError:
    """Return the error for what libbpf did not load."""
    from .variants import misjudged, not_permitted
    from .verifier import btf_step, load_error

    name = opened.spec.name
    told = misjudged(name, messages) or not_permitted(name, number, "".join(messages))
    if told is not None:
        return told
    sections = {item.c_name: item.section for item in opened.spec.programs}
    step = btf_step(opened.spec, uses_file=opened.btf is not None and opened.btf.path is not None)
    return load_error(name, number, messages, opened.image, sections, step)
