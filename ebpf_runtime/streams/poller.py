# SPDX-License-Identifier: Apache-2.0
"""Several streams in one wait."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from ebpf_runtime.errors import MapError
from ebpf_runtime.handles import Handle
from ebpf_runtime.maps import Map

from .stream import Stream
from .waiting import Waiter

__all__ = ["Poller", "poll_all"]


class Poller(Handle):
    """Waits for records of several streams at once, with one epoll; `with` closes it, and none of the streams.

    Attributes:
        streams: The streams, in the order in which they are asked.
    Raises:
        TypeError: What is given is no stream.
        MapError: A stream is given twice or closed, or a perf buffer cannot be opened.
    """

    _closed = True  # until there is something to close

    def __init__(self, *streams: Stream[Any]) -> None:
        for index, stream in enumerate(streams):
            if not isinstance(stream, Stream):
                what = f"map {stream.name!r}" if isinstance(stream, Map) else repr(stream)
                raise TypeError(
                    f"poll {what}: {type(stream).__name__} is no stream to read. Give ring buffers and perf buffers."
                )
            if stream in streams[:index]:
                raise MapError(f"poll map {stream.name!r}: it is given twice. Give each stream once.", name=stream.name)
        self.streams = streams
        self._waiter = Waiter(fd for stream in streams for fd in stream._descriptors())
        self._closed = False
        for stream in streams:
            stream._watchers.add(self._waiter)

    def poll(self, timeout: float | None = None) -> Iterator[tuple[Stream[Any], Any]]:
        """Wait for records of any stream and yield (stream, record) for those that are there.

        Args:
            timeout: Seconds to wait for the first record; 0 only drains, None waits without limit.
        Yields:
            Records in the order of their stream. Those not seen, because the consumer of the iterator stops early or
            raises, are delivered by the next call of any kind.
        Raises:
            MapError: The poller or a stream is closed, a stream is read by another thread, or this is a forked child.
            RecordError: A record is shorter than the bound type; it is dropped.
        """
        self._waiter.wait(self._ready, timeout)
        yield from self._each()

    def __iter__(self) -> Iterator[tuple[Stream[Any], Any]]:
        """Yield (stream, record) for ever, waiting for them."""
        while True:
            yield from self.poll()

    async def __aiter__(self) -> AsyncIterator[tuple[Stream[Any], Any]]:
        """Yield (stream, record) for ever, waiting for them on the running loop of asyncio."""
        every = min((stream._LOOK_S for stream in self.streams if stream._LOOK_S is not None), default=None)
        while True:
            await self._waiter.wait_async(self._ready, every)
            for pair in self._each():
                yield pair

    def consume(self, callback: Callable[[Stream[Any], Any], object], timeout: float | None = 0) -> int:
        """Call *callback* with stream and record for all that are there; return how many there were."""
        count = 0
        for stream, record in self.poll(timeout):
            count += 1
            callback(stream, record)
        return count

    def _ready(self) -> bool:
        if self._closed:
            names = ", ".join(repr(stream.name) for stream in self.streams)
            raise MapError(f"poll maps {names}: the poller is closed.", name=names)
        ready = [stream._ready_to_read() for stream in self.streams]  # each is drained, not the first alone
        return any(ready)

    def _each(self) -> Iterator[tuple[Stream[Any], Any]]:
        for stream in self.streams:
            for record in stream.poll(0):
                yield stream, record

    def close(self) -> None:
        """Free the epoll; the streams stay open. Whoever waits in another thread or in a task gets a MapError."""
        if self._closed:
            return
        self._closed = True
        for stream in self.streams:
            stream._watchers.discard(self._waiter)
        try:
            self._waiter.wake()
        finally:
            self._waiter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def poll_all(streams: Sequence[Stream[Any]], timeout: float | None = None) -> Iterator[tuple[Stream[Any], Any]]:
    """Wait for records of several streams and yield (stream, record) for those that are there; see `Poller.poll`.

    Who calls it again and again keeps a `Poller` instead.

    Raises:
        TypeError: One map is given, and no sequence of streams.
    """
    if isinstance(streams, Map):  # going through its records would eat them
        raise TypeError(
            f"poll map {streams.name!r}: poll_all() takes a sequence of streams. Give a list, or call its poll()."
        )
    with Poller(*streams) as poller:
        yield from poller.poll(timeout)
