# SPDX-License-Identifier: Apache-2.0
"""Variables read and written in place, one member or element at a time, while a program writes its own."""

from __future__ import annotations

import copy
import operator
import os
import pickle
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from ebpf_runtime import RecordError, VariableError, live
from tests.support.maps import GETPPID
from tests.support.sources import make_module, write_source

pytestmark = pytest.mark.kernel

SOURCE = """
struct pair {
	__u32 left;
	__s32 right;
};

struct totals {
	__u64 count;
	struct pair last;
	__u16 slots[4];
};

const volatile __u32 wanted_pid = 0;
const volatile __u64 wanted_call = 0;
struct totals totals = {};
struct pair pairs[3] = { { 1, -1 }, { 2, -2 }, { 3, -3 } };
__u32 matrix[2][3] = {};
struct named {
	__u32 _section;
	__u32 _members;
	__u32 _where;
	__u8 address[6];
	char label[2][8];
	__u8 last[2];
};
struct named named = {};
__s16 ranks[4] = { 5, 6, 7, 8 };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__uint(map_flags, 1 << 10 /* BPF_F_MMAPABLE */);
	__type(key, __u32);
	__type(value, __s16[4]);
} mapped SEC(".maps");

SEC("raw_tp/sys_enter")
int on_call(struct bpf_raw_tracepoint_args *ctx)
{
	if (bpf_get_current_pid_tgid() >> 32 != wanted_pid || ctx->args[1] != wanted_call)
		return 0;
	totals.count++;
	totals.last.left = totals.slots[1];
	pairs[2].right -= 10;
	matrix[1][2] += 1;
	return 0;
}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    directory = tmp_path_factory.mktemp("totals")
    return make_module(directory, write_source(directory, "totals", SOURCE))


@pytest.fixture
def probe(made: ModuleType) -> Iterator[Any]:
    opened = made.Totals.open()
    live(opened.rodata).wanted_pid = os.getpid()
    opened.rodata.wanted_call = GETPPID
    live(opened.data).pairs[0].left = 100
    with opened.load() as loaded:
        loaded.attach()
        yield loaded


def test_members_and_elements_are_read_and_written_in_place(probe: Any) -> None:
    totals = live(probe.bss).totals
    last = totals.last
    copy = probe.bss.totals
    totals.slots[1] = 77
    os.getppid()
    os.getppid()
    assert totals.count == 2
    assert last.left == 77
    assert copy.count == 0
    assert probe.bss.totals.slots == (0, 77, 0, 0)
    totals.count = 1000  # and the neighbours stay the program's
    os.getppid()
    assert (totals.count, last.left) == (1001, 77)


def test_arrays_of_records_and_of_arrays(made: ModuleType, probe: Any) -> None:
    pairs = live(probe.data).pairs
    assert [pair.left for pair in pairs] == [100, 2, 3]
    pairs[1] = made.Pair(left=5, right=6)
    pairs[-1].left = 9
    os.getppid()
    assert probe.data.pairs == (
        made.Pair(left=100, right=-1),
        made.Pair(left=5, right=6),
        made.Pair(left=9, right=-13),
    )
    matrix = live(probe.bss).matrix
    matrix[0][1] = 4
    assert probe.bss.matrix == ((0, 4, 0), (0, 0, 1))
    assert len(matrix) == 2
    assert repr(pairs[1]) == "<live .data.pairs[1] left=5, right=6>"
    assert repr(matrix[0]) == "<live .bss.matrix[0] [0, 4, 0]>"


@pytest.mark.any_kernel
def test_bytes_are_read_and_written_one_by_one(probe: Any) -> None:
    named = live(probe.bss).named
    address = named.address
    named.address = b"\1\2\3\4\5\6"
    address[1] = 77
    address[-1] = 88
    assert (list(address), len(address), address[1]) == ([1, 77, 3, 4, 5, 88], 6, 77)
    assert bytes(address) == probe.bss.named.address == b"\1\x4d\3\4\5\x58"
    assert repr(address) == "<live .bss.named.address [1, 77, 3, 4, 5, 88]>"
    named.label[1] = "second"
    assert list(named.label) == ["", "second"]
    assert bytes(named) == bytes(probe.bss.named)
    with pytest.raises(RecordError, match=r"^set field 'u8': 256 does not fit u8\.$"):
        address[0] = 256


@pytest.mark.any_kernel
def test_members_may_be_called_as_what_a_view_has_of_its_own(probe: Any) -> None:
    named = live(probe.bss).named
    named._section, named._members, named._where = 1, 2, 3
    named.last[1] = 4
    assert (named._section, named._members, named._where, list(named.last)) == (1, 2, 3, [0, 4])
    assert (probe.bss.named._section, probe.bss.named._where) == (1, 3)
    assert dir(named) == ["_members", "_section", "_where", "address", "label", "last"]
    assert repr(named).startswith("<live .bss.named _section=1, _members=2, _where=3, address=<live ")
    assert not hasattr(named, "_base")


@pytest.mark.any_kernel
@pytest.mark.parametrize("do", [copy.copy, copy.deepcopy, pickle.dumps])
def test_views_are_not_copied(probe: Any, do: Callable[[Any], Any]) -> None:
    bss = live(probe.bss)
    for view, where in ((bss, ".bss"), (bss.totals, ".bss.totals"), (bss.matrix[1], ".bss.matrix[1]")):
        with pytest.raises(TypeError) as caught:
            do(view)
        assert str(caught.value) == f"copy or pickle live {where}: it is memory of its probe. Copy bytes() of it."


@pytest.mark.any_kernel
@pytest.mark.parametrize("wrong", [slice(1, 2), "x", None, 1.0, 4, -5])
def test_an_index_of_elements_is_an_integer_below_their_number(probe: Any, wrong: Any) -> None:
    slots = live(probe.bss).totals.slots
    for use in (lambda: slots[wrong], lambda: operator.setitem(slots, wrong, 1)):
        with pytest.raises(IndexError) as caught:
            use()
        assert str(caught.value) == f".bss.totals.slots has elements 0 to 3, not {wrong!r}"


@pytest.mark.any_kernel
@pytest.mark.parametrize("loaded", [False, True])
def test_what_is_refused_changes_nothing(made: ModuleType, probe: Any, loaded: bool) -> None:
    holder = probe if loaded else made.Totals.open()
    data, bss = holder.data, holder.bss
    bss.totals = bss.totals.replace(count=9, slots=(1, 2, 3, 4))
    bss.matrix = ((1, 2, 3), (4, 5, 6))
    before = (bss.totals, bss.matrix, data.pairs, data.ranks)
    view, text = live(bss).totals, "set field 'u16': 65536 does not fit u16."
    refused: list[tuple[str, Callable[[], None]]] = [
        ("set field 's16': 99999 does not fit s16.", lambda: setattr(data, "ranks", (1, 2, 3, 99999))),
        ("set field 'u32': -1 does not fit u32.", lambda: setattr(bss, "matrix", ((9, 9, 9), (9, 9, -1)))),
        ("set field 'Pair': 3 does not fit Pair.", lambda: setattr(data, "pairs", (data.pairs[1], data.pairs[0], 3))),
        (text, lambda: setattr(view, "slots", (9, 9, 9, 65536))),
        (text, lambda: operator.setitem(view.slots, 3, 65536)),
        ("set field 'count': -1 does not fit u64.", lambda: setattr(view, "count", -1)),
        ("set field 'u32': 'x' does not fit u32.", lambda: operator.setitem(live(bss).matrix[1], 0, "x")),
        ("set field 'u32': -1 does not fit u32.", lambda: operator.setitem(live(bss).matrix, 1, (9, 9, -1))),
    ]
    for expected, use in refused:
        with pytest.raises(RecordError) as caught:
            use()
        assert str(caught.value) == expected
        assert (bss.totals, bss.matrix, data.pairs, data.ranks) == before
    if loaded:
        probe.maps.mapped[1] = (1, 2, 3, 4)
        with pytest.raises(RecordError):
            probe.maps.mapped[1] = (5, 6, 7, 99999)
        assert probe.maps.mapped[1] == (1, 2, 3, 4)


@pytest.mark.any_kernel
def test_what_is_not_there_or_does_not_fit_is_refused(probe: Any) -> None:
    bss = live(probe.bss)
    with pytest.raises(AttributeError, match=r"^\.bss has no 'nosuch'; it has totals, matrix, named$"):
        bss.nosuch  # noqa: B018
    with pytest.raises(AttributeError, match=r"^\.bss\.totals\.last has no 'up'; it has left, right$"):
        bss.totals.last.up = 1
    with pytest.raises(IndexError, match=r"^\.bss\.totals\.slots has elements 0 to 3, not 4$"):
        bss.totals.slots[4]
    with pytest.raises(RecordError, match="65536 does not fit u16"):
        bss.totals.slots[0] = 65536
    with pytest.raises(VariableError, match=r"^set variable 'wanted_pid': \.rodata is read-only once loaded\."):
        live(probe.rodata).wanted_pid = 1


@pytest.mark.any_kernel
def test_a_closed_probe_has_no_memory(made: ModuleType) -> None:
    with made.Totals.open_and_load() as probe:
        totals = live(probe.bss).totals
    with pytest.raises(VariableError, match=r"^use the \.bss variables: the probe is closed\.$"):
        totals.count  # noqa: B018
    with pytest.raises(VariableError, match=r"^use the \.bss variables: the probe is closed\.$"):
        totals.slots[1] = 1
