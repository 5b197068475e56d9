# SPDX-License-Identifier: Apache-2.0
"""libbpf by ctypes: every foreign prototype of the project stands here and nowhere else.

The library is looked for in this order: the file that `EBPF_LIBBPF` names, the `_libbpf.so` that came with the wheel,
the system's `libbpf.so.1`. The floor is libbpf 1.1 (Debian 12).

Source: libbpf 1.1 src/libbpf.h, src/bpf.h.
"""

from __future__ import annotations

import ctypes
import os
import sys
from _thread import allocate_lock, get_ident
from ctypes import POINTER, c_bool, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p

from .errors import LibraryNotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "PERF_LOST_CALLBACK",
    "PERF_SAMPLE_CALLBACK",
    "SAMPLE_CALLBACK",
    "GenLoaderOptions",
    "MapCreateOptions",
    "OpenOptions",
    "ProgramLoadOptions",
    "SystemCallOptions",
    "TestRunOptions",
    "UprobeOptions",
    "UsdtOptions",
    "Walked",
    "attach_by",
    "captured",
    "library",
    "load_walker",
    "origin",
    "undeclared",
    "version",
    "walker",
]

SAMPLE_CALLBACK = ctypes.CFUNCTYPE(c_int, c_void_p, c_void_p, c_size_t)
PERF_SAMPLE_CALLBACK = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_void_p, c_uint32)
PERF_LOST_CALLBACK = ctypes.CFUNCTYPE(None, c_void_p, c_int, c_uint64)
_PRINT_CALLBACK = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
_WARN = 0
_FLOOR = (1, 1)


class OpenOptions(ctypes.Structure):
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


class GenLoaderOptions(ctypes.Structure):
    """struct gen_loader_opts of libbpf 1.1; the blobs are libbpf's."""

    _fields_ = (
        ("sz", c_size_t),
        ("data", c_void_p),
        ("insns", c_void_p),
        ("data_sz", c_uint32),
        ("insns_sz", c_uint32),
    )


class UprobeOptions(ctypes.Structure):
    """struct bpf_uprobe_opts of libbpf 1.1."""

    _fields_ = (
        ("sz", c_size_t),
        ("ref_ctr_offset", c_size_t),
        ("bpf_cookie", c_uint64),
        ("retprobe", c_bool),
        ("func_name", c_char_p),
    )


class SystemCallOptions(ctypes.Structure):
    """struct bpf_ksyscall_opts of libbpf 1.1."""

    _fields_ = (
        ("sz", c_size_t),
        ("bpf_cookie", c_uint64),
        ("retprobe", c_bool),
    )


class UsdtOptions(ctypes.Structure):
    """struct bpf_usdt_opts of libbpf 1.1."""

    _fields_ = (
        ("sz", c_size_t),
        ("usdt_cookie", c_uint64),
    )


class Walked(ctypes.Structure):
    """struct walked of _walker.c: where a walk ended and what it counted."""

    _fields_ = (
        ("end", c_uint64),
        ("count", c_uint64),
        ("discarded", c_uint64),
        ("lost", c_uint64),
        ("smallest", c_uint64),
        ("largest", c_uint64),
    )


class MapCreateOptions(ctypes.Structure):
    """struct bpf_map_create_opts of libbpf 1.1."""

    _fields_ = (
        ("sz", c_size_t),
        ("btf_fd", c_uint32),
        ("btf_key_type_id", c_uint32),
        ("btf_value_type_id", c_uint32),
        ("btf_vmlinux_value_type_id", c_uint32),
        ("inner_map_fd", c_uint32),
        ("map_flags", c_uint32),
        ("map_extra", c_uint64),
        ("numa_node", c_uint32),
        ("map_ifindex", c_uint32),
    )


class ProgramLoadOptions(ctypes.Structure):
    """struct bpf_prog_load_opts of libbpf 1.1."""

    _fields_ = (
        ("sz", c_size_t),
        ("attempts", c_int),
        ("expected_attach_type", c_int),
        ("prog_btf_fd", c_uint32),
        ("prog_flags", c_uint32),
        ("prog_ifindex", c_uint32),
        ("kern_version", c_uint32),
        ("attach_btf_id", c_uint32),
        ("attach_prog_fd", c_uint32),
        ("attach_btf_obj_fd", c_uint32),
        ("fd_array", c_void_p),
        ("func_info", c_void_p),
        ("func_info_cnt", c_uint32),
        ("func_info_rec_size", c_uint32),
        ("line_info", c_void_p),
        ("line_info_cnt", c_uint32),
        ("line_info_rec_size", c_uint32),
        ("log_level", c_uint32),
        ("log_size", c_uint32),
        ("log_buf", c_void_p),
    )


class TestRunOptions(ctypes.Structure):
    """struct bpf_test_run_opts of libbpf 1.1."""

    _fields_ = (
        ("sz", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


_BATCH = (c_int, c_void_p, c_void_p, c_void_p, c_void_p, POINTER(c_uint32), c_void_p)
# name: (result, arguments)
_PROTOTYPES: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "libbpf_major_version": (c_uint32, ()),
    "libbpf_minor_version": (c_uint32, ()),
    "libbpf_set_print": (c_void_p, (_PRINT_CALLBACK,)),
    "libbpf_num_possible_cpus": (c_int, ()),
    "bpf_object__open_mem": (c_void_p, (c_char_p, c_size_t, POINTER(OpenOptions))),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_object__find_map_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_object__find_program_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_object__gen_loader": (c_int, (c_void_p, POINTER(GenLoaderOptions))),
    "bpf_object__next_map": (c_void_p, (c_void_p, c_void_p)),
    "bpf_object__next_program": (c_void_p, (c_void_p, c_void_p)),
    "bpf_map__btf_key_type_id": (c_uint32, (c_void_p,)),
    "bpf_map__btf_value_type_id": (c_uint32, (c_void_p,)),
    "bpf_object__btf": (c_void_p, (c_void_p,)),
    "btf__raw_data": (c_void_p, (c_void_p, POINTER(c_uint32))),
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
    "bpf_map__initial_value": (c_void_p, (c_void_p, POINTER(c_size_t))),
    "bpf_program__fd": (c_int, (c_void_p,)),
    "bpf_program__name": (c_char_p, (c_void_p,)),
    "bpf_program__set_autoload": (c_int, (c_void_p, c_bool)),
    "bpf_program__set_log_level": (c_int, (c_void_p, c_uint32)),
    "bpf_program__attach_ksyscall": (c_void_p, (c_void_p, c_char_p, POINTER(SystemCallOptions))),
    "bpf_program__attach_uprobe_opts": (c_void_p, (c_void_p, c_int, c_char_p, c_size_t, POINTER(UprobeOptions))),
    "bpf_program__attach_usdt": (
        c_void_p,
        (c_void_p, c_int, c_char_p, c_char_p, c_char_p, POINTER(UsdtOptions)),
    ),
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
    "bpf_obj_get_info_by_fd": (c_int, (c_int, c_void_p, POINTER(c_uint32))),
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
    "bpf_map_update_batch": (c_int, (c_int, c_void_p, c_void_p, POINTER(c_uint32), c_void_p)),
    "bpf_map_create": (c_int, (c_int, c_char_p, c_uint32, c_uint32, c_uint32, POINTER(MapCreateOptions))),
    "bpf_btf_load": (c_int, (c_char_p, c_size_t, c_void_p)),
    "bpf_prog_load": (c_int, (c_int, c_char_p, c_char_p, c_char_p, c_size_t, POINTER(ProgramLoadOptions))),
    "bpf_prog_test_run_opts": (c_int, (c_int, POINTER(TestRunOptions))),
    "libbpf_find_vmlinux_btf_id": (c_int, (c_char_p, c_int)),
    "ring_buffer__new": (c_void_p, (c_int, SAMPLE_CALLBACK, c_void_p, c_void_p)),
    "ring_buffer__consume": (c_int, (c_void_p,)),
    "ring_buffer__free": (None, (c_void_p,)),
    "perf_buffer__new": (
        c_void_p,
        (c_int, c_size_t, PERF_SAMPLE_CALLBACK, PERF_LOST_CALLBACK, c_void_p, c_void_p),
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
_WALKER_PROTOTYPES: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "ebpf_walker_load": (c_uint64, (c_void_p,)),
    "ebpf_walker_store": (None, (c_void_p, c_uint64)),
    "ebpf_walker_ring": (None, (c_void_p, c_uint64, c_void_p, POINTER(Walked))),
    "ebpf_walker_perf": (None, (c_void_p, c_uint64, c_void_p, POINTER(Walked))),
}

# What came after the floor, and libbpf alone can do: the version that can.
_SINCE = {
    "global variables in arenas": (1, 4),
}

_loaded: ctypes.CDLL | None = None
_origin = ("", "")
_lock = allocate_lock()
_sinks: dict[int, list[str]] = {}  # by thread


def library() -> ctypes.CDLL:
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
    found = library()
    return ctypes.CDLL(found._name, handle=found._handle)[name]


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


_walker: ctypes.CDLL | None = None
_walker_sought = False


def walker() -> ctypes.CDLL | None:
    """Return the compiled helper of the streams, or None where the wheel has none or it is for another machine."""
    global _walker, _walker_sought
    with _lock:
        if not _walker_sought:
            _walker_sought = True
            _walker = _find_walker()
        return _walker


def _find_walker() -> ctypes.CDLL | None:
    for name in _bundled("_walker.so"):
        try:
            return load_walker(name)
        except OSError:
            continue
    return None


def load_walker(path: str) -> ctypes.CDLL:
    """Return the compiled helper in a file.

    Raises:
        OSError: It cannot be loaded.
    """
    found = ctypes.CDLL(path)
    _declare(found, _WALKER_PROTOTYPES)
    return found


def _load() -> ctypes.CDLL:
    global _origin
    reasons = []
    for chooser, name in _candidates():
        try:
            found = ctypes.CDLL(name, use_errno=True)
        except OSError as error:
            reasons.append(str(error))
            continue
        try:
            _declare(found, _PROTOTYPES)
            number = (found.libbpf_major_version(), found.libbpf_minor_version())
        except AttributeError as error:
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


def _declare(found: ctypes.CDLL, prototypes: dict[str, tuple[type | None, tuple[type, ...]]]) -> None:
    for name, (result, arguments) in prototypes.items():
        function = getattr(found, name)
        function.restype = result
        function.argtypes = arguments


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
        number = ctypes.get_errno()
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


_libc = ctypes.CDLL(None)
_libc.vasprintf.argtypes = (POINTER(c_void_p), c_char_p, c_void_p)
_libc.free.argtypes = (c_void_p,)


def _on_print(level: int, template: bytes, arguments: int) -> int:
    """Format one message of libbpf; va_list travels as a pointer on x86_64 and arm64."""
    sink = _sinks.get(get_ident())
    if level != _WARN or sink is None:
        return 0
    text = c_void_p()
    length = _libc.vasprintf(ctypes.byref(text), template, arguments)
    if length >= 0 and text.value:
        sink.append(ctypes.string_at(text.value, length).decode("utf-8", "replace").removeprefix("libbpf: "))
        _libc.free(text)
    return 0


# Lifetime: libbpf keeps the pointer for the life of the process, so does this module.
_print = _PRINT_CALLBACK(_on_print)
