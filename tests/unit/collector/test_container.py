# SPDX-License-Identifier: Apache-2.0
"""Container ids in cgroup names."""

import pytest

from ebpf_collector.container import container_id, container_tags
from tests.unit.collector.records import DOCKER_ID

ECS_ID = "0123456789abcdef0123456789abcdef-1234567890"
GARDEN_ID = "12345678-9abc-def0-1234-5678"


@pytest.mark.parametrize("identifier", [DOCKER_ID, ECS_ID, GARDEN_ID])
@pytest.mark.parametrize("name", ["{}", "docker-{}.scope", "cri-containerd-{}.scope", "crio-{}"])
def test_known_forms(identifier: str, name: str) -> None:
    assert container_id(name.format(identifier)) == identifier


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ssh.service",
        "session-3.scope",
        DOCKER_ID[:-1],
        DOCKER_ID + "0",
        DOCKER_ID.upper(),
        "0123456789abcdef0123456789abcdef",
        "0123456789abcdef0123456789abcdef-",
        # A pod's UUID begins like the third form.
        "kubepods-pod12345678-9abc-def0-1234-56789abcdef0.slice",
    ],
)
def test_anything_else_is_no_container(name: str) -> None:
    assert container_id(name) == ""


def test_tags() -> None:
    assert container_tags(DOCKER_ID) == [f"container_id:{DOCKER_ID}"]
