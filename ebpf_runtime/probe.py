# SPDX-License-Identifier: Apache-2.0
"""The two phases of a probe, opened, then loaded, and its attributes `maps`, `programs` and `links`.

Generated modules derive their typed classes from these.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock

from .errors import EbpfError, LoadError, OpenError, describe, remedy
from .handles import Handle, signals_held

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from os import PathLike
    from types import TracebackType
    from typing import Any, Self, TypeVar

    from .config import LoadReport, ProbeConfig
    from .links import Link
    from .loader import Loaded
    from .programs import BaseProgram
    from .specs import ObjectSpec
    from .variants import RefusedVariant

    P = TypeVar("P", bound="Probe")

__all__ = ["Deferred", "Links", "Maps", "OpenProbe", "Probe", "Programs"]

_KERNELS = "the kernel's configuration is the kernel's, and known once the probe is loaded."


class Deferred(dict[str, "Any"]):
    """A dictionary whose values are made when they are first asked for, and not imported before."""

    def __init__(self, names: Iterable[str], make: Callable[[str], Any]) -> None:
        super().__init__(dict.fromkeys(names))
        self._make = make
        self._made: dict[str, Any] = {}
        self._making = RLock()

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if value is None:
            with self._making:
                # Making imports, and other threads, or a signal handler, may ask meanwhile; the first one made is kept.
                value = self[name] = self._made.setdefault(name, self._make(name))
        return value

    def all(self) -> Iterator[tuple[str, Any]]:
        """Make all and yield them by name."""
        return ((name, self[name]) for name in self)

    def made(self) -> list[Any]:
        """Return what was asked for so far, in order; what is being made at the moment, too."""
        with self._making:
            return [value for value in self.values() if value is not None]


class _Namespace(Handle):
    """Objects as attributes; iterating gives (name, object)."""

    def __init__(self, items: dict[str, Any]) -> None:
        self._items = items

    if not TYPE_CHECKING:  # type checkers know the attributes from the generated class, and no others

        def __getattr__(self, name):
            items = self.__dict__.get("_items", {})
            if name not in items:
                raise AttributeError(f"{type(self).__name__} has no {name!r}; it has {', '.join(items)}")
            return items[name]

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self._items.items())

    def __len__(self) -> int:
        return len(self._items)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._items]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(self._items)}>"


class Maps(_Namespace):
    """The maps of a loaded probe."""

    _items: Deferred

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return self._items.all()


class Programs(_Namespace):
    """The programs of a loaded probe that its variant has."""


class Links(_Namespace):
    """The attachments of a probe; None for programs that are not attached, or were detached since."""

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            link = super().__getattr__(name)
            return link if link is not None and link.attached else None

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return ((name, getattr(self, name)) for name in self._items)


def _not_read(name: str, error: OSError) -> LoadError:
    """Return the error for a file that could not be read on the way, such as a module that was to be imported."""
    number = error.errno or 0
    text = f"load probe {name!r}: open {error.filename}: {describe(number)}. {remedy(number)}"
    return LoadError(text.rstrip(), name=name, errno=number)


class OpenProbe(Handle):
    """An opened object: no file descriptors yet, everything can still be configured. `load` ends this phase."""

    def __init__(self, spec: ObjectSpec, config: ProbeConfig | None) -> None:
        try:
            from .config import ProbeConfig
            from .loader import Opened

            with signals_held():
                self._opened = Opened(spec, config or ProbeConfig())
        except OSError as error:
            raise _not_read(spec.name, error) from error
        for section in spec.section_types:
            locked = _KERNELS if section.section == ".kconfig" else ""
            setattr(self, section.attribute, section(self._opened.memory(section), locked))
        for metadata in spec.metadata_types:
            setattr(self, metadata.attribute, metadata())

    @property
    def name(self) -> str:
        """The object's name."""
        return self._opened.spec.name

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants `load` will try, best first."""
        return self._opened.variants

    def select_variant(self, variant: str) -> None:
        """Let `load` try this variant alone.

        Raises:
            OpenError: There is no such variant, and the text lists those there are; or the probe was loaded before.
        """
        from .preparation import select

        select(self._opened, variant)

    def resize(self, map_name: str, max_entries: int) -> None:
        """Set the number of entries of a map; bytes for a ring buffer, rounded up to a power of two of pages.

        Raises:
            OpenError: There is no such map, or the size is not allowed.
        """
        from .preparation import resize

        resize(self._opened, map_name, max_entries)

    def pin_map(self, map_name: str, path: str | PathLike[str]) -> None:
        """Have `load` take the map that is pinned at a path, or pin the new one there if there is none.

        What is pinned there must have the type, the sizes and the flags of this map, and by its BTF the same fields in
        keys and values; `load` raises MapError if it has not, and names what differs. Its name may be another. A map
        that was made without BTF is compared without its fields, which a FallbackWarning says.

        Args:
            path: Of a BPF file system, such as /sys/fs/bpf/name.
        Raises:
            OpenError: There is no such map, or the probe was loaded before.
        Source: libbpf bpf_map__set_pin_path(), bpf_map__reuse_fd().
        """
        from .preparation import pin_map

        pin_map(self._opened, map_name, os.fsdecode(path))

    def set_target(self, program_name: str, target: BaseProgram | int, function: str) -> None:
        """Let a program of section fentry, fexit or freplace hang on a function of another BPF program.

        Args:
            target: The other program, or its file descriptor.
            function: The function in it.
        Raises:
            OpenError: There is no program *program_name*, the target is closed, or the probe was loaded before; of
                `load`: the target has no such function.
        Kernel: 5.6.
        Source: libbpf bpf_program__set_attach_target().
        """
        from .preparation import set_target

        set_target(self._opened, program_name, target if isinstance(target, int) else target.fd, function)

    def close(self) -> None:
        """Free the object without loading it; after `load` this does nothing."""
        for section in self._opened.spec.section_types:
            getattr(self, section.attribute)._close()
        self._opened.close()

    def _load(self, cls: type[P]) -> P:
        if self._opened.closed:
            raise OpenError(
                f"load probe {self.name!r}: it is closed, or was loaded before. Open it again.", name=self.name
            )
        try:
            with signals_held():
                loaded = cls(self._opened.load())
                self.close()
                return loaded
        except OSError as error:
            raise _not_read(self.name, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Probe(Handle):
    """A loaded object: its maps and programs are in the kernel until `close`.

    Made by `open_and_load()` or `open().load()`, not by calling the class.
    """

    # Of each probe's own classes; Any, because a subclass may not narrow an attribute that can be assigned to.
    maps: Any
    programs: Any
    links: Any

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self.maps = loaded.maps
        self.programs = loaded.programs
        self.links = loaded.links
        for section in loaded.sections:
            setattr(self, section.attribute, section)
        for metadata in loaded.spec.metadata_types:
            setattr(self, metadata.attribute, metadata())

    @property
    def name(self) -> str:
        """The object's name."""
        return self._loaded.spec.name

    @property
    def variant(self) -> str:
        """The variant in use; empty for an object without variants."""
        return self._loaded.variant

    @property
    def origin(self) -> str:
        """Where the object came from: `co_re`, as the package carries it, or `compiled` on this host."""
        return self._loaded.origin

    @property
    def refused(self) -> tuple[RefusedVariant, ...]:
        """The better variants and why they are not in use."""
        return self._loaded.refused

    @property
    def path(self) -> str:
        """What loaded it: `light`, a loader program made with the package, or `libbpf`."""
        return self._loaded.path

    @property
    def light_refusal(self) -> str:
        """Why libbpf loaded it and not its loader program; empty if that did."""
        return self._loaded.light_refusal

    @property
    def unattached(self) -> dict[str, str]:
        """The programs that `attach` leaves out, by name, and the arguments they need to be attached one by one."""
        return {name: program.needs for name, program in self.programs if program.needs}

    @property
    def report(self) -> LoadReport:
        """What was tried to load it: where BTF came from, and what became of kernel headers and the compiler."""
        return self._loaded.report

    def attach(self) -> Self:
        """Attach every program that needs no argument, all or none; `unattached` has the others.

        Returns:
            The probe itself.
        Raises:
            AttachError: A hook refused its program; what this call attached before is detached again.
            PermissionDeniedError: The process lacks a capability; the same.
        """
        made: dict[str, Link] = {}
        with signals_held():
            try:
                for name, program in self.programs:
                    if not program.needs and getattr(self.links, name) is None:
                        made[name] = program.attach()
            except BaseException:
                for link in reversed(made.values()):
                    try:
                        link.detach()
                    except EbpfError:
                        continue  # what is to be told is why not all are attached
                raise
            self.links._items.update(made)
            return self

    def attach_struct_ops(self, map_name: str) -> Link:
        """Register the structure of functions that a map of type STRUCT_OPS holds, such as a congestion control.

        Raises:
            AttachError: There is no such map, or the kernel refused, as for a name that is registered already.
        Kernel: 5.6.
        Source: libbpf bpf_map__attach_struct_ops().
        """
        return self._loaded.attach_struct_ops(map_name)

    def detach(self) -> None:
        """Unhook every program, the last attached first; maps stay.

        Raises:
            CloseError: Some refused; all others are detached.
        """
        self._loaded.detach()

    def close(self) -> None:
        """Detach and free everything, in reverse order, all of it even after a failure. A second call does nothing.

        Raises:
            CloseError: Something could not be freed; `failures` has each reason.
        """
        self._loaded.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        loaded: Any = self.__dict__.get("_loaded")
        if loaded is not None and not loaded.closed and not sys.is_finalizing():  # the kernel frees all at exit
            import warnings

            said = [f"probe {loaded.spec.name!r} was never closed"]
            try:
                loaded.close()
            except EbpfError as error:
                said.append(str(error))
            # Only now: a warning may be an error.
            for text in said:
                warnings.warn(text, ResourceWarning, source=self, stacklevel=1)

    def __repr__(self) -> str:
        state = "closed" if self._loaded.closed else "loaded"
        return f"<{type(self).__name__} {state}{f' variant={self.variant}' if self.variant else ''}>"
