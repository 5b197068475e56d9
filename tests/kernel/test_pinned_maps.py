# SPDX-License-Identifier: Apache-2.0
"""Maps that a probe takes from a path: they must have the same fields, by the kernel's own BTF of them."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ebpf_runtime import FallbackWarning, MapError, OpenError, system_calls
from tests.support.sources import make_module, write_source

pytestmark = pytest.mark.kernel

KEY = "__u32 pid; __u32 cpu;"
VALUE = (
    "__u64 packets; __u32 bytes; char comm[12]; struct { __u16 low; __u16 high; } port; __u8 kind : 3; __u8 rest : 5;"
)
VALUE += " __u8 pad0[3];"


def source(key: str = KEY, value: str = VALUE) -> str:
    return f"""
struct kept_key {{ {key} }};
struct kept_value {{ {value} }};

struct {{
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, struct kept_key);
	__type(value, struct kept_value);
}} kept SEC(".maps");
"""


Load = Callable[..., Any]


@pytest.fixture
def load(tmp_path: Path, pins: Path) -> Load:
    """Give a function that makes a probe of C text and loads it with its map at a path, the same for all."""

    def make(code: str, max_entries: int = 0) -> Any:
        number = len(list(tmp_path.iterdir()))
        folder = tmp_path / str(number)
        folder.mkdir()
        opened = make_module(folder, write_source(folder, "keeper", code)).Keeper.open()
        if max_entries:
            opened.resize("kept", max_entries)
        opened.pin_map("kept", pins / "kept")
        return opened.load()

    return make


def test_the_same_map_is_taken_with_what_is_in_it(load: Load, pins: Path) -> None:
    with load(source()) as first:
        assert not system_calls.map_update(first.maps.kept.fd, bytes(range(8)), bytes(range(32)))
    with load(source()) as second:
        ((key, value),) = second.maps.kept.items()
        assert (bytes(key), bytes(value)) == (bytes(range(8)), bytes(range(32)))
    with pytest.raises(MapError) as caught:
        load(source(), max_entries=9)
    assert str(caught.value) == (
        f"reuse map 'kept' pinned at {pins}/kept: it has max_entries 8, not 9. Unpin it, or pin the new one elsewhere."
    )


PINNED_VALUE = (
    "{packets u64 at byte 0, bytes u32 at byte 8, comm s8[12] at byte 12, port.low u16 at byte 24, "
    "port.high u16 at byte 26, kind u3 at bit 224, rest u5 at bit 227, pad0 u8[3] at byte 29}"
)


FIELD = "field {!r} of its value is {}, not {}"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (
            "__u32 bytes; char comm[12];",
            "char comm[12]; __u32 bytes;",
            FIELD.format("comm", "s8[12] at byte 12", "s8[12] at byte 8"),
        ),
        ("__u32 bytes", "__u32 octets", "its value has no field 'octets'"),
        ("__u32 bytes", "__s32 bytes", FIELD.format("bytes", "u32 at byte 8", "s32 at byte 8")),
        ("__u32 bytes", "float bytes", FIELD.format("bytes", "u32 at byte 8", "float32 at byte 8")),
        ("__u64 packets", "void *packets", FIELD.format("packets", "u64 at byte 0", "pointer at byte 0")),
        ("comm[12]", "comm[4]; __u64 more", FIELD.format("comm", "s8[12] at byte 12", "s8[4] at byte 12")),
        (
            "__u16 low; __u16 high;",
            "__u16 high; __u16 low;",
            FIELD.format("port.high", "u16 at byte 26", "u16 at byte 24"),
        ),
        ("kind : 3; __u8 rest : 5", "kind : 4; __u8 rest : 4", FIELD.format("kind", "u3 at bit 224", "u4 at bit 224")),
    ],
)
def test_a_field_that_moved_or_changed_is_named(load: Load, pins: Path, old: str, new: str, reason: str) -> None:
    load(source()).close()
    with pytest.raises(MapError) as caught:
        load(source(value=VALUE.replace(old, new)))
    start = f"reuse map 'kept' pinned at {pins}/kept: {reason}. Pinned value: {PINNED_VALUE}; this probe's: {{"
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith("}. Unpin it, or pin the new one elsewhere.")


def test_a_field_that_is_gone_is_named(load: Load, pins: Path) -> None:
    load(source(value=VALUE.replace("__u32 bytes;", "union { __u32 bytes; __u32 octets; };"))).close()
    with pytest.raises(
        MapError, match=r": its value has a field 'octets'\. Pinned value: \{packets u64 at byte 0, bytes"
    ):
        load(source())


def test_a_key_that_changed_is_named(load: Load, pins: Path) -> None:
    load(source()).close()
    with pytest.raises(MapError) as caught:
        load(source(key="__u32 cpu; __u32 pid;"))
    assert str(caught.value) == (
        f"reuse map 'kept' pinned at {pins}/kept: field 'cpu' of its key is u32 at byte 4, not u32 at byte 0. "
        "Pinned key: {pid u32 at byte 0, cpu u32 at byte 4}; this probe's: {cpu u32 at byte 0, pid u32 at byte 4}. "
        "Unpin it, or pin the new one elsewhere."
    )


def test_a_struct_in_the_place_of_a_number_is_named(load: Load, pins: Path) -> None:
    load(source()).close()
    with pytest.raises(MapError) as caught:
        load(source().replace("__type(key, struct kept_key)", "__type(key, __u64)"))
    assert str(caught.value) == (
        f"reuse map 'kept' pinned at {pins}/kept: its key is a struct, not u64. "
        "Pinned key: {pid u32 at byte 0, cpu u32 at byte 4}; this probe's: {u64 at byte 0}. "
        "Unpin it, or pin the new one elsewhere."
    )


def test_a_map_without_btf_is_compared_by_its_sizes_and_said_to_be(load: Load, pins: Path) -> None:
    pins.mkdir()
    fd = system_calls.map_create(1, 8, 32, 8, name=b"kept")
    assert fd >= 0
    assert not system_calls.object_pin(bytes(pins / "kept"), fd)
    said = f"reuse map 'kept' pinned at {pins}/kept: it has no BTF, so its fields are not compared, only its sizes."
    with pytest.warns(FallbackWarning) as caught:
        probe = load(source())
    assert [str(item.message) for item in caught] == [said]
    assert caught[0].filename == __file__
    probe.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(MapError, match=r"it has value size 32, not 40\. Unpin it, or pin the new one elsewhere\."):
            load(source(value=VALUE + " __u64 more;"))
    os.close(fd)


PLAIN = """
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} kept SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} shared SEC(".maps");
"""


def pin_hash(pins: Path, name: bytes, flags: int = 0) -> None:
    """Pin a hash of eight entries, 4 bytes each with 8 bytes, which is no probe's."""
    pins.mkdir()
    fd = system_calls.map_create(1, 4, 8, 8, flags, name)
    assert fd >= 0
    assert not system_calls.map_update(fd, bytes([1, 0, 0, 0]), bytes([7, 0, 0, 0, 0, 0, 0, 0]))
    assert not system_calls.object_pin(bytes(pins / "kept"), fd)
    os.close(fd)


@pytest.mark.parametrize("name", [b"other_name", b"shared"])
def test_a_map_of_another_name_is_taken_and_stays_itself(load: Load, pins: Path, name: bytes) -> None:
    pin_hash(pins, name)
    with load(PLAIN) as probe:
        assert dict(probe.maps.kept.items()) == {1: 7}
        assert (probe.maps.shared.type, list(probe.maps.shared)) == ("ARRAY", [0, 0])


def test_a_map_of_other_flags_is_named_and_nothing_is_compiled(
    load: Load, pins: Path, recwarn: pytest.WarningsRecorder
) -> None:
    pin_hash(pins, b"kept", flags=1)  # BPF_F_NO_PREALLOC
    with pytest.raises(MapError) as caught:
        load(PLAIN)
    assert str(caught.value) == (
        f"reuse map 'kept' pinned at {pins}/kept: it has flags 0x1, not 0x0. Unpin it, or pin the new one elsewhere."
    )
    assert not recwarn.list


def test_the_kernels_own_flag_of_a_device_map_is_no_difference(load: Load) -> None:
    devmap_hash = "25"
    code = PLAIN.replace("BPF_MAP_TYPE_HASH", devmap_hash).replace("__type(value, __u64)", "__type(value, __u32)")
    load(code).close()
    load(code).close()


def test_a_path_outside_a_bpf_file_system_is_named_and_nothing_is_compiled(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    opened = make_module(tmp_path, write_source(tmp_path, "keeper", PLAIN)).Keeper.open()
    opened.pin_map("kept", tmp_path / "kept")
    with pytest.raises(MapError) as caught:
        opened.load()
    assert str(caught.value) == (
        f"pin map 'kept' at {tmp_path}/kept: EINVAL, invalid argument. "
        "Choose a path in a BPF file system, whose names have no dots."
    )
    assert (caught.value.name, caught.value.errno) == ("kept", errno.EINVAL)
    assert not recwarn.list


def test_what_is_configured_after_load_is_refused(tmp_path: Path, pins: Path) -> None:
    code = PLAIN + 'SEC("raw_tp/sys_enter")\nint first(void *ctx) { return 0; }\n'
    module = make_module(tmp_path, write_source(tmp_path, "keeper", code))
    opened = module.Keeper.open()
    with pytest.raises(OpenError) as caught:
        opened.pin_map("kept", f"{pins}\0more")
    assert str(caught.value) == f"pin map 'kept' at '{pins}\\x00more': the path has a NUL."
    with opened.load() as probe:
        for call, arguments, said in (
            (opened.pin_map, ("kept", pins / "kept"), "pin map 'kept': {} Name the path before load."),
            (opened.resize, ("kept", 1), "resize map 'kept': {} Resize it before load."),
            (opened.set_target, ("first", 3, "f"), "set the target of program 'first': {} Set it before load."),
        ):
            with pytest.raises(OpenError) as caught:
                call(*arguments)
            assert str(caught.value) == said.format("the probe is loaded or closed.")
    assert not pins.exists()
    with pytest.raises(OpenError) as caught:
        module.Keeper.open().set_target("first", probe.programs.first, "f")
    assert str(caught.value) == "set the target of program 'first': the target is closed."


def test_a_target_without_such_a_function_is_named(tmp_path: Path) -> None:
    code = 'SEC("raw_tp/sys_enter")\nint first(void *ctx) { return 0; }\n'
    code += 'SEC("fentry/vfs_read")\nint second(void *ctx) { return 0; }\n'
    folder = tmp_path / "other"
    folder.mkdir()
    other = make_module(folder, write_source(folder, "other", code.partition('SEC("fentry')[0]))
    opened = make_module(tmp_path, write_source(tmp_path, "aimed", code)).Aimed.open()
    with other.Other.open_and_load() as probe:
        opened.set_target("second", probe.programs.first, "no_such_function")
        with pytest.raises(OpenError) as caught:
            opened.load()
    assert str(caught.value) == (
        "set the target of program 'second' to function 'no_such_function': ENOENT, no such file or directory."
    )


def test_a_map_that_is_too_large_is_named_and_nothing_is_compiled(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    opened = make_module(tmp_path, write_source(tmp_path, "keeper", PLAIN)).Keeper.open()
    opened.resize("kept", (1 << 32) - 1)
    with pytest.raises(MapError) as caught:
        opened.load()
    assert str(caught.value) == "create map 'kept': E2BIG, it is too large. Make it smaller, by resize() before load."
    assert (caught.value.name, caught.value.errno) == ("kept", errno.E2BIG)
    assert not recwarn.list
