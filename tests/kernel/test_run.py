# SPDX-License-Identifier: Apache-2.0
"""`ebpf-codegen run`: from BPF C to lines of events, in the running kernel."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.kernel import assert_nothing_new, identifiers
from tests.support.programs import GETPPID

pytestmark = pytest.mark.kernel

COMMAND = (sys.executable, "-P", "-m", "ebpf_codegen", "run")
HEAD = """\
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include "probe.bpf.h"
"""
SOURCE = (
    HEAD
    + """
enum side { SIDE_NONE, SIDE_LEFT };

struct call_event {
	__u8 flag;
	__u32 pid; /* behind a hole, which sources that are only run may have */
	enum side side;
	__u8 address[3];
	char comm[16];
};

const volatile __u32 wanted_pid = 0;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} calls SEC(".maps");
RINGBUF_RECORD(calls, struct call_event);

SEC("raw_tp/sys_enter")
int on_call(struct bpf_raw_tracepoint_args *ctx)
{
	struct call_event *event;

	if (ctx->args[1] != NUMBER || bpf_get_current_pid_tgid() >> 32 != wanted_pid)
		return 0;
	event = bpf_ringbuf_reserve(&calls, sizeof(*event), 0);
	if (!event)
		return 0;
	event->flag = 1;
	event->pid = wanted_pid;
	event->side = SIDE_LEFT;
	event->address[0] = 0xab;
	event->address[1] = 0;
	event->address[2] = 1;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	bpf_ringbuf_submit(event, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
""".replace("NUMBER", str(GETPPID))
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "calls.bpf.c"
    path.write_text(SOURCE)
    return path


def run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@contextmanager
def started(*words: object) -> Iterator[subprocess.Popen[str]]:
    """Start the command and wait until its programs are attached."""
    command = [*COMMAND, *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert first.endswith("; Ctrl-C ends\n"), first + process.stderr.read()
        try:
            yield process
        finally:
            process.kill()


def test_events_are_printed_until_there_are_enough(source: Path) -> None:
    before = identifiers()
    with started(source, "--set", f"wanted_pid={os.getpid()}", "--count", 3) as process:
        for _ in range(5):
            os.getppid()
        out, err = process.communicate(timeout=60)
    comm = Path("/proc/self/comm").read_text().strip()
    line = f"calls  flag=1 pid={os.getpid()} side=LEFT address={'[171, 0, 1]'} comm={comm!r}\n"
    assert (process.returncode, err) == (0, "")
    assert [part.replace("ab0001", "[171, 0, 1]") for part in out.splitlines(keepends=True)] == [line] * 3
    assert_nothing_new(before)


@pytest.mark.any_kernel
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(
    number: signal.Signals, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = identifiers()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    with started(source, "--json", "--set", f"wanted_pid={os.getpid()}") as process:
        os.getppid()
        assert process.stdout is not None
        line = json.loads(process.stdout.readline())
        assert (line["source"], line["type"], line["fields"]["pid"]) == ("calls", "CallEvent", os.getpid())
        assert line["fields"]["side"] == "LEFT"
        if number == signal.SIGINT:  # as the terminal does: to the whole group; here, to both of them
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                os.kill(int(child), number)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")
    assert_nothing_new(before)
    assert list(scratch.iterdir()) == []


ITERATOR = """
struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} __attribute__((preserve_access_index));

struct row {
	__u32 pid;
};

SEC("iter/task")
int tasks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct row row = {};

	if (!task)
		return 0;
	row.pid = task->pid;
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
"""


@pytest.mark.any_kernel
def test_iterators_are_printed_once(tmp_path: Path) -> None:
    path = tmp_path / "tasks.bpf.c"
    path.write_text(HEAD + ITERATOR)
    done = run(path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"tasks  pid={os.getpid()}\n" in done.stdout
    assert len(done.stdout.splitlines()) > 10


@pytest.mark.any_kernel
def test_what_has_no_place_of_its_own_is_said(tmp_path: Path) -> None:
    path = tmp_path / "packets.bpf.c"
    text = 'SEC("xdp")\nint drop(void *ctx)\n{\n\treturn 2;\n}\n\nchar LICENSE[] SEC("license") = "GPL";\n'
    path.write_text(HEAD + text)
    with subprocess.Popen([*COMMAND, str(path)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == ("ebpf-codegen: program 'drop' is not attached: it needs ifindex\n")
        assert process.stderr.readline() == "ebpf-codegen: packets: attached, with nothing to print; Ctrl-C ends\n"
        process.terminate()
        assert process.wait(60) == 0


@pytest.mark.any_kernel
def test_no_such_variable_is_usage(source: Path) -> None:
    done = run(source, "--set", "pid=1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("ebpf-codegen: set variable 'pid': there is none of this name. There are wanted_pid.\n")


@pytest.mark.any_kernel
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--count", "0"], "argument --count: '0' is not a whole number above 0"),
        (["--set", "1=2"], "argument --set: '1=2' is not NAME=VALUE"),
    ],
)
def test_usage(words: list[str], message: str, source: Path) -> None:
    done = run(source, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"ebpf-codegen run: error: {message}\n")


@pytest.mark.any_kernel
def test_what_the_compiler_refuses(source: Path) -> None:
    source.write_text(SOURCE + "this is no C;\n")
    done = run(source)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"ebpf-codegen: compile {source} for ")
    assert "Traceback" not in done.stderr


@pytest.mark.any_kernel
def test_what_the_verifier_refuses(source: Path) -> None:
    source.write_text(SOURCE.replace("if (!event)", "if (0)"))
    done = run(source)
    assert (done.returncode, done.stdout) == (1, "")
    assert "on_call" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_privilege(source: Path) -> None:
    powerless = ("setpriv", "--inh-caps=-all", "--bounding-set=-all")
    done = subprocess.run((*powerless, *COMMAND, str(source)), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("ebpf-codegen: ")
    assert len(done.stderr.splitlines()) == 1
