# SPDX-License-Identifier: Apache-2.0
"""Opening, choosing a variant, loading, mapping, closing: what the phases of `probe` do, over libbpf."""

from __future__ import annotations

import os

from . import handles
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
from .hooks import hook_of, kind_refusal
from .load_report import LoadReport
from .probe import Deferred
from .programs import open_program
from .signals import signals_held, signals_let_through
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
# Beside those of maps and programs: the object's BTF, an inner map, and two for a test of what the kernel has.
_FILES = 4
_RING_BUFFERS = ("RINGBUF", "USER_RINGBUF")
# Programs of these kinds hang on a trampoline, which takes a program only once on kernels before 5.13.
_TRAMPOLINES = ("fentry", "fexit", "fmod_ret", "freplace", "lsm")
_attaches_again: bool | None = None
CO_RE = "co_re"
_KERNEL_BTF = "/sys/kernel/btf/vmlinux"
_CO_RE_SUCCESSES = {"custom": "custom", "embedded": "embedded"}  # by the source of BTF; else "default"
COMPILED = "compiled"


class Opened:
    """The opened phase: keeps what was configured, and replays it into a fresh object for each variant."""

    def __init__(self, spec: ObjectSpec, config: ProbeConfig) -> None:
        self.spec = spec
        self.config = config
        self.variants = spec.variants
        self._sizes: dict[str, int] = {}
        self._memory: dict[str, bytearray] = {}
        self._image = b""
        self._light: Light | None = None
        self._targets: dict[str, tuple[int, str]] = {}
        self._pins: dict[str, str] = {}
        self._btf: BtfSource | None = None
        self.report = LoadReport()
        # Why the libbpf path is taken, empty while the light one is.
        self.light_refusal = ""
        self.origin = CO_RE
        self.closed = False
        try:
            if not config.enable_co_re:
                self._compile()
                return
            if warning := self._find_btf():
                import warnings

                from .rare_errors import FallbackWarning

                warnings.warn(f"{warning} Looking for BTF elsewhere.", FallbackWarning, stacklevel=4)
            self._light = self._open_light()
            if self._light is not None:
                return
            try:
                self._open(spec.read(f"{architecture()}.bpf.o"))
            except OpenError as error:
                from .rare_errors import DigestError

                if isinstance(error, DigestError):
                    raise  # the package is damaged, and its source no better than its object
                from .variants import raise_transient

                raise_transient(spec.name, error)
                self.report.co_re_result = "asset_read"
                self._fall_back(error)
        except EbpfError as error:
            error.report = self.report
            raise

    def _find_btf(self) -> str:
        """Look for BTF for CO-RE, once; return what is wrong with the configured file, empty if nothing is."""
        if self.config.btf_path is None and os.path.exists(_KERNEL_BTF):  # noqa: PTH110  # no import for the usual case
            self.report.btf_source, self.report.btf_file = "kernel", _KERNEL_BTF
            return ""
        from .btf_sources import find_btf

        self._btf, warning = find_btf(self.spec, self.config.btf_path)
        self.report.btf_source, self.report.btf_file = self._btf.kind, self._btf.file
        self.report.btf_notes = self._btf.notes
        return warning

    def _open_light(self) -> Light | None:
        """Return the loader programs that came with the object, or None, and why, where libbpf is to be taken."""
        if self._btf is not None:
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
                self._memory.setdefault(item.name, bytearray(item.initial))
        return light

    def _leave_light(self, reason: str) -> None:
        """Take libbpf from now on."""
        self._light = None
        self.light_refusal = reason
        self._open(self.spec.read(f"{architecture()}.bpf.o"))

    def _open(self, image: bytes) -> None:
        """Take an object; variables keep what they were set to."""
        from .libbpf_object import initial_memory

        opened = self._object(image)
        try:
            for section in self.spec.section_types:
                self._memory.setdefault(section.section, bytearray(initial_memory(opened, section)))
        finally:
            opened.close()
        self._image = image

    def _object(self, image: bytes) -> LibbpfObject:
        from .libbpf_object import LibbpfObject

        custom = self._btf.path if self._btf and self.origin == CO_RE else None
        return LibbpfObject(self.spec, image, self.config, custom)

    def _compile(self) -> None:
        """Take the object that is compiled on this host, now or before."""
        from .compiled_objects import compiled_image

        with signals_let_through():
            image = compiled_image(self.spec, self.config, self.report)
        self.origin = COMPILED
        self._open(image)

    def _fall_back(self, error: OpenError | LoadError) -> None:
        """Compile on this host, with one warning, because CO-RE failed.

        Raises:
            LoadError: The same, where something was short that compiling takes as well.
            CoReError: That is forbidden.
            CompileError: It failed, too.
        """
        from .variants import raise_transient

        raise_transient(self.spec.name, error)  # the compiler would want of the same
        from .rare_errors import CoReError, FallbackWarning

        reason = str(error).removeprefix(f"load probe {self.spec.name!r}: ")
        what = f"load probe {self.spec.name!r} by CO-RE: {reason}"
        if self.report.btf_source == "none":
            self.report.co_re_result = "btf_not_found"
            what += f" No BTF was found: {'; '.join(self.report.btf_notes)}."
        if not self.config.allow_runtime_compiled_fallback:
            raise CoReError(
                f"{what} Set system_probe_config.allow_runtime_compiled_fallback to true to compile it on this host.",
                name=self.spec.name,
                errno=error.errno,
                log=getattr(error, "log", ""),
            ) from error
        import warnings

        # Names the caller of open() or load(), or the line in open_and_load() of the module.
        warnings.warn(f"{what} Falling back to compiling it on this host.", FallbackWarning, stacklevel=5)
        try:
            self._compile()
        except EbpfError as failure:
            raise failure from error

    def memory(self, section: type[Variables]) -> bytearray:
        """Return the initial bytes of a section, to be changed in place."""
        return self._memory[section.section]

    def select(self, variant: str) -> None:
        if variant not in self.spec.variants:
            raise OpenError(
                f"select variant {variant!r} of {self.spec.name!r}: there is none; "
                f"there are {', '.join(self.spec.variants) or 'no variants'}.",
                name=variant,
            )
        self._check_open(f"select variant {variant!r}", "Select it", variant)
        self.variants = (variant,)

    def _check_open(self, action: str, step: str, name: str) -> None:
        """See that `load` is still to come, for what it alone takes notice of."""
        if self.closed:
            raise OpenError(f"{action}: the probe is loaded or closed. {step} before load.", name=name)

    def resize(self, name: str, max_entries: int) -> None:
        if name not in [item.name for item in self.spec.maps]:
            raise OpenError(
                f"resize map {name!r}: there is none; there are {', '.join(item.name for item in self.spec.maps)}.",
                name=name,
            )
        self._check_open(f"resize map {name!r}", "Resize it", name)
        if type(max_entries) is not int or not 0 < max_entries < 1 << 32:
            raise OpenError(f"resize map {name!r}: {max_entries!r} is not from 1 to {(1 << 32) - 1}.", name=name)
        self._sizes[name] = max_entries

    def pin_map(self, name: str, path: str) -> None:
        if name not in [item.name for item in self.spec.maps]:
            raise OpenError(
                f"pin map {name!r}: there is none; there are {', '.join(item.name for item in self.spec.maps)}.",
                name=name,
            )
        if any(item.name == name and item.type == "ARENA" for item in self.spec.maps):
            raise OpenError(
                f"pin map {name!r}: an arena has one address, that of the process which made it, and is taken from no "
                "path. Pin it once it is loaded, by its own pin().",
                name=name,
            )
        self._check_open(f"pin map {name!r}", "Name the path", name)
        if "\0" in path:
            raise OpenError(f"pin map {name!r} at {path!r}: the path has a NUL.", name=name)
        self._pins[name] = path

    def set_target(self, name: str, fd: int, function: str) -> None:
        """Have a program hang on a function of another BPF program, instead of on the kernel's."""
        if name not in [item.name for item in self.spec.programs]:
            raise OpenError(
                f"set the target of program {name!r}: there is none; "
                f"there are {', '.join(item.name for item in self.spec.programs)}.",
                name=name,
            )
        self._check_open(f"set the target of program {name!r}", "Set it", name)
        if fd < 0:
            raise OpenError(f"set the target of program {name!r}: the target is closed.", name=name)
        self._targets[name] = (fd, function)

    def load(self) -> Loaded:
        """Load the CO-RE object, or where that fails and the configuration allows it, the one compiled on this host.

        A missing capability and the kernel's lockdown are no failure of CO-RE: compiling would not help.
        """
        try:
            if self.origin == COMPILED:
                return self._load()
            try:
                loaded = self._load()
            except LoadError as error:
                from .rare_errors import VerifierError

                self.report.co_re_result = "verifier" if isinstance(error, VerifierError) else "loader"
                self._fall_back(error)
                return self._load()
            self.report.co_re_result = _CO_RE_SUCCESSES.get(self.report.btf_source, "default")
            return loaded
        except EbpfError as error:
            error.report = self.report
            raise

    def _load(self) -> Loaded:
        """Load the first variant that loads and attaches.

        Whether a hook accepts its program shows only when it attaches, so while there are other variants left each is
        attached once and detached again before it is chosen. The object is opened afresh for each try, and once more
        for a chosen variant that has spent its only attachment on the trial. What is short for a moment, such as file
        descriptors, says nothing of a variant: it is raised, as a worse one would stay for the probe's life.
        """
        refused: list[RefusedVariant] = []
        variants = self.variants or ("",)
        for number, variant in enumerate(variants):
            last = number + 1 == len(variants)
            if not last and (hopeless := self._hopeless(variant)):
                refused.append(hopeless)
                continue
            try:
                loaded = self._try(variant, tuple(refused))
            except (OpenError, VariableError) as error:
                from .variants import raise_transient

                raise_transient(self.spec.name, error, refused)
                raise
            except (LoadError, PermissionDeniedError) as error:
                from .variants import locked_down, raise_transient, refusal

                raise_transient(self.spec.name, error, refused)
                refused.append(refusal(variant, "load", error))
                if last and (denied := locked_down(self.spec.name, refused)) is not None:
                    raise denied from error
                if last and len(refused) == 1:
                    raise
                continue
            if last:
                return loaded
            try:
                loaded.try_attaching()
                if not loaded.has_trampolines() or loaded.attaches_again():
                    return loaded
            except (AttachError, PermissionDeniedError) as error:
                loaded.close()
                from .variants import raise_transient, refusal

                raise_transient(self.spec.name, error, refused)
                refused.append(refusal(variant, "attach", error))
                continue
            except BaseException:
                loaded.close()
                raise
            loaded.close()
            return self._try(variant, tuple(refused))
        from .variants import no_variant

        raise no_variant(self.spec.name, refused)

    def _hopeless(self, variant: str) -> RefusedVariant | None:
        """Return why a variant cannot work on this kernel, as far as that shows without loading it."""
        for item in self.spec.programs:
            if item.loads_in(variant):
                hook = hook_of(item.section)
                if refusal := kind_refusal(hook):
                    from .variants import RefusedVariant

                    phase, number, reason = refusal
                    action = f"{phase} program {item.c_name!r}" + (f" to {item.section}" if phase == "attach" else "")
                    return RefusedVariant(variant, phase, number, f"{action}: {reason}.")
        return None

    def _try(self, variant: str, refused: tuple[RefusedVariant, ...]) -> Loaded:
        """Load one variant, by its loader program or from a fresh object."""
        if self._light is not None:
            loaded = self._try_light(self._light, variant, refused)
            if loaded is not None:
                return loaded
        from .libbpf import captured, library, short_of_files
        from .libbpf_object import initial_memory

        files = self._files(variant)
        if number := short_of_files(files):
            raise LoadError(
                f"load probe {self.spec.name!r}: {describe(number)}; libbpf has to have {files} more.",
                name=self.spec.name,
                errno=number,
            )
        lib = library()
        opened = self._object(self._image)
        try:
            for item in self.spec.maps:
                if item.name in self._sizes:
                    pointer = opened.map(item.c_name)
                    result = lib.bpf_map__set_max_entries(pointer, self._entries(item))
                    if result:
                        raise OpenError(f"resize map {item.name!r}: {describe(-result)}.", name=item.name)
                if item.name in self._pins:
                    opened.pin(item, self._pins[item.name])
                if item.type == "ARENA":
                    opened.make_arena(item, bytes(self._memory.get(ARENA_SECTION, b"")))
            for section in self.spec.section_types:
                if section.section != ARENA_SECTION:
                    initial_memory(opened, section).raw = bytes(self._memory[section.section])
            for program in self.spec.programs:
                pointer = opened.program(program.c_name)
                lib.bpf_program__set_autoload(pointer, program.loads_in(variant))
                if program.name in self._targets and program.loads_in(variant):
                    fd, function = self._targets[program.name]
                    result = lib.bpf_program__set_attach_target(pointer, fd, function.encode())
                    if result:
                        raise OpenError(
                            f"set the target of program {program.name!r} to function {function!r}: "
                            f"{describe(-result)}.",
                            name=program.name,
                            errno=-result,
                        )
            with captured() as messages:
                result = lib.bpf_object__load(opened.pointer)
            if result:
                from .variants import misjudged, not_permitted
                from .verifier import btf_step, load_error

                if (error := misjudged(self.spec.name, messages)) is not None:
                    raise error
                if (denied := not_permitted(self.spec.name, -result, "".join(messages))) is not None:
                    raise denied
                sections = {item.c_name: item.section for item in self.spec.programs}
                step = btf_step(self.spec, uses_file=self._btf is not None and self._btf.path is not None)
                raise load_error(self.spec.name, -result, messages, self._image, sections, step)
            return Loaded(self.spec, opened, variant, refused, self.origin, self.report, self.light_refusal)
        except BaseException:
            opened.close()
            raise

    def _try_light(self, light: Light, variant: str, refused: tuple[RefusedVariant, ...]) -> Loaded | None:
        """Load one variant by its loader program; None, and libbpf from now on, where that does not work.

        What the kernel says against the program itself libbpf tells better, with the verifier's log.
        """
        from .light import LightRefusedError

        if self._pins:
            self._leave_light("a map is to be pinned, or one that is to be taken")
            return None
        if self._targets:
            self._leave_light("a program has a target, which its loader program does not know")
            return None
        if variant not in light.variants():
            self._leave_light(f"variant {variant!r} has no loader program")
            return None
        entries = {item.c_name: self._entries(item) for item in self.spec.maps if item.name in self._sizes}
        try:
            opened = light.load(variant, entries, self._memory)
        except LightRefusedError as error:
            self._leave_light(str(error))
            return None
        try:
            return Loaded(self.spec, opened, variant, refused, self.origin, self.report, self.light_refusal)
        except BaseException:
            opened.close()
            raise

    def _files(self, variant: str) -> int:
        """Return how many files libbpf may have open at once to load a variant."""
        programs = sum(item.loads_in(variant) for item in self.spec.programs)
        return _FILES + len(self.spec.maps) + len(self.spec.section_types) + programs

    def _entries(self, item: MapSpec) -> int:
        """Return the size that a map was given; a ring buffer's is a power of two of pages."""
        entries = self._sizes[item.name]
        if item.type in _RING_BUFFERS:
            entries = max(1 << (entries - 1).bit_length(), os.sysconf("SC_PAGE_SIZE"))
        return entries

    def close(self) -> None:
        self.closed = True
        if self._btf is not None:
            self._btf.close()


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
        handles.add(
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

    def attaches_again(self) -> bool:
        """Return whether programs attach once more after a trial; asked of the kernel once a process.

        Raises:
            AttachError: Something was short meanwhile, so it cannot be told.
        Kernel: trampolines take a program again since 5.13.
        """
        global _attaches_again
        if _attaches_again is None:
            try:
                self.try_attaching()
            except (AttachError, PermissionDeniedError) as error:
                from .variants import is_transient

                if is_transient(error):
                    raise
                _attaches_again = False
            else:
                _attaches_again = True
        return _attaches_again

    def has_trampolines(self) -> bool:
        return any(program.section.startswith(_TRAMPOLINES) for program in self._programs.values())

    def detach(self) -> None:
        with signals_held():
            failures = self._detach()
        self._raise(failures, "detach")

    def _detach(self) -> list[Exception]:
        failures: list[Exception] = []
        while self._structures:
            try:
                self._structures.pop().detach()
            except CloseError as error:
                failures.append(error)
        for program in reversed(self._programs.values()):
            failures += program._detach()
        links = getattr(self, "links", None)
        if links is not None:
            links._items.update(dict.fromkeys(links._items))
        return failures

    def close(self) -> None:
        with signals_held():
            if self.closed:
                return
            self.closed = True
            handles.discard(self)
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
