# SPDX-License-Identifier: Apache-2.0
"""A memory cgroup of one's own, cgroup version 1 or 2, and gone afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EBUSY, EROFS
from pathlib import Path

from ebpf_collector.errors import WorkloadError, describe_errno
from ebpf_collector.mounts import Mount, mounts
from ebpf_collector.workloads.janitor import janitor
from ebpf_runtime import signals_held

__all__ = ["Hierarchy", "MemoryCgroup", "find_hierarchy", "memory_cgroup"]

_REMOVE_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The cgroup hierarchy that has the memory controller."""

    version: int
    """1 or 2."""
    mount: Path
    """Where it is mounted."""
    own: Path
    """This process's directory in it; `mount` where that lies outside of what is mounted."""


def find_hierarchy(mountinfo: str, cgroup: str) -> Hierarchy | None:
    """Return the hierarchy for memory cgroups, None if there is none.

    A controller is in one hierarchy only: a version 1 mount that names `memory` has it, and only
    without one can version 2 have it.

    Args:
        mountinfo: Contents of /proc/self/mountinfo.
        cgroup: Contents of /proc/self/cgroup.
    Source: cgroups(7), proc_pid_mountinfo(5).
    """
    version_2 = None
    for mount in mounts(mountinfo):
        if mount.kind == "cgroup" and "memory" in mount.options:
            return _hierarchy(1, mount, _own_path(cgroup, "memory"))
        if mount.kind == "cgroup2" and version_2 is None:
            version_2 = _hierarchy(2, mount, _own_path(cgroup, ""))
    return version_2


class MemoryCgroup:
    """A memory cgroup with a limit and without swap; made by `memory_cgroup()`."""

    def __init__(self, path: Path, version: int) -> None:
        """Stand for the existing directory *path* of a hierarchy of that version."""
        self.path = path
        self.version = version

    @property
    def name(self) -> str:
        """Name of its directory."""
        return self.path.name

    def add_self(self) -> None:
        """Move the calling process in.

        Raises:
            OSError: The kernel refused.
        """
        (self.path / "cgroup.procs").write_text("0")

    def oom_kills(self) -> int | None:
        """Return how many processes the kernel says it killed in it, None if it does not count.

        Kernel: 4.13.
        """
        counters = "memory.oom_control" if self.version == 1 else "memory.events"
        for line in (self.path / counters).read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
        return None


@contextmanager
def memory_cgroup(name: str, limit_bytes: int) -> Iterator[MemoryCgroup]:
    """Make a memory cgroup below this process's own; it must be empty when the block ends.

    If this process is killed inside the block, what is in the cgroup is killed too, and it is removed.

    Version 2 forbids controllers below a cgroup that holds processes, so there the nearest
    ancestor that can have children with the memory controller is the parent.

    Args:
        name: Name of its directory, which must not exist.
        limit_bytes: Memory limit; swap is off.
    Raises:
        WorkloadError: There is no memory controller, or the kernel refused.
    """
    proc = Path("/proc/self")
    hierarchy = find_hierarchy((proc / "mountinfo").read_text(), (proc / "cgroup").read_text())
    if hierarchy is None:
        raise WorkloadError(
            f"make memory cgroup {name}",
            "no cgroup hierarchy is mounted",
            "Mount one at /sys/fs/cgroup.",
        )
    paths = [directory / name for directory in _possible_parents(hierarchy)]
    for path in paths:
        if path.exists():
            raise WorkloadError(f"make memory cgroup {path}", "it exists", "Remove it, or take another name.")
    # This process may be killed right after it enabled the controller, or made the directory.
    with janitor(paths, _controls(hierarchy)), _parent(name, hierarchy) as parent:
        group = MemoryCgroup(parent / name, hierarchy.version)
        try:
            _make(group, limit_bytes)
            yield group
        finally:
            with signals_held():
                _remove(group.path)


def _own_path(cgroup: str, controller: str) -> str:
    for line in cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return "/"


def _hierarchy(version: int, mount: Mount, own: str) -> Hierarchy:
    # Not all of the hierarchy need be mounted; in a container the own path may lie outside.
    point = mount.point
    if ".." not in Path(own).parts and Path(own).is_relative_to(mount.root):
        return Hierarchy(version, point, point / Path(own).relative_to(mount.root))
    return Hierarchy(version, point, point)


def _possible_parents(hierarchy: Hierarchy) -> Iterator[Path]:
    """Yield where a memory cgroup might be made, this process's own cgroup first, then its ancestors on version 2."""
    yield hierarchy.own
    if hierarchy.version == 2:
        for directory in hierarchy.own.parents:
            if directory.is_relative_to(hierarchy.mount):
                yield directory


def _controls(hierarchy: Hierarchy) -> list[Path]:
    """Return the switches of version 2 by which the memory controller may have to be enabled."""
    if hierarchy.version == 1:
        return []
    controls = [directory / "cgroup.subtree_control" for directory in _possible_parents(hierarchy)]
    return [control for control in controls if "memory" not in _words(control)]


def _words(control: Path) -> list[str]:
    try:
        return control.read_text().split()
    except OSError:
        return []  # whoever needs it says why it cannot be read


@contextmanager
def _parent(name: str, hierarchy: Hierarchy) -> Iterator[Path]:
    if hierarchy.version == 1:
        yield hierarchy.own
        return
    parent, enabled_here = _version_2_parent(name, hierarchy)
    try:
        yield parent
    finally:
        if enabled_here:
            (parent / "cgroup.subtree_control").write_text("-memory")


def _version_2_parent(name: str, hierarchy: Hierarchy) -> tuple[Path, bool]:
    """Return where a memory cgroup can be made, and whether the controller was enabled for that."""
    busy = None
    for directory in _possible_parents(hierarchy):
        control = directory / "cgroup.subtree_control"
        try:
            if "memory" in control.read_text().split():
                return directory, False
            if "memory" in (directory / "cgroup.controllers").read_text().split():
                control.write_text("+memory")
                return directory, True
        except OSError as error:
            if error.errno != EBUSY:
                raise _refused(f"enable the memory controller in {directory}", error) from None
            busy = error
    if busy is not None:
        raise _refused(f"enable the memory controller in {hierarchy.mount}", busy)
    raise WorkloadError(
        f"make memory cgroup {name}",
        f"there is no controller 'memory' in {hierarchy.mount}",
        "Boot without cgroup_disable=memory, or run outside the container.",
    )


def _make(group: MemoryCgroup, limit_bytes: int) -> None:
    try:
        group.path.mkdir()
        _limit(group, limit_bytes)
    except OSError as error:
        raise _refused(f"make memory cgroup {group.path}", error) from None


def _limit(group: MemoryCgroup, limit_bytes: int) -> None:
    if group.version == 1:
        (group.path / "memory.limit_in_bytes").write_text(str(limit_bytes))
        (group.path / "memory.swappiness").write_text("0")
        # Present where swap is accounted for; a hard limit, unlike swappiness.
        memory_and_swap = group.path / "memory.memsw.limit_in_bytes"
        if memory_and_swap.exists():
            memory_and_swap.write_text(str(limit_bytes))
    else:
        (group.path / "memory.max").write_text(str(limit_bytes))
        swap = group.path / "memory.swap.max"
        if swap.exists():
            swap.write_text("0")


def _remove(path: Path) -> None:
    deadline = time.monotonic() + _REMOVE_TIMEOUT_S
    while path.exists():
        try:
            path.rmdir()
        except OSError as error:
            # A process that has just ended is still in it for a moment.
            if error.errno != EBUSY or time.monotonic() > deadline:
                raise _refused(f"remove memory cgroup {path}", error) from None
            time.sleep(0.01)


def _refused(action: str, error: OSError) -> WorkloadError:
    remedy = "Run as root, where cgroups can be written to."
    if error.errno == EBUSY:
        remedy = "Start the command from another cgroup, such as a login session's."
    elif error.errno == EROFS:
        remedy = "Remount the cgroup hierarchy read-write."
    return WorkloadError(action, describe_errno(error.errno), remedy, error.errno)
