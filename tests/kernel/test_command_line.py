# SPDX-License-Identifier: Apache-2.0
"""The commands as a user runs them, on the running kernel."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from ebpf_collector.workloads.memory_cgroup import find_hierarchy
from tests.support.kernel import assert_nothing_new, identifiers
from tests.support.kills import kill_one, victims_cgroup
from tests.support.tcp import connection, workers_cgroup

pytestmark = pytest.mark.kernel

COMMAND = (sys.executable, "-P", "-m", "ebpf_collector")
POWERLESS = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")  # root, but without a capability


def run(*arguments: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run((*before, *COMMAND, *arguments), capture_output=True, text=True, timeout=120, check=False)


def lines(text: str) -> list[dict[str, object]]:
    """Return JSON lines after checking each against the schema in the package."""
    schema = json.loads(resources.files("ebpf_collector").joinpath("schema/check-lines.schema.json").read_text())
    found = [json.loads(line) for line in text.splitlines()]
    for line in found:
        jsonschema.validate(line, schema)
    return found


def test_check_prints_valid_lines_of_a_kill() -> None:
    with victims_cgroup() as group:
        process = subprocess.Popen(
            (*COMMAND, "check", "oom_kill", "--json", "--interval", "4"), stdout=subprocess.PIPE, text=True
        )
        wait_attached(process.pid)
        kill = kill_one(group, score_adj=77)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    events = [line for line in lines(output) if line["kind"] == "event"]
    fields = [event["fields"] for event in events]
    assert [item["score_adj"] for item in fields if item["victim_tgid"] == kill.pid] == [77]  # type: ignore[index]


@pytest.mark.any_kernel
def test_with_bpf_debug_a_check_writes_what_the_verifier_said_to_the_error_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = ("check", "oom_kill", "ebpf", "--json", "--interval", "0.1")
    assert run(*arguments).stderr == ""
    monkeypatch.setenv("BPF_DEBUG", "true")
    done = run(*arguments)
    assert done.returncode == 0
    assert lines(done.stdout)
    said = done.stderr.splitlines()
    assert all(line.startswith("ebpf-collector: check ") for line in said)
    for name in ("oom_kill", "ebpf"):
        assert any(line.startswith(f"ebpf-collector: check {name}: processed ") for line in said)


def wait_attached(pid: int) -> None:
    """Return when a process holds the same BPF links for a while; those of a trial go at once."""
    deadline = time.monotonic() + 60
    before: set[str] = set()
    while not before or links(pid) != before:
        assert time.monotonic() < deadline
        before = links(pid)
        time.sleep(0.5)


def links(pid: int) -> set[str]:
    """Return the lines with the ids of the BPF links that a process holds, as its file descriptors say."""
    found = set()
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # closed in the meantime
            found |= {line for line in path.read_text().splitlines() if line.startswith("link_id:")}
    return found


def test_check_all_prints_valid_lines_of_a_stalled_reader() -> None:
    with workers_cgroup() as group, connection(group) as ends:
        queues = ends.fill()
        done = run("check", "all", "--json", "--interval", "1")
    assert done.returncode == 0, done.stderr
    found = lines(done.stdout)
    probes = {tag for line in found if line.get("metric") == "ebpf_collector.probe_info" for tag in line["tags"]}  # type: ignore[attr-defined]
    assert {"probe:oom_kill", "probe:tcp_queue_length"} <= probes
    values = {
        line["metric"]: line["value"]
        for line in found
        if line["kind"] == "metric" and f"cgroup:{group.name}" in line["tags"]  # type: ignore[operator]
    }
    assert values == {
        "tcp_queue.read_buffer_max_usage_permille": queues.receive.permille,
        "tcp_queue.write_buffer_max_usage_permille": queues.send.permille,
        "tcp_queue.read_queue_max_bytes": queues.receive.queued_bytes,
        "tcp_queue.write_queue_max_bytes": queues.send.queued_bytes,
    }


def test_demo_shows_a_stalled_reader_and_the_forked_childs_kill_and_leaves_nothing() -> None:
    before = identifiers()
    enabled = controllers()
    done = run("demo")
    assert done.returncode == 0, done.stderr
    assert "loopback connection to port" in done.stdout
    assert "tcp_queue.write_queue_max_bytes" in done.stdout
    assert "child" in done.stdout
    assert "module:oom_kill" in done.stdout
    assert_nothing_new(before)
    assert not list(Path("/sys/fs/cgroup").glob("**/ebpf-collector-demo*"))
    assert controllers() == enabled


@pytest.mark.any_kernel
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(number: signal.Signals) -> None:
    before = identifiers()
    # Until main() runs, an interrupt is the interpreter's own affair.
    started = time.monotonic()
    run("--help")
    start_s = time.monotonic() - started
    for line in ("", "loopback connection", "receive queue", "memory cgroup", "forked child", "maps and programs"):
        process = subprocess.Popen((*COMMAND, "demo"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        if line:
            while not process.stdout.readline().startswith(line):
                assert process.poll() is None
        else:
            time.sleep(start_s)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert "Traceback" not in errors
        assert process.returncode in (0, -number, 128 + number), errors
    assert_nothing_new(before)
    assert not list(Path("/sys/fs/cgroup").glob("**/ebpf-collector-demo*"))


def controllers() -> dict[Path, str]:
    """Return what is enabled in each cgroup of version 2."""
    return {path: path.read_text() for path in Path("/sys/fs/cgroup").glob("**/cgroup.subtree_control")}


@pytest.fixture
def has_to_enable() -> Iterator[bool]:
    """Whether the demo has to enable the memory controller of version 2: so it is where nobody uses the controller."""
    control = Path("/sys/fs/cgroup/cgroup.subtree_control")
    unused = control.exists() and not any(path.is_dir() for path in control.parent.iterdir())
    enabled = unused and "memory" in control.read_text().split()
    assert unused or not control.exists() or not Path("/run/vmtest").exists()  # a guest has it for itself
    if enabled:
        control.write_text("-memory")
    yield unused
    if enabled:
        control.write_text("+memory")


def test_a_killed_demo_leaves_nothing(has_to_enable: bool) -> None:
    before = identifiers()
    enabled = controllers()
    was_enabled = False
    for line in ("loopback connection", "memory cgroup", "forked child", "maps and programs"):
        process = subprocess.Popen((*COMMAND, "demo"), stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        while not process.stdout.readline().startswith(line):
            assert process.poll() is None
        was_enabled = was_enabled or controllers() != enabled
        process.kill()
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
    assert was_enabled == has_to_enable
    assert_nothing_new(before)
    deadline = time.monotonic() + 30  # a process of its own removes the cgroup
    while left := list(Path("/sys/fs/cgroup").glob("**/ebpf-collector-demo*")) or controllers() != enabled:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@pytest.mark.skipif(os.geteuid() != 0, reason="drops the capabilities of root")
@pytest.mark.parametrize("name", ["oom_kill", "tcp_queue_length"])
def test_without_capabilities_one_line_and_exit_code_3(name: str) -> None:
    done = run("check", name, "--interval", "1", before=POWERLESS)
    assert done.returncode == 3
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "EPERM" in line
    assert "CAP_BPF" in line


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts as root")
def test_a_read_only_cgroup_hierarchy_is_named_as_such() -> None:
    hierarchy = find_hierarchy(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())
    assert hierarchy is not None
    # In a mount namespace of its own.
    script = 'mount -o remount,bind,ro "$0" && exec "$@"'
    done = run("demo", before=("unshare", "--mount", "sh", "-c", script, str(hierarchy.mount)))
    assert done.returncode == 3, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.endswith(": EROFS, read-only file system. Remount the cgroup hierarchy read-write.")


@pytest.mark.any_kernel
def test_closed_errors_leave_the_output_to_the_lines() -> None:
    done = run("demo", "--json", before=("sh", "-c", 'exec "$0" "$@" 2>&-'))
    assert done.returncode == 0
    assert "event" in [line["kind"] for line in lines(done.stdout)]


@pytest.mark.any_kernel
def test_an_unknown_check_is_a_usage_error() -> None:
    done = run("check", "nosuch")
    assert done.returncode == 2
    assert "nosuch" in done.stderr
    assert "oom_kill" in done.stderr
    assert "Traceback" not in done.stderr
