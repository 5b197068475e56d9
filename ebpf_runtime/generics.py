# SPDX-License-Identifier: Apache-2.0
"""Stands for `typing.Generic` while programs run: importing `typing` takes longer than attaching a program."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Generic
else:

    class Generic:
        """A base whose classes may be subscribed, as in `IteratorProgram[Row]`; the subscript changes nothing."""

        def __class_getitem__(cls, parameters):
            return cls


__all__ = ["Generic"]
