# SPDX-License-Identifier: Apache-2.0
"""Opening, loading, mapping, closing: what the phases of `probe` do, whatever loads the object."""

from __future__ import annotations

import os

from . import handles
from .config import LoadReport
from .errors import (
    AttachError,
    CloseError,
    EbpfError,
    LoadError,
    MapError,
    OpenError,
    PermissionDeniedError,
    VariableError,
    describe,
)
from .handles import signals_held
from .probe import Deferred
from .programs import open_program
from .specs import ARENA_SECTION, architecture

TYPE_CHECKING = False
if TYPE_CHECKING:
    import mmap

    from .btf_sources import BtfSource
    from .config import ProbeConfig
    from .libbpf_object import LibbpfObject
    from .light import Light, LightObject
    from .links import Link
    from .maps import Map
    from .programs import BaseProgram
    from .specs import MapSpec, ObjectSpec, ProgramSpec
    from .variables import Variables
    from .variants import RefusedVariant

__all__ = ["Loaded", "Opened"]

# What flows through these is bound to them, and is no value that the map keeps.
_STREAMS = ("PERF_EVENT_ARRAY", "RINGBUF", "USER_RINGBUF")
RING_BUFFERS = ("RINGBUF", "USER_RINGBUF")
CO_RE = "co_re"
COMPILED = "compiled"
_KERNEL_BTF = "/sys/kernel/btf/vmlinux"
_CO_RE_SUCCESSES = {"custom": "custom", "embedded": "embedded"}  # by the source of BTF; else "default"


class Opened:
    """The opened phase: keeps what was configured, and replays it into a fresh object for each variant."""

    def __init__(self, spec: ObjectSpec, config: ProbeConfig) -> None:
        self.spec = spec
        self.config = config
        self.variants = spec.variants
        self.sizes: dict[str, int] = {}
        self.initial: dict[str, bytearray] = {}
        self.image = b""
        self._light: Light | None = None
        self.targets: dict[str, tuple[int, str]] = {}
        self.pins: dict[str, str] = {}
        self.btf: BtfSource | None = None
        self.report = LoadReport()
        # Why the libbpf path is taken, empty while the light one is.
        self.light_refusal = ""
        self.origin = CO_RE
        self.closed = False
        try:
            if not config.enable_co_re:
                from .fallback import compile_here

                compile_here(self)
                return
            if warning := self._find_btf():
                from .rare_errors import warn_of_fallback

                warn_of_fallback(f"{warning} Looking for BTF elsewhere.")
            self._light = self._open_light()
            if self._light is not None:
                return
            try:
                self.take(spec.read(f"{architecture()}.bpf.o"))
            except OpenError as error:
                from .rare_errors import DigestError

                if isinstance(error, DigestError):
                    raise  # the package is damaged, and its source no better than its object
                from .variants import raise_transient

                raise_transient(spec.name, error)
                self.report.co_re_result = "asset_read"
                from .fallback import fall_back

                fall_back(self, error)
        except EbpfError as error:
            error.report = self.report
            raise

    def _find_btf(self) -> str:
        """Look for BTF for CO-RE, once; return what is wrong with the configured file, empty if nothing is."""
        if self.config.btf_path is None and os.path.exists(_KERNEL_BTF):  # noqa: PTH110  # no import for the usual case
            self.report.btf_source, self.report.btf_file = "kernel", _KERNEL_BTF
            return ""
        from .btf_sources import find_btf

        self.btf, warning = find_btf(self.spec, self.config.btf_path)
        self.report.btf_source, self.report.btf_file = self.btf.kind, self.btf.file
        self.report.btf_notes = self.btf.notes
        return warning

    def _open_light(self) -> Light | None:
        """Return the loader programs that came with the object, or None, and why, where libbpf is to be taken."""
        if self.btf is not None:
            self.light_refusal = "loader programs relocate against the kernel's own BTF, and another is used"
        elif self.config.bpf_debug:
            self.light_refusal = "bpf_debug is set, and loader programs keep no log"
        elif os.environ.get("EBPF_LIBBPF"):
            self.light_refusal = "EBPF_LIBBPF asks for a libbpf"
        if self.light_refusal:
            return None
        from .light import read

        light = read(self.spec, architecture())
        if light is None:
            self.light_refusal = "the package holds no loader programs for this object"
            return None
        for item in light.maps:
            if item.initial:
                self.initial.setdefault(item.name, bytearray(item.initial))
        return light

    def take(self, image: bytes) -> None:
        """Take an object; variables keep what they were set to."""
        from .libbpf_object import initial_memory

        opened = self.fresh(image)
        try:
            for section in self.spec.section_types:
                self.initial.setdefault(section.section, bytearray(initial_memory(opened, section)))
        finally:
            opened.close()
        self.image = image

    def fresh(self, image: bytes) -> LibbpfObject:
        """Open an object anew."""
        from .libbpf_object import LibbpfObject

        custom = self.btf.path if self.btf and self.origin == CO_RE else None
        return LibbpfObject(self.spec, image, self.config, custom)

    def memory(self, section: type[Variables]) -> bytearray:
        """Return the initial bytes of a section, to be changed in place."""
        return self.initial[section.section]

    def load(self) -> Loaded:
        """Load the CO-RE object, or where that fails and the configuration allows it, the one compiled on this host.

        A missing capability and the kernel's lockdown are no failure of CO-RE: compiling would not help.
        """
        try:
            if self.origin == COMPILED:
                from .fallback import load_compiled

                return load_compiled(self)
            try:
                loaded = self._load()
            except LoadError as error:
                from .fallback import fall_back, load_compiled
                from .rare_errors import VerifierError

                self.report.co_re_result = "verifier" if isinstance(error, VerifierError) else "loader"
                fall_back(self, error)
                return load_compiled(self)
            self.report.co_re_result = _CO_RE_SUCCESSES.get(self.report.btf_source, "default")
            return loaded
        except EbpfError as error:
            error.report = self.report
            raise

    def _load(self) -> Loaded:
        """Load the first variant that loads and attaches."""
        if len(self.variants) > 1:
            from .choice import load_best

            return load_best(self)
        variant = self.variants[0] if self.variants else ""
        try:
            return self.attempt(variant, ())
        except (LoadError, OpenError, PermissionDeniedError, VariableError) as error:
            from .variants import raise_refused

            raise_refused(self.spec.name, variant, error)
            raise

    def attempt(self, variant: str, refused: tuple[RefusedVariant, ...]) -> Loaded:
        """Load one variant by its loader program; where that does not work, by libbpf from now on.

        What the kernel says against the program itself libbpf tells better, with the verifier's log.
        """
        if self._light is not None:
            from .light import LightRefusedError

            try:
                return self._loaded(self._light.load(self, variant), variant, refused)
            except LightRefusedError as error:
                self.light_refusal = str(error)
            self._light = None
            self.take(self.spec.read(f"{architecture()}.bpf.o"))
        from .libbpf_object import load_object

        return self._loaded(load_object(self, variant), variant, refused)

    def _loaded(self, opened: LibbpfObject | LightObject, variant: str, refused: tuple[RefusedVariant, ...]) -> Loaded:
        try:
            return Loaded(self.spec, opened, variant, refused, self.origin, self.report, self.light_refusal)
        except BaseException:
            opened.close()
            raise

    def entries(self, item: MapSpec) -> int:
        """Return the size that a map was given; a ring buffer's is a power of two of pages."""
        entries = self.sizes[item.name]
        if item.type in RING_BUFFERS:
            entries = max(1 << (entries - 1).bit_length(), os.sysconf("SC_PAGE_SIZE"))
        return entries

    def close(self) -> None:
        self.closed = True
        if self.btf is not None:
            self.btf.close()


class Loaded:
    """The loaded phase: owns maps, programs, links and mappings of one object, and frees them in reverse order."""

    def __init__(
        self,
        spec: ObjectSpec,
        opened: LibbpfObject | LightObject,
        variant: str,
        refused: tuple[RefusedVariant, ...],
        origin: str,
        report: LoadReport,
        light_refusal: str,
    ) -> None:
        self.spec = spec
        self.report = report
        self.path = opened.path
        self.light_refusal = light_refusal
        self.origin = origin
        self.variant = variant
        self.refused = refused
        self.closed = False
        self._object = opened
        self._programs: dict[str, BaseProgram] = {}
        self._facts: dict[str, tuple[int, tuple[int, int, int]]] = {}
        self._maps = Deferred((item.name for item in spec.maps), self._make_map)
        self._mappings: list[mmap.mmap] = []
        self._structures: list[Link] = []
        try:
            for item in spec.maps:
                self._facts[item.name] = _check_map(opened, item)
            self._programs = {
                item.name: _open_program(opened, item) for item in spec.programs if item.loads_in(variant)
            }
            self.sections = tuple(self._map_section(section) for section in spec.section_types)
        except BaseException:
            self._release([])
            raise
        self.maps = spec.maps_type(self._maps)
        self.programs = spec.programs_type(dict(self._programs))
        self.links = spec.links_type(dict.fromkeys(item.name for item in spec.programs))
        handles.note(
            self,
            spec.name,
            [
                *(("map", item.c_name, self._facts[item.name][0]) for item in spec.maps),
                *(("map", item.section, self._section_fd(item)) for item in spec.section_types),
                *(("program", item.name, item.fd) for item in self._programs.values()),
            ],
        )

    def _make_map(self, name: str) -> Map:
        """Return the object that stands for a map, made when it is first asked for."""
        if self.closed:
            raise self._closed_map(name)
        from .maps import map_class

        item = next(item for item in self.spec.maps if item.name == name)
        fd, sizes = self._facts[name]
        made = map_class(item.type)(item.c_name, item.type, fd, sizes, item.key, item.value)
        made.inner = item.inner
        if arena := self._object.arenas.get(item.c_name):
            from .maps.arena import ArenaMap

            if isinstance(made, ArenaMap):
                made.take_memory(arena.memory)
        if self.closed:  # by a signal handler
            raise self._closed_map(name)
        return made

    def _closed_map(self, name: str) -> MapError:
        return MapError(f"use map {name!r}: the probe is closed.", name=name)

    def _section_fd(self, section: type[Variables]) -> int:
        return self._object.map_fd(section.section)

    def _map_section(self, section: type[Variables]) -> Variables:
        """Map a section's memory: the programs' own, read-only for `.rodata`."""
        if section.section == ARENA_SECTION:
            arena = next(iter(self._object.arenas.values()))
            placed = section(arena.memory)
            placed._base = arena.offset
            return placed
        import mmap

        constant = section.section.startswith((".rodata", ".kconfig"))
        fd = self._section_fd(section)
        length = -(-section._size_ // mmap.PAGESIZE) * mmap.PAGESIZE
        protection = mmap.PROT_READ if constant else mmap.PROT_READ | mmap.PROT_WRITE
        try:
            mapping = mmap.mmap(fd, length, mmap.MAP_SHARED, protection)
        except OSError as error:
            raise VariableError(
                f"map the {section.section} variables of {self.spec.name!r}: {describe(error.errno or 0)}.",
                name=section.section,
                errno=error.errno or 0,
            ) from error
        self._mappings.append(mapping)
        locked = (
            f"{section.section} is read-only once loaded. Set it on the opened probe, before load." if constant else ""
        )
        return section(mapping, locked)

    def try_attaching(self) -> None:
        """Attach every program that needs no argument and detach again.

        Raises:
            AttachError: A hook refuses.
        """
        try:
            for program in self._programs.values():
                if not program.needs:
                    program.attach()
        finally:
            failures = self._detach()
        self._raise(failures, "try")

    def attach_struct_ops(self, name: str) -> Link:
        """Register the structure of functions that a map holds; see `Probe.attach_struct_ops`."""
        from .libbpf_object import LibbpfObject

        item = next((item for item in self.spec.maps if item.name == name), None)
        if self.closed or item is None or item.type != "STRUCT_OPS" or not isinstance(self._object, LibbpfObject):
            reason = "the probe is closed" if self.closed else "it is no map of type STRUCT_OPS of this probe"
            raise AttachError(f"attach map {name!r}: {reason}.", name=name)
        from .libbpf import attach_by
        from .links import LibbpfLink

        with signals_held():
            pointer, number, log = attach_by("bpf_map__attach_struct_ops", self._object.map(item.c_name))
            if not pointer:
                raise AttachError(f"attach map {name!r}: {describe(number)}.", name=name, errno=number, log=log)
            link = LibbpfLink(name, pointer)
            self._structures.append(link)
            return link

    def detach(self) -> None:
        with signals_held():
            failures = self._detach()
        self._raise(failures, "detach")

    def _detach(self) -> list[Exception]:
        failures: list[Exception] = []
        while self._structures:
            try:
                self._structures.pop().detach()
            except EbpfError as error:
                failures.append(error)
        for program in reversed(self._programs.values()):
            failures += program._detach()
        return failures

    def close(self) -> None:
        with signals_held():
            if self.closed:
                return
            self.closed = True
            handles.forget(self)
            failures = self._detach()
            for section in self.sections:
                section._close()
            self._release(failures)
        self._raise(failures, "close")

    def _release(self, failures: list[Exception]) -> None:
        """Free mappings, maps and the object, whatever fails on the way."""
        closers = [mapping.close for mapping in self._mappings] + [item._close for item in self._maps.made()]
        for close in reversed(closers):
            try:
                close()
            except Exception as error:
                failures.append(error)
        for program in self._programs.values():
            program._close()
        try:
            self._object.close()
        except Exception as error:
            failures.append(error)

    def _raise(self, failures: list[Exception], action: str) -> None:
        if failures:
            raise CloseError(
                f"{action} probe {self.spec.name!r}: {'; '.join(map(_clause, failures))}.",
                name=self.spec.name,
                failures=tuple(failures),
            )


def _clause(failure: Exception) -> str:
    """Return what failed, to stand between others in one sentence."""
    if isinstance(failure, EbpfError):
        return str(failure).removesuffix(".")
    reason = describe(failure.errno) if isinstance(failure, OSError) and failure.errno else str(failure)
    return f"free what it holds: {reason}"


def _check_map(opened: LibbpfObject | LightObject, item: MapSpec) -> tuple[int, tuple[int, int, int]]:
    """Return the file descriptor and the sizes of a map, after comparing them with the module's."""
    sizes = opened.map_sizes(item.c_name)
    for what, field, size in (("key", item.key, sizes[0]), ("value", item.value, sizes[1])):
        if field is not None and size and field.size != size and item.type not in _STREAMS:
            raise OpenError(
                f"open map {item.name!r}: its {what} has {size} bytes, the module says {field.size}. Run tools/regen.",
                name=item.name,
            )
    return opened.map_fd(item.c_name), sizes


def _open_program(opened: LibbpfObject | LightObject, item: ProgramSpec) -> BaseProgram:
    return open_program(
        item.c_name, item.section, opened.program_fd(item.c_name), opened.program(item.c_name), item.row
    )
