# SPDX-License-Identifier: Apache-2.0
"""What stands for objects of the kernel."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, SupportsIndex

__all__ = ["Handle"]


class Handle:
    """Base of what owns file descriptors or memory of libbpf; a copy would free them twice, so there are none."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"copy or pickle {type(self).__name__}: it stands for kernel objects of this process alone")
