# SPDX-License-Identifier: Apache-2.0
"""Runs: what one drain of a buffer gave, and where the records are in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache
from operator import length_hint
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from ebpf_runtime.records import Field

__all__ = ["Layout", "RecordBatch", "Run", "Sizes", "even", "unpacker"]

R = TypeVar("R", covariant=True)

_LISTED = 1 << 14  # records of equal size in a row, at most, whose starts are kept for the next run
_LOOK = 16  # records that are compared first; each further look is at four times as many


def even(heads: memoryview) -> int:
    """Return how many elements at the beginning of a view are equal: compared with themselves, shifted by one."""
    total = len(heads)
    reached, look = 1, _LOOK
    while reached < total:
        stop = min(total, look)
        if heads[reached:stop] == heads[reached - 1 : stop - 1]:
            reached, look = stop, look * 4
            continue
        while stop - reached > 1:
            middle = (reached + stop) // 2
            if heads[reached:middle] == heads[reached - 1 : middle - 1]:
                reached = middle
            else:
                stop = middle
        return reached
    return total


class Sizes(Sequence[int]):
    """Sizes of records: each of them, or a look at the headers when one is asked for; and which different ones occur.

    *words* are the block's, and *back* is how many of them the size stands before a record.
    """

    __slots__ = ("_back", "_starts", "_values", "different")

    def __init__(
        self, values: Sequence[int] | memoryview, different: Collection[int], starts: Sequence[int] = (), back: int = 0
    ) -> None:
        self._values = values
        self._starts = starts
        self._back = back
        self.different = different

    @property
    def headers(self) -> tuple[Sequence[int] | memoryview, int] | None:
        """The block's words, and how many of them the size stands before a record; None where sizes are listed."""
        return (self._values, self._back) if self._back else None

    def __len__(self) -> int:
        return len(self._starts) if self._back else len(self._values)

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...
    def __getitem__(self, index: int | slice) -> int | list[int]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        return int(self._values[(self._starts[index] >> 2) - self._back if self._back else index])


class Layout:
    """Where the records of a run are.

    Attributes:
        starts: Where each record's bytes start; a range where all have one size and nothing else is between them. See
            `own`.
        sizes: Bytes of each record; one number where all have the same; None where their headers say, see `sizes_in`.
        end: Where the run ends; what is behind it is not committed.
        discarded: Records left out, because the program discarded them.
        lost: Records that the kernel says it had no room for.
    """

    __slots__ = ("_back", "_different", "_sizes", "discarded", "end", "lost", "starts")

    def __init__(
        self,
        starts: Sequence[int],
        sizes: int | Sizes | None,
        end: int,
        *,
        different: Collection[int] = (),
        back: int = 0,
        discarded: int = 0,
        lost: int = 0,
    ) -> None:
        self.starts = starts
        self._sizes = sizes
        self._different = different
        self._back = back
        self.end = end
        self.discarded = discarded
        self.lost = lost

    def own(self) -> None:
        """Copy starts that are in memory which the next walk uses again."""
        if isinstance(self.starts, memoryview):
            self.starts = memoryview(self.starts.tobytes()).cast("I")

    def sizes_in(self, block: Any) -> int | Sizes:
        """Return the sizes of the records in the block that they are in."""
        if self._sizes is not None:
            return self._sizes
        return Sizes(memoryview(block).cast("B").cast("I"), self._different, self.starts, self._back)


class Run:
    """A drained run: an owned block, where its records are, and an iterator over those not yet delivered.

    All who deliver from the run take from the same iterator, so whatever they interleave, each record is taken once.
    """

    __slots__ = ("block", "cursor", "sizes", "starts")

    def __init__(self, block: bytes, starts: Sequence[int], sizes: int | Sizes) -> None:
        self.block = block
        # A tuple gives out the integers that it has; a range, or an array of C numbers, makes them anew.
        self.starts: range | tuple[int, ...]
        if isinstance(starts, range):
            self.starts = _listed(starts) if len(starts) <= _LISTED else starts
        else:
            self.starts = tuple(starts)
        self.sizes = sizes
        self.cursor: Iterator[int] = iter(self.starts)

    def left(self) -> int:
        """Return how many records are not delivered."""
        return length_hint(self.cursor)

    def next_index(self) -> int:
        """Return the index of the first record that is not delivered."""
        return len(self.starts) - length_hint(self.cursor)

    def finish(self) -> None:
        """Take all that is left."""
        deque(self.cursor, maxlen=0)

    def size(self, index: int) -> int:
        return self.sizes if isinstance(self.sizes, int) else self.sizes[index]

    def headers(self) -> tuple[Sequence[int] | memoryview, int] | None:
        """Return the block's words and how many of them the size stands before a record, where sizes are read there."""
        return None if isinstance(self.sizes, int) else self.sizes.headers

    def smallest(self) -> int:
        return self.sizes if isinstance(self.sizes, int) else min(self.sizes.different, default=0)

    def rest(self) -> tuple[Sequence[int], int | Sizes]:
        """Return starts and sizes of the records that are not delivered."""
        first = self.next_index()
        if isinstance(self.sizes, int):
            return self.starts[first:], self.sizes
        return self.starts[first:], Sizes(self.sizes[first:], self.sizes.different)


@lru_cache(maxsize=2)
def _listed(starts: range) -> tuple[int, ...]:
    """Return what is in a range, for one piece of a buffer after the other: full ones are mostly the same."""
    return tuple(starts)


def unpacker(field: Field | None) -> Callable[[Any, int, int], Any]:
    """Return what makes a record of (block, start, size); bytes where no type is bound.

    A field that picks among several record types has a method `unpack_sized(block, base, size)` for it.
    """
    if field is None:
        return lambda block, start, size: bytes(block[start : start + size])
    sized: Callable[[Any, int, int], Any] | None = getattr(field, "unpack_sized", None)
    if sized is not None:
        return sized
    unpack = field.unpack
    return lambda block, start, _size: unpack(block, start)


class RecordBatch(Sequence[R]):
    """Records of any sizes in one block of memory, as a sequence.

    Attributes:
        data: The block; record *i* is `data[starts[i] : starts[i] + sizes[i]]`.
        starts: Bytes from the beginning of the block to each record.
        sizes: Bytes of each record.
    """

    __slots__ = ("_least", "_sizes", "_unpack", "data", "starts")

    def __init__(
        self, data: memoryview | bytes, starts: Sequence[int], sizes: int | Sizes, field: Field | None
    ) -> None:
        self.data = data
        self.starts = starts
        self._sizes = sizes
        self._unpack = unpacker(field)
        self._least = field.size if field is not None else 0

    @property
    def sizes(self) -> Sequence[int]:
        return [self._sizes] * len(self.starts) if isinstance(self._sizes, int) else self._sizes

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> list[R]: ...
    def __getitem__(self, index: int | slice) -> R | list[R]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        start = self.starts[index]
        size = self._sizes if isinstance(self._sizes, int) else self._sizes[index]
        if size < self._least:
            from ebpf_runtime.errors import RecordError

            raise RecordError(
                f"read record {index} of a batch: {size} bytes are fewer than the {self._least} of its type."
            )
        record: R = self._unpack(self.data, start, size)
        return record

    def __repr__(self) -> str:
        return f"<RecordBatch of {len(self)} records in {len(self.data)} bytes>"
