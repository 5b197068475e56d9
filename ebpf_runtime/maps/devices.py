# SPDX-License-Identifier: Apache-2.0
"""Where XDP programs may redirect packets to: network devices, CPUs, AF_XDP sockets."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf_runtime.errors import RecordError
from ebpf_runtime.programs import INT_MAX
from ebpf_runtime.records import u32

from .base import index_of
from .descriptors import DescriptorMap
from .hash import HashMap

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CpuMap", "DeviceMap", "Redirection", "XskMap"]

_MOST = (1 << 32) - 1


class Redirection(NamedTuple):
    """A value of a device or CPU map.

    Attributes:
        target: Index of the network device; for a CPU the length of its queue in packets.
        program: XDP program to run there: its file descriptor in an update, its id when read; 0 for none.
    """

    target: int
    program: int = 0


class _RedirectionMap(HashMap[int, Redirection]):
    """Values of one word, or two where a program may be given."""

    _has_batches = False

    def __init__(self, *arguments: Any) -> None:
        name, kind, fd, sizes, _, value = arguments
        super().__init__(name, kind, fd, sizes, u32(0), value)
        self._unpack_value = self._unpack_redirection
        self._number = None

    def _checked(self, key: int) -> int:
        """Refuse to change an entry that an array has not."""
        return key if self.type == "DEVMAP_HASH" else index_of(self, key, self.max_entries)

    def update_elem(self, key: int, value: Redirection, *, exist: bool | None = None) -> None:
        super().update_elem(self._checked(key), value, exist=exist)

    def _delete(self, key: Any) -> bool:
        return super()._delete(self._checked(key))

    def _unpack_redirection(self, block: bytes, base: int) -> Redirection:
        words = [int.from_bytes(block[at : at + 4], "little") for at in range(base, base + self.value_size, 4)]
        return Redirection(*words[:2])

    def _target(self, value: object) -> int:
        if isinstance(value, int):
            return value
        raise RecordError(f"update map {self.name!r}: {value!r} is no number.", name=self.name)

    def _pack_value(self, buffer: Any, offset: int, value: object) -> None:
        target, program = value if isinstance(value, tuple) and len(value) == 2 else (value, 0)
        if program and self.value_size < 8:
            raise RecordError(
                f"update map {self.name!r}: its values have no place for a program. Declare a structure.",
                name=self.name,
            )
        if not isinstance(program, int) or not 0 <= program <= INT_MAX:
            raise RecordError(f"update map {self.name!r}: {program!r} is no program's file descriptor.", name=self.name)
        number = self._target(target)
        if not 0 <= number <= _MOST:
            raise RecordError(f"update map {self.name!r}: {number} does not fit u32.", name=self.name)
        words = number.to_bytes(4, "little") + (program or -1).to_bytes(4, "little", signed=True)
        buffer[offset : offset + self.value_size] = words[: self.value_size]

    def _decoders(self) -> tuple[Callable[[bytes, int], list[int]], Callable[[bytes, int], list[Redirection]]]:
        keys, _ = super()._decoders()
        unpack, step = self._unpack_value, self.value_size
        return keys, lambda block, count: [unpack(block, start) for start in range(0, count * step, step)]


class DeviceMap(_RedirectionMap):
    """Network devices to redirect packets to, by index (DEVMAP) or by any number (DEVMAP_HASH).

    A device is given by name or index: `m[0] = "eth0"`, `m[0] = 2`, `m[0] = Redirection(2, program.fd)`.

    Kernel: 4.14, by any number 5.4, programs 5.8.
    """

    def _target(self, value: object) -> int:
        if not isinstance(value, str):
            return super()._target(value)
        try:
            return socket.if_nametoindex(value)
        except OSError as error:
            raise self._fail(f"find device {value!r} for", errno.ENODEV) from error
        except ValueError as error:
            raise RecordError(
                f"find device {value!r} for map {self.name!r}: no device has such a name. Take one of `ip link`.",
                name=self.name,
            ) from error

    def __setitem__(self, key: int, value: Redirection | int | str) -> None:
        self.update_elem(key, value)  # type: ignore[arg-type]  # _pack_value takes them all


class CpuMap(_RedirectionMap):
    """CPUs to redirect packets to, each with the length of its queue: `m[3] = 192`.

    Kernel: 4.15, programs 5.9.
    """

    def __setitem__(self, key: int, value: Redirection | int) -> None:
        self.update_elem(key, value)  # type: ignore[arg-type]  # _pack_value takes them all


class XskMap(DescriptorMap[int]):
    """AF_XDP sockets to redirect packets to, by queue; user space cannot read it, nor see whether an entry is empty.

    Kernel: 4.18.
    """

    def __setitem__(self, index: int, socket: socket.socket | int) -> None:
        """Put an AF_XDP socket, or a file descriptor of one, into an entry.

        Raises:
            MapError: The kernel refused.
        Source: bpf(2) BPF_MAP_UPDATE_ELEM, libbpf bpf_map_update_elem().
        """
        self._store(self._index(index), socket)
