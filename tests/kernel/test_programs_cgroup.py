# SPDX-License-Identifier: Apache-2.0
"""Every kind of program of a cgroup, on what this process does in one."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ebpf_runtime import AttachError, CgroupProgram, CoReError, EbpfError, ProbeConfig
from tests.support.programs import COUNTERS
from tests.support.sources import make_module, write_source

pytestmark = pytest.mark.kernel

NO_FALLBACK = ProbeConfig(allow_runtime_compiled_fallback=False)
SECTIONS = (
    "cgroup/sock_create", "cgroup/sock", "cgroup/sock_release", "cgroup/bind4", "cgroup/post_bind4", "cgroup/connect4",
    "cgroup/getpeername4", "cgroup/getsockname4", "cgroup/sendmsg4", "cgroup/recvmsg4", "cgroup/bind6",
    "cgroup/post_bind6", "cgroup/connect6", "cgroup/getpeername6", "cgroup/getsockname6", "cgroup/sendmsg6",
    "cgroup/recvmsg6", "cgroup/getsockopt", "cgroup/setsockopt", "cgroup/sysctl", "cgroup/dev",
    "cgroup_skb/ingress", "cgroup_skb/egress", "cgroup/skb", "sockops",
)  # fmt: skip
UNIX = tuple(f"cgroup/{what}_unix" for what in ("connect", "getpeername", "getsockname", "sendmsg", "recvmsg"))


def programs(sections: tuple[str, ...]) -> str:
    """Return a program for each section that counts, and allows everything."""
    return COUNTERS + "".join(
        f'SEC("{section}")\nint p{number}(void *ctx) {{ count({number}); return 1; }}\n'
        for number, section in enumerate(sections)
    )


def speak(family: int, host: str) -> None:
    """Make a listener's half of a UDP conversation: one socket sends to another that is bound, and is answered."""
    with socket.socket(family, socket.SOCK_DGRAM) as near, socket.socket(family, socket.SOCK_DGRAM) as far:
        near.settimeout(20)
        far.settimeout(20)
        far.bind((host, 0))
        near.sendto(b"packet", far.getsockname())
        assert far.recvfrom(64)[0] == b"packet"
        near.connect(far.getsockname())
        assert near.getpeername() == far.getsockname()


def read_setting() -> None:
    fd = os.open("/proc/sys/kernel/ostype", os.O_RDONLY)
    assert os.read(fd, 64) == b"Linux\n"
    os.close(fd)


def open_device() -> None:
    Path("/dev/zero").open("rb", buffering=0).close()


def set_and_get_an_option() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        one.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        server.accept()[0].close()


# What this process does -> how often each kind counts that.
ACTIONS: tuple[tuple[Callable[[], None], dict[str, int]], ...] = (
    (
        lambda: speak(socket.AF_INET, "127.0.0.1"),
        {
            "cgroup/sock_create": 2, "cgroup/sock": 2, "cgroup/sock_release": 2, "cgroup/bind4": 1,
            "cgroup/post_bind4": 1, "cgroup/connect4": 1, "cgroup/getpeername4": 1, "cgroup/getsockname4": 3,
            "cgroup/sendmsg4": 1, "cgroup/recvmsg4": 1, "cgroup_skb/ingress": 1, "cgroup_skb/egress": 1,
            "cgroup/skb": 1,
        },
    ),
    (
        lambda: speak(socket.AF_INET6, "::1"),
        {
            "cgroup/sock_create": 2, "cgroup/bind6": 1, "cgroup/post_bind6": 1, "cgroup/connect6": 1,
            "cgroup/getpeername6": 1, "cgroup/getsockname6": 3, "cgroup/sendmsg6": 1, "cgroup/recvmsg6": 1,
        },
    ),
    (read_setting, {"cgroup/sysctl": 1, "cgroup/dev": 0}),
    (open_device, {"cgroup/dev": 1, "cgroup/sysctl": 0}),
    (set_and_get_an_option, {"cgroup/setsockopt": 1, "cgroup/getsockopt": 1}),
)  # fmt: skip


def test_every_kind_counts_what_its_cgroup_does(tmp_path: Path, cgroup: Path) -> None:
    module = make_module(tmp_path, write_source(tmp_path, "groups", programs(SECTIONS)))
    with module.Groups.open(NO_FALLBACK).load() as probe:
        for _, program in probe.programs:
            assert type(program) is CgroupProgram
            program.attach(cgroup=cgroup)
        for act, expected in ACTIONS:
            before = [probe.maps.runs[index] for index in range(len(SECTIONS))]
            act()
            seen = {name: probe.maps.runs[index] - before[index] for index, name in enumerate(SECTIONS)}
            assert {name: seen[name] for name in expected} == expected
        before = probe.maps.runs[SECTIONS.index("sockops")]
        connect()
        assert probe.maps.runs[SECTIONS.index("sockops")] >= before + 4
        probe.detach()
        before = [probe.maps.runs[index] for index in range(len(SECTIONS))]
        for act, _ in ACTIONS:
            act()
        assert [probe.maps.runs[index] for index in range(len(SECTIONS))] == before


def test_a_program_of_a_cgroup_forbids(tmp_path: Path, cgroup: Path) -> None:
    code = 'SEC("cgroup/sock_create")\nint forbid(void *ctx) { return 0; }\n'
    code += 'SEC("cgroup/sock_create")\nint allow(void *ctx) { return 1; }\n'
    with make_module(tmp_path, write_source(tmp_path, "groups", code)).Groups.open(NO_FALLBACK).load() as probe:
        link = probe.programs.forbid.attach(cgroup=cgroup)
        with pytest.raises(PermissionError):
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        link.update(probe.programs.allow)
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
        with pytest.raises(AttachError) as caught:
            probe.programs.forbid.attach(cgroup="/proc")
        assert str(caught.value) == (
            "attach program 'forbid' to cgroup /proc: EBADF, bad file descriptor. "
            "It is no directory of a cgroup of version 2."
        )


def test_kinds_of_unix_sockets(tmp_path: Path, cgroup: Path) -> None:
    module = make_module(tmp_path, write_source(tmp_path, "groups", programs(UNIX)))
    try:
        probe: Any = module.Groups.open(NO_FALLBACK).load()
    except CoReError as error:
        cause = error.__cause__
        assert isinstance(cause, EbpfError)
        assert (cause.feature, cause.minimum_kernel) == ("cgroup programs on Unix sockets", "6.7")
        pytest.skip("the kernel has no cgroup programs on Unix sockets (before 6.7)")
    with probe:
        for _, program in probe.programs:
            program.attach(cgroup=cgroup)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as far:
            far.bind(f"\0far-{os.getpid()}")
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as near:
                near.bind(f"\0near-{os.getpid()}")
                near.sendto(b"packet", far.getsockname())
                assert far.recvfrom(64)[0] == b"packet"
                near.connect(far.getsockname())
                near.getpeername()
        runs = [probe.maps.runs[index] for index in range(len(UNIX))]
        assert dict(zip(UNIX, runs, strict=True)) == {
            "cgroup/connect_unix": 1,
            "cgroup/getpeername_unix": 1,
            "cgroup/getsockname_unix": 2,
            "cgroup/sendmsg_unix": 1,
            "cgroup/recvmsg_unix": 1,
        }
