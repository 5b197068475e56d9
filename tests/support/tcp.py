# SPDX-License-Identifier: Apache-2.0
"""A TCP connection whose reader stalls, in a process and a control group of its own, and what ss(8) says of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, NoReturn

from ebpf_collector.workloads.memory_cgroup import MemoryCgroup
from ebpf_collector.workloads.stalled_reader import Queue, StalledReader, stalled_reader
from tests.support.kills import victims_cgroup

__all__ = ["Connection", "Witness", "connection", "ss", "workers_cgroup"]

_LIMIT_BYTES = 512 << 20
_SKMEM = re.compile(r"skmem:\(r\d+,rb(\d+),t\d+,tb(\d+),")


@dataclass(frozen=True)
class Witness:
    """Both queues of one connection, each at the end that has it."""

    receive: Queue
    send: Queue


class Connection:
    """The child process that has both ends."""

    def __init__(self, requests: IO[str], answers: IO[str], pid: int) -> None:
        self.pid = pid
        self._requests = requests
        self._answers = answers
        self.port = self._ask("port")[0]

    def _ask(self, *words: object) -> list[int]:
        print(*words, file=self._requests, flush=True)
        line = self._answers.readline()
        assert line, "the child with the connection has ended"
        answer: list[int] = json.loads(line)
        return answer

    def fill(self) -> Witness:
        """Write until both queues are full and calm; return them as the child's own ioctl(2) calls have them."""
        self._ask("fill")
        return self.queues()

    def write(self, size: int) -> int:
        """Write that many bytes in one call; return how many there was room for."""
        return self._ask("write", size)[0]

    def read(self, size: int) -> int:
        """Read up to that many bytes in one call; return how many there were."""
        return self._ask("read", size)[0]

    def queues(self) -> Witness:
        receive_bytes, receive_buffer, send_bytes, send_buffer = self._ask("queues")
        return Witness(Queue(receive_bytes, receive_buffer), Queue(send_bytes, send_buffer))


@contextmanager
def workers_cgroup() -> Iterator[MemoryCgroup]:
    """A memory cgroup with room enough."""
    with victims_cgroup(_LIMIT_BYTES) as group:
        yield group


@contextmanager
def connection(group: MemoryCgroup, *, read_buffer_bytes: int = 0, write_buffer_bytes: int = 0) -> Iterator[Connection]:
    """Fork a child that moves itself into *group* and connects to itself; it is gone after the block."""
    requests_reader, requests_writer = os.pipe()
    answers_reader, answers_writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(requests_writer)
        os.close(answers_reader)
        _serve(group, requests_reader, answers_writer, read_buffer_bytes, write_buffer_bytes)
    os.close(requests_reader)
    os.close(answers_writer)
    try:
        with os.fdopen(requests_writer, "w") as requests, os.fdopen(answers_reader) as answers:
            yield Connection(requests, answers, pid)
    finally:
        os.waitpid(pid, 0)  # the closed pipe ends it


def _serve(group: MemoryCgroup, requests: int, answers: int, read_buffer: int, write_buffer: int) -> NoReturn:
    try:
        group.add_self()
        with (
            stalled_reader(read_buffer_bytes=read_buffer, write_buffer_bytes=write_buffer) as ends,
            os.fdopen(requests) as lines,
            os.fdopen(answers, "w") as output,
        ):
            for line in lines:
                word, *arguments = line.split()
                print(json.dumps(_do(ends, word, [int(number) for number in arguments])), file=output, flush=True)
    finally:
        os._exit(0)


def _do(ends: StalledReader, word: str, arguments: list[int]) -> list[int]:
    match word:
        case "port":
            return [ends.port]
        case "fill":
            ends.fill(120)
            return []
        case "write":
            return [ends.write(bytes(arguments[0]))]
        case "read":
            return [len(ends.read(arguments[0]))]
        case _:
            receive, send = ends.receive_queue(), ends.send_queue()
            return [receive.queued_bytes, receive.buffer_bytes, send.queued_bytes, send.buffer_bytes]


def ss(port: int) -> Witness:
    """Return both queues as ss(8) of iproute2 has them, which asks the kernel by netlink."""
    receive, _, receive_buffer, _ = _ss_line(f"sport = :{port}")
    _, send, _, send_buffer = _ss_line(f"dport = :{port}")
    return Witness(Queue(receive, receive_buffer), Queue(send, send_buffer))


def _ss_line(choice: str) -> tuple[int, int, int, int]:
    done = subprocess.run(["ss", "-tnmiHO", choice], capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    _, receive, send, *_ = line.split()
    skmem = _SKMEM.search(line)
    assert skmem, line
    return int(receive), int(send), int(skmem[1]), int(skmem[2])
