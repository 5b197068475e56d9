# SPDX-License-Identifier: Apache-2.0
"""What can go wrong outside the command under test.

VmtestError
└── TimeLimitError  the guest was stopped because it took too long
"""

from __future__ import annotations

import sys

__all__ = ["TimeLimitError", "VmtestError", "note"]


class VmtestError(Exception):
    """The guest could not be prepared, did not start, or died; the text says what, and what to do."""


class TimeLimitError(VmtestError):
    """The guest was stopped because it took too long."""


def note(text: str) -> None:
    """Tell the user what takes long, or what is not as it should be."""
    print(f"vmtest: {text}", file=sys.stderr, flush=True)
