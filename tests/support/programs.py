# SPDX-License-Identifier: Apache-2.0
"""What the tests of programs share: counters in C, a network namespace with traffic, and skips by the kernel's word."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from ebpf_runtime import EbpfError
from ebpf_runtime.features import has_program_type
from ebpf_runtime.hooks import hook_of

__all__ = [
    "COUNTERS",
    "GETPPID",
    "in_namespace",
    "load_mine",
    "missing",
    "run",
    "send",
    "skip_if_missing",
    "skip_without_cookies",
]

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
GETPPID = {"x86_64": 110, "aarch64": 173}[os.uname().machine]  # number of the system call

COUNTERS = """
/* How often each program ran. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 32);
	__type(key, __u32);
	__type(value, __u64);
} runs SEC(".maps");

const volatile __u32 wanted_pid = 0;

static __always_inline __attribute__((unused)) int count(__u32 index)
{
	__u64 *value = bpf_map_lookup_elem(&runs, &index);

	if (value)
		__sync_fetch_and_add(value, 1);
	return 0;
}

static __always_inline __attribute__((unused)) int count_mine(__u32 index)
{
	return bpf_get_current_pid_tgid() >> 32 == wanted_pid ? count(index) : 0;
}
"""


def load_mine(opened: Any) -> Any:
    """Load a probe that counts what this process does."""
    opened.rodata.wanted_pid = os.getpid()
    return opened.load()


def run(*command: str) -> None:
    """Run a command of the machine; what it says is in the error where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, f"{' '.join(command)}: {done.stdout}{done.stderr}"


def missing(section: str, floor: str) -> pytest.MarkDecorator:
    """Return a mark that skips a test where the kernel takes no programs of a section, as from *floor* on."""
    hook = hook_of(section)
    lacks = has_program_type(hook.program_type, hook.attach_type) is False
    return pytest.mark.skipif(lacks, reason=f"the kernel takes no programs of section {section} (before {floor})")


def skip_if_missing(error: EbpfError) -> None:
    """Skip where the kernel has no such hook by its own answer; raise the error otherwise."""
    if not error.feature:
        raise error
    pytest.skip(f"the kernel has no {error.feature} (before {error.minimum_kernel})")


def skip_without_cookies(said: str, what: str, floor: str) -> None:
    """Skip where the verifier said that such programs have no cookie to read, as from *floor* on they have."""
    if "#174" in said:  # bpf_get_attach_cookie
        pytest.skip(f"the kernel has no cookies for {what} (before {floor})")


def in_namespace(work: Callable[[], T]) -> T:
    """Run in a thread that has a network namespace of its own, whose loopback device is up."""
    results: list[Any] = []

    def run() -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "unshare")
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            results.append(work())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(results[0], BaseException):
        raise results[0]
    return results[0]  # type: ignore[no-any-return]


def send(packets: int) -> None:
    """Send UDP packets to this host, and take them in."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(packets):
                sender.sendto(b"packet", receiver.getsockname())
                receiver.recv(64)
