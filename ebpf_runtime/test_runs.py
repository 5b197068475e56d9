# SPDX-License-Identifier: Apache-2.0
"""Running programs on made-up input, and reading what they print."""

from __future__ import annotations

import errno

from . import system_calls
from .errors import EbpfError, describe
from .records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Generic, TypeVar

    from .programs import BaseProgram

    C = TypeVar("C", bound=Record)
else:
    from .generics import Generic

    C = object

__all__ = ["TestRun", "read_stream", "run"]

_ROOM = 256  # what a program may add to a packet by default, and the kernel to a context
_STREAMS = {"stdout": 1, "stderr": 2}
_STREAM_BYTES = 1 << 14
_U32_MAX = (1 << 32) - 1
_ENOTSUPP = 524  # the kernel's own, which errno has not
# Types whose test run takes no packet: repeat is refused.
_ONCE = ("syscall", "raw_tp", "raw_tracepoint", "fentry", "fexit", "fmod_ret", "netfilter")


class TestRun(Generic[C]):
    """What a test run gave.

    Attributes:
        return_value: What the program returned, as an unsigned 32-bit number.
        data: The packet that came out; empty where there was none.
        context: The context as the program left it, of the type that went in; None where none went in.
        duration_ns: Mean duration of a run, in nanoseconds; 0 for kinds that the kernel does not time.
    """

    __test__ = False  # no test of pytest
    __slots__ = ("context", "data", "duration_ns", "return_value")

    def __init__(self, return_value: int, data: bytes, context: C | None, duration_ns: int) -> None:
        self.return_value = return_value
        self.data = data
        self.context = context
        self.duration_ns = duration_ns

    def __repr__(self) -> str:
        return f"TestRun(return_value={self.return_value}, data={self.data!r}, context={self.context!r})"


def run(
    program: BaseProgram, data: bytes | None, context: C | bytes | None, repeat: int, data_size_out: int | None
) -> TestRun[C]:
    """Run a program once or several times; see `Program.test_run`."""
    if program.fd < 0:
        raise EbpfError(f"run program {program.name!r}: the probe is closed.", name=program.name)
    for what, value in (("repeat", repeat), ("data_size_out", data_size_out or 0)):
        if not isinstance(value, int) or not 0 <= value <= _U32_MAX:
            raise EbpfError(
                f"run program {program.name!r}: {what} {value!r} is not from 0 to {_U32_MAX}.", name=program.name
            )
    data = _input(program, "data", data)
    if not isinstance(context, Record):
        context = _input(program, "context", context)
    once = program._hook.kind in _ONCE
    came = bytes(context) if context is not None else None
    out = bytearray(data_size_out if data_size_out is not None else len(data) + _ROOM) if data is not None else None
    # A program of type syscall finds its context, and leaves it, in the memory that is passed.
    in_place = program._hook.kind == "syscall"
    block = bytearray(came) if came is not None else None
    # The kernel leaves the whole of its own structure, of which what went in may be the beginning.
    left = bytearray(len(came) + _ROOM) if came and not in_place and data is not None else None
    result, returned, duration, data_size, _ = system_calls.program_test_run(
        program.fd, data=data, data_out=out, context=block, context_out=left, repeat=0 if once else repeat
    )
    if result < 0:
        hint = {
            errno.ENOSPC: " What came out is larger: pass data_size_out=.",
            _ENOTSUPP: " This kernel has no test run for programs of this type.",
            errno.EINVAL: " The kernel wants other input for programs of this type: a packet of 14 bytes or more as "
            "data, or a context of the right size.",
        }.get(-result, "")
        raise EbpfError(
            f"run program {program.name!r} ({program.section}): {describe(-result)}.{hint}",
            name=program.name,
            errno=-result,
        )
    after = left[: len(came or b"")] if left is not None else block
    typed = None
    if context is not None and after is not None:
        typed = bytes(after) if isinstance(context, bytes) else type(context).from_bytes(after)
    return TestRun(returned, bytes(out[:data_size]) if out is not None else b"", typed, duration)  # type: ignore[arg-type]


def _input(program: BaseProgram, what: str, value: object) -> bytes | None:
    """Return what goes in as bytes."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    raise EbpfError(f"run program {program.name!r}: {what} {value!r} is no bytes.", name=program.name)


def read_stream(program: BaseProgram, stream: str) -> str:
    """Take what a program printed; see `Program.read_stream`."""
    if stream not in _STREAMS:
        raise EbpfError(
            f"read stream {stream!r} of program {program.name!r}: there are {', '.join(_STREAMS)}.", name=program.name
        )
    if program.fd < 0:
        raise EbpfError(f"read stream {stream!r} of program {program.name!r}: the probe is closed.", name=program.name)
    text = bytearray()
    while True:
        block = bytearray(_STREAM_BYTES)
        result = system_calls.stream_read(program.fd, _STREAMS[stream], block)
        if result < 0:
            missing = result == -errno.EINVAL
            reason = "this kernel has no program streams, Linux 6.17 has" if missing else describe(-result)
            raise EbpfError(
                f"read stream {stream!r} of program {program.name!r}: {reason}.",
                name=program.name,
                errno=-result,
                feature="program streams" if missing else "",
                minimum_kernel="6.17" if missing else "",
            )
        if not result:
            return text.decode("utf-8", "replace")
        text += block[:result]
