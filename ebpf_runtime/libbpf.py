# SPDX-License-Identifier: Apache-2.0
"""libbpf by foreign functions: every prototype of the project stands here and nowhere else.

The library is looked for in this order: the file that `EBPF_LIBBPF` names, the `_libbpf.so` that came with the wheel,
the system's `libbpf.so.1`. The floor is libbpf 1.1 (Debian 12). A function is bound to its prototype when it is first
used: a start uses a dozen of them.

Source: libbpf 1.1 src/libbpf.h, src/bpf.h.
"""

from __future__ import annotations

import os
import sys
from _ctypes import FUNCFLAG_CDECL, CFuncPtr, Structure, byref, dlopen, dlsym, get_errno
from _thread import allocate_lock, get_ident

from .errors import LibraryNotFoundError
from .system_calls import Function, c_char

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from ctypes import Array, c_bool, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
    from typing import Any

    _Prototypes = Mapping[str, tuple[type | None, tuple[type, ...]]]
else:
    # As in `ctypes`, which makes a hundred classes when it is imported: that takes a twentieth of a start.
    from _ctypes import _SimpleCData

    class c_bool(_SimpleCData):
        _type_ = "?"

    class c_char_p(_SimpleCData):
        _type_ = "z"

    class c_int(_SimpleCData):
        _type_ = "i"

    class c_uint32(_SimpleCData):
        _type_ = "I"

    class c_uint64(_SimpleCData):
        _type_ = "L"

    class c_void_p(_SimpleCData):
        _type_ = "P"

    c_size_t = c_uint64


__all__ = [
    "Library",
    "OpenOptions",
    "attach_by",
    "c_size_t",
    "captured",
    "library",
    "load_walker",
    "memory_at",
    "origin",
    "undeclared",
    "version",
    "walker",
]

_WARN = 0
_FLOOR = (1, 1)


class _PrintCallback(CFuncPtr):
    """libbpf_print_fn_t: level, template and the va_list, which travels as a pointer on x86_64 and arm64."""

    _flags_ = FUNCFLAG_CDECL
    _restype_ = c_int
    _argtypes_ = (c_int, c_char_p, c_void_p)


class OpenOptions(Structure):
    """struct bpf_object_open_opts of libbpf 1.1; *sz* tells newer libraries how much of it is here."""

    _fields_ = (
        ("sz", c_size_t),
        ("object_name", c_char_p),
        ("relaxed_maps", c_bool),
        ("pin_root_path", c_char_p),
        ("reserved", c_uint32),
        ("kconfig", c_char_p),
        ("btf_custom_path", c_char_p),
        ("kernel_log_buf", c_void_p),
        ("kernel_log_size", c_size_t),
        ("kernel_log_level", c_uint32),
    )


_BATCH = (c_int, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p)
# name: (result, arguments)
_PROTOTYPES: _Prototypes = {
    "libbpf_major_version": (c_uint32, ()),
    "libbpf_minor_version": (c_uint32, ()),
    "libbpf_set_print": (c_void_p, (_PrintCallback,)),
    "libbpf_num_possible_cpus": (c_int, ()),
    "bpf_object__open_mem": (c_void_p, (c_char_p, c_size_t, c_void_p)),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_object__find_map_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_object__find_program_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_object__gen_loader": (c_int, (c_void_p, c_void_p)),
    "bpf_object__next_map": (c_void_p, (c_void_p, c_void_p)),
    "bpf_object__next_program": (c_void_p, (c_void_p, c_void_p)),
    "bpf_map__attach_struct_ops": (c_void_p, (c_void_p,)),
    "bpf_map__pin_path": (c_char_p, (c_void_p,)),
    "bpf_map__set_pin_path": (c_int, (c_void_p, c_char_p)),
    "bpf_map__name": (c_char_p, (c_void_p,)),
    "bpf_map__type": (c_int, (c_void_p,)),
    "bpf_map__fd": (c_int, (c_void_p,)),
    "bpf_map__max_entries": (c_uint32, (c_void_p,)),
    "bpf_map__key_size": (c_uint32, (c_void_p,)),
    "bpf_map__value_size": (c_uint32, (c_void_p,)),
    "bpf_map__map_extra": (c_uint64, (c_void_p,)),
    "bpf_map__map_flags": (c_uint32, (c_void_p,)),
    "bpf_map__reuse_fd": (c_int, (c_void_p, c_int)),
    "bpf_map__set_max_entries": (c_int, (c_void_p, c_uint32)),
    "bpf_map__initial_value": (c_void_p, (c_void_p, c_void_p)),
    "bpf_program__fd": (c_int, (c_void_p,)),
    "bpf_program__name": (c_char_p, (c_void_p,)),
    "bpf_program__set_autoload": (c_int, (c_void_p, c_bool)),
    "bpf_program__set_log_level": (c_int, (c_void_p, c_uint32)),
    "bpf_program__attach_ksyscall": (c_void_p, (c_void_p, c_char_p, c_void_p)),
    "bpf_program__attach_uprobe_opts": (c_void_p, (c_void_p, c_int, c_char_p, c_size_t, c_void_p)),
    "bpf_program__attach_usdt": (c_void_p, (c_void_p, c_int, c_char_p, c_char_p, c_char_p, c_void_p)),
    "bpf_program__set_attach_target": (c_int, (c_void_p, c_int, c_char_p)),
    "bpf_program__set_expected_attach_type": (c_int, (c_void_p, c_int)),
    "bpf_program__set_flags": (c_int, (c_void_p, c_uint32)),
    "bpf_program__set_type": (c_int, (c_void_p, c_int)),
    "bpf_program__type": (c_int, (c_void_p,)),
    "bpf_program__attach": (c_void_p, (c_void_p,)),
    "btf__parse": (c_void_p, (c_char_p, c_void_p)),
    "btf__free": (None, (c_void_p,)),
    "bpf_iter_create": (c_int, (c_int,)),
    "bpf_enable_stats": (c_int, (c_int,)),
    "bpf_map_get_fd_by_id": (c_int, (c_uint32,)),
    "bpf_prog_get_fd_by_id": (c_int, (c_uint32,)),
    "bpf_obj_get": (c_int, (c_char_p,)),
    "bpf_obj_get_info_by_fd": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_link__disconnect": (None, (c_void_p,)),
    "bpf_link__fd": (c_int, (c_void_p,)),
    "bpf_link__destroy": (c_int, (c_void_p,)),
    "bpf_map_lookup_elem": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_lookup_and_delete_elem": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_update_elem": (c_int, (c_int, c_void_p, c_void_p, c_uint64)),
    "bpf_map_delete_elem": (c_int, (c_int, c_void_p)),
    "bpf_map_get_next_key": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_lookup_batch": (c_int, _BATCH),
    "bpf_map_lookup_and_delete_batch": (c_int, _BATCH),
    "bpf_map_update_batch": (c_int, (c_int, c_void_p, c_void_p, c_void_p, c_void_p)),
    "bpf_map_create": (c_int, (c_int, c_char_p, c_uint32, c_uint32, c_uint32, c_void_p)),
    "bpf_btf_load": (c_int, (c_char_p, c_size_t, c_void_p)),
    "bpf_prog_load": (c_int, (c_int, c_char_p, c_char_p, c_char_p, c_size_t, c_void_p)),
    "bpf_prog_test_run_opts": (c_int, (c_int, c_void_p)),
    "libbpf_find_vmlinux_btf_id": (c_int, (c_char_p, c_int)),
    "ring_buffer__new": (c_void_p, (c_int, c_void_p, c_void_p, c_void_p)),
    "ring_buffer__consume": (c_int, (c_void_p,)),
    "ring_buffer__free": (None, (c_void_p,)),
    "perf_buffer__new": (
        c_void_p,
        (c_int, c_size_t, c_void_p, c_void_p, c_void_p, c_void_p),
    ),
    "perf_buffer__consume": (c_int, (c_void_p,)),
    "perf_buffer__epoll_fd": (c_int, (c_void_p,)),
    "perf_buffer__free": (None, (c_void_p,)),
    "user_ring_buffer__new": (c_void_p, (c_int, c_void_p)),
    "user_ring_buffer__reserve": (c_void_p, (c_void_p, c_uint32)),
    "user_ring_buffer__reserve_blocking": (c_void_p, (c_void_p, c_uint32, c_int)),
    "user_ring_buffer__submit": (None, (c_void_p, c_void_p)),
    "user_ring_buffer__discard": (None, (c_void_p, c_void_p)),
    "user_ring_buffer__free": (None, (c_void_p,)),
}
# The functions of _walker.c, a library of its own beside the bundled libbpf.
_WALKER_PROTOTYPES: _Prototypes = {
    "ebpf_walker_load": (c_uint64, (c_void_p,)),
    "ebpf_walker_store": (None, (c_void_p, c_uint64)),
    "ebpf_walker_ring": (None, (c_void_p, c_uint64, c_void_p, c_void_p)),
    "ebpf_walker_perf": (None, (c_void_p, c_uint64, c_void_p, c_void_p)),
}
# Of the C library.
_LIBC_PROTOTYPES: _Prototypes = {
    "free": (None, (c_void_p,)),
    "vasprintf": (c_int, (c_void_p, c_char_p, c_void_p)),
}

# What came after the floor, and libbpf alone can do: the version that can.
_SINCE = {
    "global variables in arenas": (1, 4),
}


class Library:
    """A shared library, its functions as attributes: each is bound to its prototype when it is first used.

    Threads that use one for the first time at once bind it twice, to the same end.
    """

    def __init__(self, name: str | None, prototypes: _Prototypes, function: type[CFuncPtr] = Function) -> None:
        """Load the library; *function* is what its functions become.

        Raises:
            OSError: It cannot be loaded.
        """
        path: Any = name  # dlopen(3) takes none for the process itself
        self._name = name
        self._handle = dlopen(path, 0)
        self._prototypes = prototypes
        self._function = function

    def __getattr__(self, name: str) -> Any:
        if name not in self._prototypes:
            raise AttributeError(f"{self._name}: no prototype of {name!r} is known")
        function = self._function(dlsym(self._handle, name))
        function.restype, function.argtypes = self._prototypes[name]
        setattr(self, name, function)
        return function


_loaded: Library | None = None
_origin = ("", "")
_lock = allocate_lock()
_sinks: dict[int, list[str]] = {}  # by thread


def library() -> Library:
    """Return libbpf, loaded on first use.

    Raises:
        LibraryNotFoundError: There is none, or it is older than the floor.
    """
    global _loaded
    with _lock:
        if _loaded is None:
            _loaded = _load()
        return _loaded


def origin() -> tuple[str, str]:
    """Return what chose the loaded library, "EBPF_LIBBPF", "bundled" or "system", and the name it was loaded by."""
    return _origin


def version() -> tuple[int, int]:
    """Return the version of libbpf."""
    lib = library()
    return lib.libbpf_major_version(), lib.libbpf_minor_version()


def undeclared(name: str) -> Any:
    """Return a function of libbpf for who calls it millions of times.

    Arguments go to it as they are, unconverted and unchecked, and errno is not kept: only for functions that return
    the error, with what `ctypes.byref` made.
    """
    from .libbpf_structures import PlainFunction

    return PlainFunction(dlsym(library()._handle, name))


def _candidates() -> list[tuple[str, str]]:
    chosen = os.environ.get("EBPF_LIBBPF")
    if chosen:
        return [("EBPF_LIBBPF", chosen)]
    return [*(("bundled", path) for path in _bundled("_libbpf.so")), ("system", "libbpf.so.1")]


def _bundled(name: str) -> list[str]:
    """Return where a library that came with the wheel is; nothing in the wheel for every platform."""
    # An editable install has two folders: the checkout's, and the one that the build installed into.
    folders = sys.modules[__package__].__path__
    return [path for folder in folders if os.access(path := f"{folder}/{name}", os.R_OK)]


_walker: Library | None = None
_walker_sought = False


def walker() -> Library | None:
    """Return the compiled helper of the streams, or None where the wheel has none or it is for another machine."""
    global _walker, _walker_sought
    with _lock:
        if not _walker_sought:
            _walker_sought = True
            _walker = _find_walker()
        return _walker


def _find_walker() -> Library | None:
    for name in _bundled("_walker.so"):
        try:
            return load_walker(name)
        except OSError:
            continue
    return None


def load_walker(path: str) -> Library:
    """Return the compiled helper in a file.

    Raises:
        OSError: It cannot be loaded.
    """
    from .libbpf_structures import PlainFunction

    return Library(path, _WALKER_PROTOTYPES, PlainFunction)


def _load() -> Library:
    global _origin
    reasons = []
    for chooser, name in _candidates():
        try:
            found = Library(name, _PROTOTYPES)
        except OSError as error:
            reasons.append(str(error))
            continue
        try:
            number = (found.libbpf_major_version(), found.libbpf_minor_version())
        except OSError as error:
            reasons.append(f"{name}: {error}")
            continue
        if number < _FLOOR:
            reasons.append(f"{name}: version {number[0]}.{number[1]} is older than {_FLOOR[0]}.{_FLOOR[1]}")
            continue
        found.libbpf_set_print(_print)
        _origin = (chooser, name)
        return found
    raise LibraryNotFoundError(
        f"load libbpf: {'; '.join(reasons)}. "
        "Install libbpf (apt install libbpf1, dnf install libbpf) or set EBPF_LIBBPF to its path.",
        name="libbpf",
    )


class captured:
    """Collect what libbpf warns of in this thread, one entry a message, verifier logs included.

    Signals should be held meanwhile: what is raised while a message is noted cannot pass through libbpf.
    """

    __slots__ = ("_before", "messages")

    def __init__(self) -> None:
        self.messages: list[str] = []

    def __enter__(self) -> list[str]:
        self._before = _sinks.get(get_ident())
        _sinks[get_ident()] = self.messages
        return self.messages

    def __exit__(self, *_error: object) -> None:
        if self._before is None:
            del _sinks[get_ident()]
        else:
            _sinks[get_ident()] = self._before


def attach_by(function: str, program: int, *arguments: object) -> tuple[int, int, str]:
    """Attach a program by one of libbpf's functions.

    Returns:
        The bpf_link, 0 where it refused; the error number; and what libbpf said.
    """
    call = getattr(library(), function)
    with captured() as messages:
        pointer = call(program, *arguments)
        number = get_errno()
    return pointer or 0, 0 if pointer else number, "".join(messages)


def require(feature: str, action: str) -> None:
    """See that this libbpf has a feature that came after the floor.

    Raises:
        LibraryNotFoundError: It has not; the text names the version that has.
    """
    since, found = _SINCE[feature], version()
    if found < since:
        raise LibraryNotFoundError(
            f"{action}: libbpf {found[0]}.{found[1]} has no {feature}, libbpf {since[0]}.{since[1]} has. "
            "Install a newer libbpf, or set EBPF_LIBBPF to the path of one.",
            name="libbpf",
            feature=feature,
        )


def memory_at(pointer: int, size: int) -> Array[c_char]:
    """Return the bytes at an address, to be read and written as `raw`; whoever owns them keeps them meanwhile."""
    return (c_char * size).from_address(pointer)


_libc = Library(None, _LIBC_PROTOTYPES)


def _on_print(level: int, template: bytes, arguments: int) -> int:
    """Keep a warning of libbpf, formatted, where this thread collects them."""
    if level != _WARN or (sink := _sinks.get(get_ident())) is None:
        return 0
    text = c_void_p()
    length = _libc.vasprintf(byref(text), template, arguments)
    if length >= 0 and text.value:
        sink.append(memory_at(text.value, length).raw.decode("utf-8", "replace").removeprefix("libbpf: "))
        _libc.free(text)
    return 0


# Lifetime: libbpf keeps the pointer for the life of the process, so does this module.
_print = _PrintCallback(_on_print)
