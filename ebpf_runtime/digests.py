# SPDX-License-Identifier: Apache-2.0
"""SHA-256 without OpenSSL, whose loading takes longer than a probe's."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import sha256 as _sha256
else:
    try:
        if sys.version_info >= (3, 12):
            from _sha2 import sha256 as _sha256
        else:
            from _sha256 import sha256 as _sha256
    except ImportError:  # a Python built without its own
        from hashlib import sha256 as _sha256

__all__ = ["sha256"]


def sha256(data: bytes) -> str:
    """Return the SHA-256 of *data* in hex."""
    return _sha256(data).hexdigest()
