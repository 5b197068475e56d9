# SPDX-License-Identifier: Apache-2.0
"""Which container a cgroup belongs to, as told by the cgroup's name."""

from __future__ import annotations

import re

__all__ = ["container_id", "container_tags"]

# Hexadecimal digits on either side would make it a piece of something longer: the first five
# groups of a pod's 8-4-4-4-12 UUID are not a container id.
_CONTAINER_ID = re.compile(
    r"(?<![0-9a-f])"
    r"(?:[0-9a-f]{64}|[0-9a-f]{32}-[0-9]+|[0-9a-f]{8}(?:-[0-9a-f]{4}){4})"
    r"(?![0-9a-f])"
)


def container_id(cgroup_name: str) -> str:
    """Return the container id in a cgroup's leaf name, or an empty string if there is none.

    Three forms are known: 64 hexadecimal digits (Docker, containerd, CRI-O), 32 of them with a
    dash and a number (ECS), and groups of 8-4-4-4-4 (Garden); each alone or inside a longer name
    such as `docker-<id>.scope`.
    """
    found = _CONTAINER_ID.search(cgroup_name)
    return found.group() if found else ""


def container_tags(identifier: str) -> list[str]:
    """Return the tags of the container with that id, which must not be empty."""
    return [f"container_id:{identifier}"]
