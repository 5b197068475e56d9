# SPDX-License-Identifier: Apache-2.0
"""What the check `ebpf` sends for given maps and programs, in both metric schemes."""

import pytest

from ebpf_collector.checks import CHECK_NAMES, Metric, MetricScheme
from ebpf_collector.checks.ebpf import CHECK_NAME, EbpfCheck, EbpfCheckConfig, EbpfProbe, factory, new_check
from ebpf_collector.errors import ConfigError
from ebpf_collector.inventory import Inventory, KprobeCounters, UnreadPins, datadog, native
from ebpf_probes.ebpf_inventory import InventoryMapType, InventoryProgramType
from tests.unit.collector.inventories import FakeProbe, map_state, program_state
from tests.unit.collector.recording import RecordingSender

DATADOG = b"metric_scheme: datadog"
CPUS = 2
PAGE = 4096

RING = map_state(
    id=72,
    name="events",
    type=InventoryMapType.RINGBUF,
    max_entries=65536,
    buffer_bytes=77_824,
    mapped_bytes=77_824,
    unread_bytes=160,
    entry_count=None,
    memory_bytes=78_408,
)
KPROBES = KprobeCounters(hits=1009, nesting_misses=13, maxactive_misses=17)
EVERYTHING = Inventory(
    maps=(map_state(pins=("/sys/fs/bpf/flows",)), RING),
    programs=(program_state(kprobes=KPROBES, pins=("/sys/fs/bpf/on_kill",)),),
    unread_pins=(UnreadPins("/sys/fs/bpf/closed", "EACCES"),),
)


def run(probe: FakeProbe, settings: bytes = b"") -> tuple[EbpfCheck, RecordingSender]:
    """Return a check that was started and run once, and what it sent."""
    check = EbpfCheck(lambda: probe, possible_cpus=lambda: CPUS, page_bytes=PAGE)
    check.configure(settings)
    check.start()
    sender = RecordingSender()
    check.run(sender)
    return check, sender


def points(inventory: Inventory, settings: bytes = b"") -> list[tuple[str, float, list[str]]]:
    _, sender = run(FakeProbe(inventory), settings)
    return [(name, value, tags) for _, name, value, tags in sender.points]


def of(found: list[tuple[str, float, list[str]]], name: str) -> list[tuple[float, list[str]]]:
    return [(value, tags) for other, value, tags in found if other == name]


def test_names() -> None:
    assert CHECK_NAME == "ebpf"
    assert CHECK_NAME in CHECK_NAMES
    assert new_check().name == CHECK_NAME
    make = factory()
    assert make() is not make()
    assert not new_check().windowed


@pytest.mark.parametrize(("settings", "declared"), [(b"", native.METRICS), (DATADOG, datadog.METRICS)])
def test_declared_metrics_are_those_emitted(settings: bytes, declared: tuple[Metric, ...]) -> None:
    check, sender = run(FakeProbe(EVERYTHING), settings)
    assert {(metric.type, metric.name) for metric in declared} == {(kind, name) for kind, name, _, _ in sender.points}
    assert set(declared) <= set(check.metrics)
    assert all(metric.unit and metric.help.endswith(".") for metric in check.metrics)
    assert sender.commits == 0  # the caller's


def test_native_points_of_a_map() -> None:
    tags = ["map_name:flows", "map_type:hash", "map_id:71", "module:oom_kill", "variant:task_vma"]
    module = ["module:oom_kill", "variant:task_vma"]
    assert points(Inventory((map_state(),), ())) == [
        ("ebpf_collector.probe_info", 1, ["probe:ebpf", "variant:task_vma", "origin:co_re"]),
        ("ebpf.maps.memory_bytes", 277_777, tags),
        ("ebpf.maps.max_entries", 1000, tags),
        ("ebpf.maps.entry_count", 250, tags),
        ("ebpf.maps.occupancy_ratio", 0.25, tags),
        ("ebpf.maps.holders", 3, tags),
        ("ebpf.maps.count", 1, module),
        ("ebpf.maps.unmeasured", 0, module),
        ("ebpf.maps.module_memory_bytes", 277_777, module),
    ]


def test_native_points_of_buffers() -> None:
    perf = map_state(id=73, type=InventoryMapType.PERF_EVENT_ARRAY, buffer_bytes=1000, memory_bytes=344)
    found = points(Inventory((RING, perf), ()))
    assert [value for value, _ in of(found, "ebpf.maps.buffer_bytes")] == [77_824, 1000]
    assert [value for value, _ in of(found, "ebpf.maps.unread_bytes")] == [160]
    # The entries of a ring buffer would be bytes.
    assert [value for value, _ in of(found, "ebpf.maps.max_entries")] == [1000]
    # The memory of a ring has its buffer in it, that of a perf event array has not.
    assert [value for value, _ in of(found, "ebpf.maps.module_memory_bytes")] == [78_408 + 344 + 1000]


def test_native_points_of_a_program() -> None:
    tags = ["program_name:on_kill", "program_type:kprobe", "program_id:91", "module:oom_kill", "variant:task_vma"]
    module = ["module:oom_kill", "variant:task_vma"]
    assert points(Inventory((), (program_state(),)))[1:] == [
        ("ebpf.programs.memory_bytes", 10_449, tags),
        ("ebpf.programs.xlated_bytes", 4264, tags),
        ("ebpf.programs.jited_bytes", 2257, tags),
        ("ebpf.programs.verified_instructions", 1080, tags),
        ("ebpf.programs.recursion_misses_total", 2, tags),
        ("ebpf.programs.run_time_ratio", 0.0025, tags),
        ("ebpf.programs.runs_per_second", 500.0, tags),
        ("ebpf.programs.holders", 1, tags),
        ("ebpf.programs.count", 1, module),
        ("ebpf.programs.module_memory_bytes", 10_449, module),
    ]


def test_native_points_of_kprobes() -> None:
    tags = ["program_name:on_kill", "program_type:kprobe", "program_id:91", "module:oom_kill", "variant:task_vma"]
    found = points(Inventory((), (program_state(kprobes=KPROBES),)))
    assert [point for point in found if point[0].startswith("ebpf.kprobes.")] == [
        ("ebpf.kprobes.hits_total", 1009, tags),
        ("ebpf.kprobes.nesting_misses_total", 13, tags),
        ("ebpf.kprobes.maxactive_misses_total", 17, tags),
    ]
    untold = points(Inventory((), (program_state(kprobes=KprobeCounters(None, 0, 0)),)))
    assert [point for point in untold if point[0].startswith("ebpf.kprobes.")] == [
        ("ebpf.kprobes.nesting_misses_total", 0, tags),
        ("ebpf.kprobes.maxactive_misses_total", 0, tags),
    ]


def test_datadog_points_of_kprobes() -> None:
    tags = ["program_name:on_kill", "program_type:Kprobe", "module:oom_kill"]
    programs = (
        program_state(kprobes=KPROBES),
        program_state(id=92, kprobes=KprobeCounters(1, 1, 1)),  # of the same name: left out
        program_state(id=93, module="unknown", kprobes=KPROBES),
        program_state(id=94, name="quiet", kprobes=KprobeCounters(None, 0, 0)),
    )
    _, sender = run(FakeProbe(Inventory((), programs)), DATADOG)
    assert [point for point in sender.points if point[1].startswith("ebpf.kprobes.")] == [
        ("monotonic_count", "ebpf.kprobes.kprobe_nesting_misses", 13, tags),
        ("monotonic_count", "ebpf.kprobes.kretprobe_maxactive_misses", 17, tags),
        ("monotonic_count", "ebpf.kprobes.kprobe_hits", 1009, tags),
    ]


def test_native_points_of_pins() -> None:
    inventory = Inventory(
        (map_state(pins=("/sys/fs/bpf/a", "/sys/fs/bpf/b/c")),),
        (program_state(pins=("/sys/fs/bpf/p",)),),
        (UnreadPins("/sys/fs/bpf/closed", "EACCES"),),
    )
    found = points(inventory)
    map_tags = ["map_name:flows", "map_type:hash", "map_id:71", "module:oom_kill"]
    program_tags = ["program_name:on_kill", "program_type:kprobe", "program_id:91", "module:oom_kill"]
    assert of(found, "ebpf.maps.pinned") == [
        (1, [*map_tags, "path:/sys/fs/bpf/a", "variant:task_vma"]),
        (1, [*map_tags, "path:/sys/fs/bpf/b/c", "variant:task_vma"]),
    ]
    assert of(found, "ebpf.programs.pinned") == [(1, [*program_tags, "path:/sys/fs/bpf/p", "variant:task_vma"])]
    assert of(found, "ebpf.pins.unread") == [(1, ["path:/sys/fs/bpf/closed", "reason:EACCES", "variant:task_vma"])]
    assert not [name for name, _, _ in points(inventory, DATADOG) if "pin" in name]


@pytest.mark.parametrize(
    ("kind", "flags", "marked"),
    [
        (InventoryMapType.HASH, 1, True),
        (InventoryMapType.PERCPU_HASH, 1, True),
        (InventoryMapType.HASH, 0, False),
        (InventoryMapType.LPM_TRIE, 1, False),
    ],
)
def test_datadog_marks_maps_without_preallocation(kind: InventoryMapType, flags: int, marked: bool) -> None:
    found = points(Inventory((map_state(type=kind, flags=flags),), ()), DATADOG)
    ((_, tags),) = of(found, "ebpf.maps.max_entries")
    assert (tags[3:] == ["no-prealloc"]) == marked
    assert all("no-prealloc" not in tags for name, _, tags in found if name != "ebpf.maps.max_entries")
    native_tags = [tags for _, _, tags in points(Inventory((map_state(type=kind, flags=flags),), ()))]
    assert all("no-prealloc" not in tags for tags in native_tags)


def test_what_is_not_known_is_not_sent() -> None:
    found = points(
        Inventory(
            (map_state(memory_bytes=None, entry_count=None),),
            (program_state(verified_instructions=0, recursion_misses=None, sample=None),),
        )
    )
    names = {name for name, _, _ in found}
    assert names.isdisjoint(
        {
            "ebpf.maps.memory_bytes",
            "ebpf.maps.entry_count",
            "ebpf.maps.occupancy_ratio",
            "ebpf.programs.verified_instructions",
            "ebpf.programs.recursion_misses_total",
            "ebpf.programs.run_time_ratio",
            "ebpf.programs.runs_per_second",
        }
    )
    assert of(found, "ebpf.maps.unmeasured") == [(1, ["module:oom_kill", "variant:task_vma"])]


def test_native_names_everything_datadog_the_known() -> None:
    inventory = Inventory((map_state(module="unknown"),), (program_state(module="unknown"),))
    assert of(points(inventory), "ebpf.maps.memory_bytes")
    assert of(points(inventory), "ebpf.programs.memory_bytes")
    size = 704 + 16 * 1024 + 64 * CPUS + (48 + 56 + 152) * (1000 + CPUS) + 8 * CPUS
    assert points(inventory, DATADOG)[1:] == [
        ("ebpf.maps.memory_max_total", size, []),
        ("ebpf.maps.memory_rss_total", size, []),
        ("ebpf.programs.memory_rss_total", 8192, []),
    ]


def test_datadog_points_of_a_map() -> None:
    tags = ["map_name:flows", "map_type:Hash", "module:oom_kill"]
    size = 704 + 16 * 1024 + 64 * CPUS + (48 + 56 + 152) * (1000 + CPUS) + 8 * CPUS
    assert points(Inventory((map_state(),), ()), DATADOG)[1:] == [
        ("ebpf.maps.memory_max", size, tags),
        ("ebpf.maps.memory_rss", size, tags),
        ("ebpf.maps.max_entries", 1000, tags),
        ("ebpf.maps.entry_count", 250, tags),
        ("ebpf.maps.occupation", 0.25, tags),
        ("ebpf.maps.occupation_increase", 0.25, tags),
        ("ebpf.maps.memory_max_total", size, []),
        ("ebpf.maps.memory_rss_total", size, []),
        ("ebpf.maps.memory_max_permodule_total", size, ["module:oom_kill"]),
        ("ebpf.maps.memory_rss_permodule_total", size, ["module:oom_kill"]),
    ]


def test_datadog_points_of_a_program() -> None:
    tags = ["program_name:on_kill", "program_type:Kprobe", "module:oom_kill"]
    check, sender = run(FakeProbe(Inventory((), (program_state(),))), DATADOG)
    assert sender.points[1:] == [
        ("gauge", "ebpf.programs.xlated_instruction_len", 4264, tags),
        ("gauge", "ebpf.programs.verified_instruction_count", 1080, tags),
        ("gauge", "ebpf.programs.memory_rss", 8192, tags),
        ("monotonic_count", "ebpf.programs.runtime_ns", 5_000, tags),
        ("monotonic_count", "ebpf.programs.run_count", 11, tags),
        ("monotonic_count", "ebpf.programs.recursion_misses", 2, tags),
        ("gauge", "ebpf.programs.memory_rss_total", 8192, []),
        ("gauge", "ebpf.programs.memory_rss_permodule_total", 8192, ["module:oom_kill"]),
        ("gauge", "ebpf.programs.xlated_instruction_len_permodule_total", 4264, ["module:oom_kill"]),
        ("gauge", "ebpf.programs.verified_instruction_count_permodule_total", 1080, ["module:oom_kill"]),
    ]
    check.close()


def test_datadog_sends_no_zeros_of_programs() -> None:
    nothing = program_state(
        xlated_bytes=0, verified_instructions=0, run_time_ns=None, run_count=0, recursion_misses=0, sample=None
    )
    assert points(Inventory((), (nothing,)), DATADOG)[1:] == [
        ("ebpf.programs.memory_rss_permodule_total", 0, ["module:oom_kill"]),
    ]


def test_datadog_leaves_the_resident_size_out_where_it_is_zero() -> None:
    sparse = map_state(flags=1, kernel_counts_memory=False)
    found = points(Inventory((sparse,), ()), DATADOG)
    assert of(found, "ebpf.maps.memory_max")
    assert not of(found, "ebpf.maps.memory_rss")
    assert not of(found, "ebpf.maps.memory_rss_total")
    assert of(found, "ebpf.maps.memory_rss_permodule_total") == [(0, ["module:oom_kill"])]
    exact = points(Inventory((map_state(flags=1),), ()), DATADOG)
    assert [value for value, _ in of(exact, "ebpf.maps.memory_rss")] == [277_777]


@pytest.mark.parametrize(
    ("kind", "counted"),
    [
        (InventoryMapType.HASH, True),
        (InventoryMapType.LRU_HASH, True),
        (InventoryMapType.HASH_OF_MAPS, True),
        (InventoryMapType.PERCPU_HASH, False),
        (InventoryMapType.LRU_PERCPU_HASH, False),
        (InventoryMapType.LPM_TRIE, False),
    ],
)
def test_datadog_counts_the_entries_of_three_types(kind: InventoryMapType, counted: bool) -> None:
    found = points(Inventory((map_state(type=kind),), ()), DATADOG)
    for name in ("ebpf.maps.entry_count", "ebpf.maps.occupation", "ebpf.maps.occupation_increase"):
        assert bool(of(found, name)) == counted
    assert of(points(Inventory((map_state(type=kind),), ())), "ebpf.maps.entry_count")


def test_increase_is_since_the_previous_run_by_name_alone() -> None:
    probe = FakeProbe(
        Inventory((map_state(entry_count=250),), ()),
        Inventory((map_state(entry_count=100),), ()),
        Inventory((map_state(entry_count=130, module="other"),), ()),
    )
    check, sender = run(probe, DATADOG)
    check.run(sender)
    check.run(sender)
    increases = [value for _, name, value, _ in sender.points if name == "ebpf.maps.occupation_increase"]
    assert increases == [0.25, -0.15, 0.03]


def test_datadog_numbers_maps_of_one_name_and_module_by_id() -> None:
    maps = (
        map_state(id=9, max_entries=9),
        map_state(id=3, max_entries=3),
        map_state(id=5, max_entries=5, module="other"),
        map_state(id=7, max_entries=7, name="alone"),
    )
    found = points(Inventory(maps, ()), DATADOG)
    assert [(value, tags[0], tags[2]) for value, tags in of(found, "ebpf.maps.max_entries")] == [
        (7, "map_name:alone", "module:oom_kill"),
        (3, "map_name:flows_1", "module:oom_kill"),
        (9, "map_name:flows_2", "module:oom_kill"),
        (5, "map_name:flows", "module:other"),
    ]
    assert [tags[0] for _, tags in of(points(Inventory(maps, ())), "ebpf.maps.max_entries")] == [
        "map_name:flows",
        "map_name:flows",
        "map_name:flows",
        "map_name:alone",
    ]


def test_datadog_drops_all_but_the_first_program_of_one_name_type_and_module() -> None:
    programs = (
        program_state(id=3, xlated_bytes=8),
        program_state(id=5, xlated_bytes=16),
        program_state(id=7, xlated_bytes=24, type=InventoryProgramType.TRACING),
        program_state(id=9, xlated_bytes=32, module="unknown"),
        program_state(id=11, xlated_bytes=40, module="unknown"),
    )
    found = points(Inventory((), programs), DATADOG)
    assert [value for value, _ in of(found, "ebpf.programs.xlated_instruction_len")] == [8, 24]
    assert of(found, "ebpf.programs.memory_rss_total") == [(3 * PAGE, [])]
    assert of(found, "ebpf.programs.xlated_instruction_len_permodule_total") == [(32, ["module:oom_kill"])]
    assert len(of(points(Inventory((), programs)), "ebpf.programs.xlated_bytes")) == 5


def test_datadog_has_its_own_name_for_our_module() -> None:
    found = points(Inventory((map_state(module="ebpf_inventory"),), ()), DATADOG)
    assert of(found, "ebpf.maps.max_entries")[0][1][2] == "module:ebpf_check"


def test_datadog_leaves_out_types_without_a_formula() -> None:
    assert points(Inventory((map_state(type=InventoryMapType.STACK_TRACE),), ()), DATADOG)[1:] == []


def test_native_samples_datadog_does_not() -> None:
    probe = FakeProbe(Inventory((), ()), Inventory((), ()))
    check, sender = run(probe, b"statistics_window_seconds: 0.25")
    check.configure(DATADOG)
    check.run(sender)
    assert probe.windows == [0.25, 0]


def test_closing_is_harmless() -> None:
    probe = FakeProbe(Inventory((), ()))
    check, _ = run(probe)
    check.close()
    check.close()
    assert probe.closed == 1


def test_disabled_check_opens_nothing_and_sends_nothing() -> None:
    def refuse() -> EbpfProbe:
        raise AssertionError("opened")

    check = EbpfCheck(refuse)
    check.configure(b"collect_ebpf: false")
    check.start()
    sender = RecordingSender()
    check.run(sender)
    check.close()
    assert sender.points == []


def test_settings() -> None:
    assert EbpfCheckConfig.parse(b"") == EbpfCheckConfig(True, 0.1, metric_scheme=MetricScheme.NATIVE)
    assert EbpfCheckConfig.parse(
        b"collect_ebpf: false\nstatistics_window_seconds: 2\nmetric_scheme: datadog"
    ) == EbpfCheckConfig(False, 2.0, metric_scheme=MetricScheme.DATADOG)
    assert EbpfCheckConfig.parse(b"statistics_window_seconds: 0").statistics_window_seconds == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "statistics_window_seconds: -1",
            "line 1, 'statistics_window_seconds' cannot be -1. Write a number of seconds, 0 or above.",
        ),
        (
            "statistics_window_seconds: .inf",
            "line 1, 'statistics_window_seconds' cannot be .inf. Write a number of seconds, 0 or above.",
        ),
        (
            "statistics_window_seconds: 0x10",
            "line 1, 'statistics_window_seconds' cannot be 0x10. Write a number of seconds, 0 or above.",
        ),
        (
            "statistics_window_seconds: soon",
            "line 1, 'statistics_window_seconds' is a string, not a number. Write a number of seconds, 0 or above.",
        ),
        (
            "statistics_window: 1",
            "line 1, unknown key 'statistics_window'. Did you mean 'statistics_window_seconds'? "
            "Known keys: collect_ebpf, metric_scheme, statistics_window_seconds.",
        ),
    ],
)
def test_refused_settings(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        EbpfCheckConfig.parse(text.encode())
    assert str(caught.value) == f"read configuration of check 'ebpf': {message}"
