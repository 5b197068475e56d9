# SPDX-License-Identifier: Apache-2.0
"""What tagged members of a record that the kernel wrote mean, by this process's own account of itself."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.programs import GETPPID
from tests.support.sources import make_module, write_source

pytestmark = pytest.mark.kernel

SOURCE = """
#include "tags.bpf.h"

struct call {
	__u64 made_ns TIMESTAMP_NS;
	__u64 boot_ns TIMESTAMP_BOOT;
	__u64 cgroup_id CGROUP_ID;
	__s64 result ERRNO;
	__be32 address IPV4;
	__be16 port PORT_BE;
	__u8 comm[16] STRING;
	__u8 pad0[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} calls SEC(".maps");

const volatile __u32 wanted_pid;
const volatile __u32 wanted_call;

SEC("raw_tp/sys_enter")
int made_call(struct bpf_raw_tracepoint_args *ctx)
{
	struct call *call;

	if (bpf_get_current_pid_tgid() >> 32 != wanted_pid || ctx->args[1] != wanted_call)
		return 0;
	call = bpf_ringbuf_reserve(&calls, sizeof(*call), 0);
	if (!call)
		return 0;
	call->made_ns = bpf_ktime_get_ns();
	call->boot_ns = bpf_ktime_get_boot_ns();
	call->cgroup_id = bpf_get_current_cgroup_id();
	call->result = -13;
	call->address = __builtin_bswap32(0xc0000201);
	call->port = __builtin_bswap16(443);
	bpf_get_current_comm(call->comm, sizeof(call->comm));
	call->pad0[0] = call->pad0[1] = 0;
	bpf_ringbuf_submit(call, 0);
	return 0;
}
"""


def test_members_mean_what_their_tags_say(tmp_path: Path) -> None:
    opened = make_module(tmp_path, write_source(tmp_path, "calls", SOURCE)).Calls.open()
    opened.rodata.wanted_pid = os.getpid()
    opened.rodata.wanted_call = GETPPID
    with opened.load() as probe:
        probe.attach()
        before = datetime.now(UTC)
        os.getppid()
        after = datetime.now(UTC)
        (call,) = list(probe.maps.calls.poll(1.0))
    slack = timedelta(milliseconds=5)
    found: Any = call
    assert before - slack <= found.made_time <= after + slack
    assert before - slack <= found.boot_time <= after + slack
    assert found.result_name == "EACCES"
    assert (str(found.address_ip), found.port_host) == ("192.0.2.1", 443)
    assert found.comm_text == Path("/proc/self/comm").read_text().rstrip("\n")
    assert found.comm == found.comm_text.encode().ljust(16, b"\0")
    own = [line.partition("::")[2] for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::"]
    assert [found.cgroup_path] == own
