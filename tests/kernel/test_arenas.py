# SPDX-License-Identifier: Apache-2.0
"""Objects with an arena: memory and pointers that programs and this process share."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path
from struct import pack, unpack
from types import ModuleType
from typing import Any

import pytest

from ebpf_runtime import ArenaMap, LibraryNotFoundError, MapError, OpenError, ProbeConfig, libbpf, live
from tests.support.kernel import assert_nothing_new, identifiers, map_refusal, open_files
from tests.support.sources import add_loader_programs, make_module, write_source

pytestmark = pytest.mark.kernel

NO_FALLBACK = ProbeConfig(allow_runtime_compiled_fallback=False)
PAGES = 16

ARENA = """
#define __arena __attribute__((address_space(1)))

struct {
	__uint(type, 33); /* BPF_MAP_TYPE_ARENA */
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 16);
} shared SEC(".maps");

/* Has the verifier know which arena the program's pointers are into. */
#define IN_ARENA() asm volatile("" : : "r"(&shared))
"""

POINTERS = (
    ARENA
    + """
struct visit_args {
	__u64 where;
	__u64 what;
};

SEC("syscall")
int visit(struct visit_args *args)
{
	__u64 __arena *place = (__u64 __arena *)args->where;

	IN_ARENA();
	args->what = *place;
	*place = 77;
	return 0;
}
"""
)

VARIABLES = (
    ARENA
    + """
struct visitor {
	__u32 number;
	__u16 kinds[2];
};

__u64 __arena SEC(".addr_space.1") hits;
__u32 __arena SEC(".addr_space.1") step = 7;
struct visitor __arena SEC(".addr_space.1") latest = {.number = 1, .kinds = {2, 3}};

SEC("syscall")
int visit(void *ctx)
{
	IN_ARENA();
	hits += step;
	latest.number = hits;
	latest.kinds[1]++;
	return 0;
}
"""
)


@pytest.fixture
def made(tmp_path: Path) -> Callable[[str], ModuleType]:
    def make(code: str) -> ModuleType:
        return make_module(tmp_path, write_source(tmp_path, "arenas", code))

    return make


def load(opened: Any) -> Any:
    """Load, or skip where the kernel has no arenas, which the error must say."""
    try:
        return opened.load()
    except MapError as error:
        refused = str(error)
        skip = map_refusal("ARENA", 33, "6.9")
    assert refused == ("create arena 'shared': EINVAL, invalid argument; this kernel has no arenas, Linux 6.9 has.")
    pytest.skip(skip or "the kernel has no maps of type ARENA (before Linux 6.9)")


def test_pointers_into_an_arena(made: Callable[[str], ModuleType]) -> None:
    with load(made(POINTERS).Arenas.open(NO_FALLBACK)) as probe:
        arena = probe.maps.shared
        assert type(arena) is ArenaMap
        assert len(arena.memory) == PAGES * mmap.PAGESIZE
        arena.memory[5000:5008] = (42).to_bytes(8, "little")
        where = arena.address + 5000
        ran = probe.programs.visit.test_run(context=pack("=QQ", where, 0))
        assert unpack("=QQ", ran.context) == (where, 42)
        assert int.from_bytes(arena.memory[5000:5008], "little") == 77
        assert arena.at(where) == 5000


def test_variables_in_an_arena(made: Callable[[str], ModuleType]) -> None:
    module = made(VARIABLES)
    major, minor = libbpf.version()
    if (major, minor) < (1, 4):
        with pytest.raises(LibraryNotFoundError) as caught:
            module.Arenas.open()
        assert str(caught.value) == (
            f"open object 'arenas': libbpf {major}.{minor} has no global variables in arenas, libbpf 1.4 has. "
            "Install a newer libbpf, or set EBPF_LIBBPF to the path of one."
        )
        return
    before, files = identifiers(), open_files()
    opened = module.Arenas.open(NO_FALLBACK)
    assert (opened.arena.hits, opened.arena.step) == (0, 7)
    assert opened.arena.latest == module.Visitor(number=1, kinds=(2, 3))
    opened.arena.step = 11
    opened.resize("shared", 32)
    with load(opened) as probe:
        for _ in range(3):
            probe.programs.visit.test_run()
        assert (probe.arena.hits, probe.arena.latest.number) == (33, 33)
        probe.arena.step = 100
        probe.programs.visit.test_run()
        assert probe.arena.hits == 133
        view = live(probe.arena)
        view.latest.kinds[1] = 50
        probe.programs.visit.test_run()
        assert (probe.arena.latest.kinds[1], view.latest.number) == (51, 233)
        assert len(probe.maps.shared.memory) == 32 * mmap.PAGESIZE
        held = memoryview(probe.maps.shared.memory)
    assert (233).to_bytes(8, "little") in bytes(held)  # whoever looks at it still may
    held.release()
    assert_nothing_new(before)
    assert open_files() == files


def test_an_arena_is_not_taken_from_a_path(made: Callable[[str], ModuleType]) -> None:
    with made(POINTERS).Arenas.open(NO_FALLBACK) as opened:
        with pytest.raises(OpenError) as caught:
            opened.pin_map("shared", "/sys/fs/bpf/shared")
        assert str(caught.value) == (
            "pin map 'shared': an arena has one address, that of the process which made it, and is taken from no path. "
            "Pin it once it is loaded, by its own pin()."
        )


def test_an_arena_has_no_loader_program(made: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EBPF_LIBBPF", raising=False)
    module = made(POINTERS)
    add_loader_programs(module)
    with load(module.Arenas.open(NO_FALLBACK)) as probe:
        assert (probe.path, probe.light_refusal) == ("libbpf", "the package holds no loader programs for this object")
