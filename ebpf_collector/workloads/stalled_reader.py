# SPDX-License-Identifier: Apache-2.0
"""A TCP connection to oneself whose reader does not read, so that data queues up at both ends."""

from __future__ import annotations

import fcntl
import socket
import termios
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from ebpf_collector.errors import WorkloadError, describe_errno

__all__ = ["Queue", "StalledReader", "stalled_reader"]

# Linux, include/uapi/asm-generic/socket.h: sizes beyond net.core.wmem_max and rmem_max, for CAP_NET_ADMIN.
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33
_CHUNK = bytes(1 << 16)
# Longer than the kernel waits before it probes a closed window, and perhaps finds room behind it.
_CALM_S = 0.5


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue of a socket, as the socket's own user sees it."""

    queued_bytes: int
    buffer_bytes: int
    """SO_RCVBUF or SO_SNDBUF."""

    @property
    def permille(self) -> int:
        """Thousandths of the buffer, rounded down."""
        return 1000 * self.queued_bytes // self.buffer_bytes


class StalledReader:
    """Both ends of a connection; made by `stalled_reader()`."""

    def __init__(self, reader: socket.socket, writer: socket.socket) -> None:
        """Take the connected sockets; the writer's must not block."""
        self._reader = reader
        self._writer = writer

    @property
    def port(self) -> int:
        """The reader's port; its address is 127.0.0.1."""
        port: int = self._reader.getsockname()[1]
        return port

    def fill(self, timeout_s: float = 30.0) -> None:
        """Write until both queues have been as long as they get for a moment.

        Raises:
            WorkloadError: There was still room after *timeout_s* seconds.
        """
        deadline = time.monotonic() + timeout_s
        before = None
        while True:
            self._write_all()
            now = self.receive_queue(), self.send_queue()
            if now == before:
                return
            if time.monotonic() > deadline:
                raise WorkloadError(
                    f"fill the connection to port {self.port}",
                    f"the queues still grew after {timeout_s:g} s",
                    "Run the command again.",
                )
            before = now
            time.sleep(_CALM_S)

    def write(self, data: bytes) -> int:
        """Write what of *data* fits, and return how many bytes did."""
        try:
            return self._writer.send(data)
        except BlockingIOError:
            return 0

    def read(self, size: int) -> bytes:
        """Read up to *size* bytes of what is there."""
        return self._reader.recv(size)

    def receive_queue(self) -> Queue:
        """Return the reader's queue of bytes it has not read."""
        return _queue(self._reader, termios.FIONREAD, socket.SO_RCVBUF)

    def send_queue(self) -> Queue:
        """Return the writer's queue of bytes the other end has not acknowledged."""
        return _queue(self._writer, termios.TIOCOUTQ, socket.SO_SNDBUF)

    def _write_all(self) -> None:
        while self.write(_CHUNK):
            pass


@contextmanager
def stalled_reader(*, read_buffer_bytes: int = 0, write_buffer_bytes: int = 0) -> Iterator[StalledReader]:
    """Connect to oneself on the loopback interface; the connection is gone after the block.

    Args:
        read_buffer_bytes: The reader's SO_RCVBUF, of which the kernel makes the double; 0 leaves
            it to the kernel. Needs CAP_NET_ADMIN.
        write_buffer_bytes: The same for the writer's SO_SNDBUF.
    Raises:
        WorkloadError: The kernel refused.
    """
    try:
        reader, writer = _connect(read_buffer_bytes, write_buffer_bytes)
    except OSError as error:
        raise WorkloadError(
            "make a connection on the loopback interface",
            describe_errno(error.errno),
            "See whether the interface lo is up.",
            error.errno,
        ) from None
    with reader, writer:
        yield StalledReader(reader, writer)


def _connect(read_buffer_bytes: int, write_buffer_bytes: int) -> tuple[socket.socket, socket.socket]:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        writer = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        # The window's scale is fixed when the connection is made; accepted sockets inherit the size.
        _force(listener, _SO_RCVBUFFORCE, read_buffer_bytes)
        _force(writer, _SO_SNDBUFFORCE, write_buffer_bytes)
        writer.connect(listener.getsockname())
        reader, _ = listener.accept()
        listener.close()
        writer.setblocking(False)
        stack.pop_all()
        return reader, writer


def _force(end: socket.socket, option: int, size: int) -> None:
    if size:
        end.setsockopt(socket.SOL_SOCKET, option, size)


def _queue(end: socket.socket, request: int, option: int) -> Queue:
    answer = fcntl.ioctl(end, request, bytes(4))
    return Queue(int.from_bytes(answer, "little"), end.getsockopt(socket.SOL_SOCKET, option))
