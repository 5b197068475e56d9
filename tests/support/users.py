# SPDX-License-Identifier: Apache-2.0
"""Another user, for tests that root runs."""

from __future__ import annotations

import os
from collections.abc import Callable

__all__ = ["as_user"]


def as_user(uid: int, function: Callable[[], str]) -> str:
    """Return what *function* says in a child that is that user."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            os.write(writer, function().encode())
        except BaseException as error:
            os.write(writer, repr(error).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as answer:
        return answer.read()
