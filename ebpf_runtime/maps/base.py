# SPDX-License-Identifier: Apache-2.0
"""What every map has: name, type, sizes, file descriptor, and the errors of its operations."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from ebpf_runtime.errors import EbpfError, MapError, MapFullError, PermissionDeniedError, describe
from ebpf_runtime.handles import Handle
from ebpf_runtime.kernel_objects import map_flags, object_id
from ebpf_runtime.libbpf import library
from ebpf_runtime.privilege import missing_capabilities

if TYPE_CHECKING:
    from ebpf_runtime.records import Field

__all__ = ["NOT_SUPPORTED", "Map"]

# What kernels answer that lack a command, for any map or for this type; the first is the kernel's own ENOTSUPP.
NOT_SUPPORTED = (524, errno.EOPNOTSUPP, errno.EINVAL)


class Map(Handle):
    """A loaded map of any type.

    Attributes:
        name: Its name in the object.
        type: Enumerator of bpf_map_type without its prefix.
        fd: Its file descriptor; -1 once closed.
        max_entries: As the kernel has it; bytes for a ring buffer.
        key_size: Bytes of a key.
        value_size: Bytes of a value, on one CPU.
    """

    def __init__(
        self, name: str, kind: str, fd: int, sizes: tuple[int, int, int], key: Field | None, value: Field | None
    ) -> None:
        self.name = name
        self.type = kind
        self.fd = fd
        self.key_size, self.value_size, self.max_entries = sizes
        self._key = key
        self._value = value
        self._lib = library()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self.type} fd={self.fd}>"

    @property
    def id(self) -> int:
        """The kernel's id of the map.

        Kernel: 4.13.
        """
        return object_id(self.fd)

    @property
    def flags(self) -> int:
        """The flags the map was made with, `BPF_F_…` of bpf(2).

        Kernel: 4.13.
        """
        return map_flags(self.fd)

    def _close(self) -> None:
        self.fd = -1

    def _fail(self, action: str, number: int, *, feature: str = "", minimum_kernel: str = "") -> EbpfError:
        """Return the error for one failed operation; *feature* is what the kernel lacks where it does not know it."""
        what = f"{action} map {self.name!r}"
        if self.fd < 0:
            return MapError(f"{what}: the probe is closed.", name=self.name, errno=number)
        if number == errno.EPERM and (missing := missing_capabilities()):
            return PermissionDeniedError(
                f"{what}: EPERM, this process lacks {' and '.join(missing)}. "
                "Run as root, or grant the capabilities (setcap, AmbientCapabilities=).",
                name=self.name,
                errno=number,
            )
        if number in (errno.E2BIG, errno.ENOSPC, errno.ENOMEM):
            # The kernel's E2BIG is not about arguments, as its usual text has it.
            reason = "E2BIG, it is full" if number == errno.E2BIG else describe(number)
            return MapFullError(
                f"{what}: {reason}; it holds at most {self.max_entries} entries. "
                "Delete some, or make it larger before load.",
                name=self.name,
                errno=number,
            )
        if number == errno.EPERM:
            return MapError(
                f"{what}: EPERM, it is frozen, or its flags forbid it to user space.", name=self.name, errno=number
            )
        if feature and number in NOT_SUPPORTED:
            return MapError(
                f"{what}: {_NAMES.get(number) or describe(number)}; this kernel has no {feature}. "
                f"It came with Linux {minimum_kernel}.",
                name=self.name,
                errno=number,
                feature=feature,
                minimum_kernel=minimum_kernel,
            )
        return MapError(f"{what}: {_NAMES.get(number) or describe(number)}.", name=self.name, errno=number)


_NAMES = {524: "ENOTSUPP, not supported for maps of this type"}
