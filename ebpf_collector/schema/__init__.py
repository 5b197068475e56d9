# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema of what the command prints."""

from __future__ import annotations

import json
import pkgutil
from typing import Any

__all__ = ["check_lines"]


def check_lines() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of one line of `ebpf-collector check --json`."""
    data = pkgutil.get_data(__name__, "check-lines.schema.json")
    if data is None:
        raise FileNotFoundError("check-lines.schema.json")
    schema: dict[str, Any] = json.loads(data)
    return schema
