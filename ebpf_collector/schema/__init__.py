# SPDX-License-Identifier: Apache-2.0
"""The JSON Schemas of what the command prints."""

from __future__ import annotations

import json
import pkgutil
from typing import Any

__all__ = ["check_lines", "doctor"]


def check_lines() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of one line of `ebpf-collector check --json`."""
    return _read("check-lines.schema.json")


def doctor() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what `ebpf-collector doctor --json` prints."""
    return _read("doctor.schema.json")


def _read(name: str) -> dict[str, Any]:
    data = pkgutil.get_data(__name__, name)
    if data is None:
        raise FileNotFoundError(name)
    schema: dict[str, Any] = json.loads(data)
    return schema
