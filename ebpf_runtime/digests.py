# SPDX-License-Identifier: Apache-2.0
"""SHA-256 without OpenSSL, whose loading takes longer than a probe's."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import sha256 as _sha256
else:
    try:
        from _sha2 import sha256 as _sha256  # Python 3.12
    except ImportError:
        try:
            from _sha256 import sha256 as _sha256  # Python 3.11
        except ImportError:
            from hashlib import sha256 as _sha256

__all__ = ["sha256"]


def sha256(data: bytes) -> str:
    """Return the SHA-256 of *data* in hex."""
    return _sha256(data).hexdigest()
