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
from _ctypes import FUNCFLAG_CDECL, CFuncPtr, byref, dlopen, dlsym, get_errno
from _struct import Struct
from _thread import allocate_lock, get_ident

from .system_calls import Function, address, c_char

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from ctypes import Array, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p
    from typing import Any
else:
    # As in `ctypes`, which makes a hundred classes when it is imported: that takes a twentieth of a start.
    from _ctypes import _SimpleCData

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
    "attach_by",
    "c_size_t",
    "c_uint32",
    "captured",
    "detections",
    "library",
    "load_walker",
    "load_with_logs",
    "memory_at",
    "open_options",
    "origin",
    "require",
    "short_of_files",
    "undeclared",
    "version",
    "walker",
]

_WARN = 0
_LOG = b"-- BEGIN PROG LOAD LOG --"
_FLOOR = (1, 1)
_ATTACHING = 4  # files: an event, its link, and two for a test of what the kernel has


class _PrintCallback(CFuncPtr):
    """libbpf_print_fn_t: level, template and the va_list, which travels as a pointer on x86_64 and arm64."""

    _flags_ = FUNCFLAG_CDECL
    _restype_ = c_int
    _argtypes_ = (c_int, c_void_p, c_void_p)


# sz, object_name, relaxed_maps, pin_root_path, reserved, kconfig, btf_custom_path, kernel_log_buf, kernel_log_size,
# kernel_log_level: sz tells newer libraries how much of it is here.
_OPEN_OPTIONS = Struct("@QQ?QIQQQQI4x")

# name: result, "-" for none, and arguments, by the codes that ctypes has for its types. A bool travels as an int does.
_TYPES: Mapping[str, Any] = {"i": c_int, "I": c_uint32, "L": c_uint64, "P": c_void_p, "z": c_char_p}
_PROTOTYPES = {
    "libbpf_major_version": "I",
    "libbpf_minor_version": "I",
    "libbpf_set_print": "P P",
    "libbpf_num_possible_cpus": "i",
    "bpf_object__open_mem": "P zLP",
    "bpf_object__load": "i P",
    "bpf_object__close": "- P",
    "bpf_object__find_map_by_name": "P Pz",
    "bpf_object__find_program_by_name": "P Pz",
    "bpf_object__gen_loader": "i PP",
    "bpf_object__next_map": "P PP",
    "bpf_object__next_program": "P PP",
    "bpf_map__btf_key_type_id": "I P",
    "bpf_map__btf_value_type_id": "I P",
    "bpf_object__btf": "P P",
    "btf__raw_data": "P PP",
    "bpf_map__attach_struct_ops": "P P",
    "bpf_map__pin_path": "z P",
    "bpf_map__set_pin_path": "i Pz",
    "bpf_map__name": "z P",
    "bpf_map__type": "i P",
    "bpf_map__fd": "i P",
    "bpf_map__max_entries": "I P",
    "bpf_map__key_size": "I P",
    "bpf_map__value_size": "I P",
    "bpf_map__map_extra": "L P",
    "bpf_map__map_flags": "I P",
    "bpf_map__reuse_fd": "i Pi",
    "bpf_map__set_max_entries": "i PI",
    "bpf_map__initial_value": "P PP",
    "bpf_program__fd": "i P",
    "bpf_program__name": "z P",
    "bpf_program__set_autoload": "i Pi",
    "bpf_program__set_log_level": "i PI",
    "bpf_program__attach_ksyscall": "P PzP",
    "bpf_program__attach_uprobe_opts": "P PizLP",
    "bpf_program__attach_usdt": "P PizzzP",
    "bpf_program__set_attach_target": "i Piz",
    "bpf_program__set_expected_attach_type": "i Pi",
    "bpf_program__set_flags": "i PI",
    "bpf_program__set_type": "i Pi",
    "bpf_program__type": "i P",
    "bpf_program__attach": "P P",
    "btf__parse": "P zP",
    "btf__free": "- P",
    "bpf_iter_create": "i i",
    "bpf_enable_stats": "i i",
    "bpf_map_get_fd_by_id": "i I",
    "bpf_prog_get_fd_by_id": "i I",
    "bpf_obj_get": "i z",
    "bpf_obj_get_info_by_fd": "i iPP",
    "bpf_link__disconnect": "- P",
    "bpf_link__fd": "i P",
    "bpf_link__destroy": "i P",
    "bpf_map_lookup_elem": "i iPP",
    "bpf_map_lookup_and_delete_elem": "i iPP",
    "bpf_map_update_elem": "i iPPL",
    "bpf_map_delete_elem": "i iP",
    "bpf_map_get_next_key": "i iPP",
    "bpf_map_lookup_batch": "i iPPPPPP",
    "bpf_map_lookup_and_delete_batch": "i iPPPPPP",
    "bpf_map_update_batch": "i iPPPP",
    "bpf_map_create": "i izIIIP",
    "bpf_btf_load": "i zLP",
    "bpf_prog_load": "i izzzLP",
    "bpf_prog_test_run_opts": "i iP",
    "libbpf_find_vmlinux_btf_id": "i zi",
    "ring_buffer__new": "P iPPP",
    "ring_buffer__consume": "i P",
    "ring_buffer__free": "- P",
    "perf_buffer__new": "P iLPPPP",
    "perf_buffer__consume_buffer": "i PL",
    "perf_buffer__epoll_fd": "i P",
    "perf_buffer__free": "- P",
    "user_ring_buffer__new": "P iP",
    "user_ring_buffer__reserve": "P PI",
    "user_ring_buffer__reserve_blocking": "P PIi",
    "user_ring_buffer__submit": "- PP",
    "user_ring_buffer__discard": "- PP",
    "user_ring_buffer__free": "- P",
}
# The functions of _walker.c, a library of its own beside the bundled libbpf.
_WALKER_PROTOTYPES = {
    "ebpf_walker_load": "L P",
    "ebpf_walker_store": "- PL",
    "ebpf_walker_ring": "- PLPP",
    "ebpf_walker_perf": "- PLPP",
}
# Of the C library.
_LIBC_PROTOTYPES = {
    "free": "- P",
    "vasprintf": "i PPP",
}

# What came after the floor, and libbpf alone can do: the version that can.
_SINCE = {
    "global variables in arenas": (1, 4),
}


class Library:
    """A shared library, its functions as attributes: each is bound to its prototype when it is first used.

    Threads that use one for the first time at once bind it twice, to the same end.
    """

    def __init__(self, name: str | None, prototypes: Mapping[str, str], function: type[CFuncPtr] = Function) -> None:
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
        result, _, arguments = self._prototypes[name].partition(" ")
        function.restype = _TYPES.get(result)
        function.argtypes = tuple(_TYPES[code] for code in arguments)
        setattr(self, name, function)
        return function


_loaded: Library | None = None
_origin = ("", "")
_lock = allocate_lock()
_sinks: dict[int, list[str]] = {}  # by thread
_logs: dict[int, list[str]] = {}  # by thread that asks for the verifier's logs of what it accepts
detections: list[str] = []  # libbpf's warnings that it could not tell what the kernel has, of any thread


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
    from .rare_errors import LibraryNotFoundError

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


def open_options(name: str, btf_path: str | None = None, log_level: int = 0) -> tuple[bytes, object]:
    """Return a struct bpf_object_open_opts of libbpf 1.1, and what keeps the strings that it points to."""
    name_at, name_kept = address(name.encode() + b"\0")
    path_at, path_kept = address(btf_path.encode() + b"\0" if btf_path else None)
    size = _OPEN_OPTIONS.size
    return _OPEN_OPTIONS.pack(size, name_at, False, 0, 0, 0, path_at, 0, 0, log_level), (name_kept, path_kept)


def short_of_files(count: int) -> int:
    """Return 0 if *count* more files can be opened now, else the error number that says what is short.

    To be asked before libbpf loads or attaches: it tests once a process what the kernel has, and a test that could not
    open a file is remembered as a no.
    """
    fds: list[int] = []
    try:
        while len(fds) < count:
            fds.append(os.eventfd(0))
    except OSError as error:
        return error.errno or 0
    finally:
        for fd in fds:
            os.close(fd)
    return 0


def attach_by(function: str, program: int, *arguments: object) -> tuple[int, int, str]:
    """Attach a program by one of libbpf's functions.

    Returns:
        The bpf_link, 0 where it refused; the error number; and what libbpf said.
    """
    if number := short_of_files(_ATTACHING):
        return 0, number, ""
    call = getattr(library(), function)
    with captured() as messages:
        pointer = call(program, *arguments)
        number = get_errno()
    return pointer or 0, 0 if pointer else number, "".join(messages)


def load_with_logs(pointer: int) -> tuple[int, str]:
    """Load an object that was opened with a log level; return the result, and the verifier's logs of what it accepted.

    Source: libbpf src/libbpf.c, bpf_object_load_prog(), which prints those at the level of debugging.
    """
    logs = _logs[get_ident()] = []
    try:
        result: int = library().bpf_object__load(pointer)
    finally:
        del _logs[get_ident()]
    return result, "".join(logs)


def require(feature: str, action: str) -> None:
    """See that this libbpf has a feature that came after the floor.

    Raises:
        LibraryNotFoundError: It has not; the text names the version that has.
    """
    since, found = _SINCE[feature], version()
    if found < since:
        from .rare_errors import LibraryNotFoundError

        raise LibraryNotFoundError(
            f"{action}: libbpf {found[0]}.{found[1]} has no {feature}, libbpf {since[0]}.{since[1]} has. "
            "Install a newer libbpf, or set EBPF_LIBBPF to the path of one.",
            name="libbpf",
            feature=feature,
        )


def memory_at(pointer: int, size: int) -> Array[c_char]:
    """Return the bytes at an address, to be read and written as `raw`; whoever owns them keeps them meanwhile."""
    return (c_char * size).from_address(pointer)


_libc: Library | None = None


def _on_print(level: int, template: int, arguments: int) -> int:
    """Keep a warning of libbpf, formatted, where this thread collects them; else only logs that are asked for."""
    if level != _WARN:
        if _logs and (logs := _logs.get(get_ident())) is not None and _LOG in (c_char_p(template).value or b""):
            logs.append(_formatted(template, arguments))
        return 0
    if (sink := _sinks.get(get_ident())) is None:
        return 0
    said = _formatted(template, arguments)
    sink.append(said)
    if said.startswith("Detection of kernel "):
        detections.append(said)
    return 0


def _formatted(template: int, arguments: int) -> str:
    """Return a message of libbpf, empty where there is no memory for it."""
    global _libc
    if _libc is None:  # most processes are never warned
        _libc = Library(None, _LIBC_PROTOTYPES)
    text = c_void_p()
    length = _libc.vasprintf(byref(text), template, arguments)
    if length < 0 or not text.value:
        return ""
    said = memory_at(text.value, length).raw.decode("utf-8", "replace").removeprefix("libbpf: ")
    _libc.free(text)
    return said


# Lifetime: libbpf keeps the pointer for the life of the process, so does this module.
_print = _PrintCallback(_on_print)
