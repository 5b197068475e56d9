# SPDX-License-Identifier: Apache-2.0
"""A hash map by bcc, under the distribution's Python: maps_bcc.py KIND ENTRIES LOOKUPS.

KIND is small ({u32, u64}), big ({16 bytes, 64 bytes}) or per_cpu ({u32, u64} for each CPU). What is in the map is the
same as in maps.c.
"""

import ctypes
import sys
import time
from importlib import import_module
from typing import Any

TEXT = """
struct big_key { u32 number; u32 rest[3]; };
struct big_value { u64 number; u64 rest[7]; };
BPF_TABLE("%(type)s", %(key)s, %(value)s, entries, %(count)d);
"""
TYPES = {
    "small": ("hash", "u32", "u64"),
    "big": ("hash", "struct big_key", "struct big_value"),
    "per_cpu": ("percpu_hash", "u32", "u64"),
}


def main() -> None:
    kind, entries, lookups = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    bcc = import_module("bcc")
    table_type, key, value = TYPES[kind]
    probe = bcc.BPF(text=TEXT % {"type": table_type, "key": key, "value": value, "count": entries})
    table: Any = probe["entries"]
    fill(table, kind, entries)
    contenders = {"items": items, "batch": batch, "lookup": lookup}
    print("ready", flush=True)
    for line in sys.stdin:
        seconds, check = contenders[line.strip()](table, kind, lookups)
        print(f"{seconds:.9f} {check}", flush=True)


def fill(table: Any, kind: str, entries: int) -> None:
    for first in range(0, entries, 4096):
        count = min(4096, entries - first)
        if kind == "big":
            keys = (table.Key * count)(*[table.Key(first + i) for i in range(count)])
            values = (table.Leaf * count)(*[table.Leaf(3 * (first + i)) for i in range(count)])
        else:
            keys = (table.Key * count)(*range(first, first + count))
            cells = table.total_cpu if kind == "per_cpu" else 1
            numbers = [3 * (first + i) for i in range(count) for _ in range(cells)]
            leaf = ctypes.c_uint64 * cells if kind == "per_cpu" else ctypes.c_uint64
            values = (leaf * count).from_buffer_copy((ctypes.c_uint64 * len(numbers))(*numbers))
        table.items_update_batch(keys, values)


def total(pairs: Any, kind: str) -> int:
    if kind == "big":
        return sum(value.number for _, value in pairs)
    if kind == "per_cpu":
        return sum(sum(value) for _, value in pairs)
    return sum(getattr(value, "value", value) for _, value in pairs)


def items(table: Any, kind: str, _lookups: int) -> tuple[float, int]:
    started = time.perf_counter()
    pairs = table.items()
    seconds = time.perf_counter() - started
    return seconds, total(pairs, kind)


def batch(table: Any, kind: str, _lookups: int) -> tuple[float, int]:
    started = time.perf_counter()
    pairs = list(table.items_lookup_batch())
    seconds = time.perf_counter() - started
    return seconds, total(pairs, kind)


def lookup(table: Any, _kind: str, lookups: int) -> tuple[float, int]:
    found = 0
    keys = [table.Key(number) for number in range(lookups)]
    started = time.perf_counter()
    for key in keys:
        found += table[key].value
    return time.perf_counter() - started, found


main()
