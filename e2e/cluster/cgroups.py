"""A cluster's tree of control groups.

Each program of a cluster runs in a group of its own, like a systemd unit's: the group binds it to its CPUs,
and it is also the record of what belongs to the cluster. The kernel keeps that record, with every child and
container of the program in it, so nothing else is ever taken for the cluster's, even when a number is reused.
"""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.base import ClusterError
from harness.wait import wait_until

MOUNTS = Path("/proc/self/mounts")
# The controllers that the kubelet needs (cgroup v2: a parent must hand them on).
CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids")


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """The mounted control group hierarchies: one on cgroup v2, one for each controller on v1."""

    roots: tuple[Path, ...]
    tracker: Path
    is_v2: bool
    # A v1 system may have the unified hierarchy beside the others, and runc makes groups there, too.
    mounted: tuple[Path, ...]

    @classmethod
    def detect(cls, mounts: str) -> "Hierarchies":
        """Read them off a table in the form of /proc/self/mounts. Raises ClusterError if none serves."""
        fields = [line.split() for line in mounts.splitlines()]
        v1 = {Path(f[1]): f[3].split(",") for f in fields if f[2] == "cgroup"}
        v2 = [Path(f[1]) for f in fields if f[2] == "cgroup2"]
        tracker = next((root for root, options in v1.items() if "cpuset" in options), None)
        if tracker is not None:
            return cls(tuple(v1), tracker, is_v2=False, mounted=(*v1, *v2))
        if not v2:
            raise ClusterError("no cpuset control groups are mounted: mount cgroup2 at /sys/fs/cgroup")
        return cls((v2[0],), v2[0], is_v2=True, mounted=(v2[0],))


@dataclass(frozen=True, slots=True)
class CgroupTree:
    """The groups below `/<name>` in every hierarchy; a group is named by its path, such as node1/kubelet."""

    name: str
    hierarchies: Hierarchies

    @classmethod
    def on_this_machine(cls, name: str) -> "CgroupTree":
        """The tree of that name in this machine's hierarchies. Raises ClusterError."""
        return cls(name, Hierarchies.detect(MOUNTS.read_text()))

    def make(self, group: str = "", cpus: str | None = None) -> None:
        """Make a group, bound to `cpus` (such as "0" or "2-3") or to its parent's; its parent must exist."""
        for root in self.hierarchies.roots:
            folder = root / self.name / group
            folder.mkdir(exist_ok=True)
            if self.hierarchies.is_v2:
                _hand_on_controllers(folder.parent)
        self._bind(self.hierarchies.tracker / self.name / group, cpus)

    def _bind(self, folder: Path, cpus: str | None) -> None:
        if not self.hierarchies.is_v2:
            # A v1 group begins with no CPUs and no memory nodes and takes no process until it has both.
            for setting in ("cpuset.mems", "cpuset.cpus"):
                (folder / setting).write_text((folder.parent / setting).read_text())
        if cpus is not None:
            (folder / "cpuset.cpus").write_text(cpus)

    def members_file(self, group: str) -> Path:
        """The file that takes a process into a group when its number is written there."""
        return self.hierarchies.tracker / self.name / group / "cgroup.procs"

    def members(self, group: str = "") -> list[int]:
        """Return the processes in a group and in all groups below it."""
        return [pid for folder in self.folders(group) for pid in _pids(folder)]

    def occupied(self, group: str = "") -> list[Path]:
        """Return the folders of those groups, of the group and all below it, that hold a process."""
        return [folder for folder in self.folders(group) if _pids(folder)]

    def folders(self, group: str = "") -> Iterator[Path]:
        """The folders of the group and of all groups below it."""
        # Not rglob: that fails where a group is removed meanwhile.
        return (Path(folder) for folder, _, _ in os.walk(self.hierarchies.tracker / self.name / group))

    def kill(self, group: str = "") -> None:
        """End every process in a group and below it, and wait until none is left. Raises TimeoutError."""

        def killed() -> bool:
            pids = self.members(group)
            for pid in pids:
                _kill(pid)
            return not pids

        what = f"every process in control group {self.name}/{group} has ended"
        wait_until(killed, what, timeout_s=30)

    def remove(self, group: str = "") -> None:
        """Remove a group, in which no process is left, and all below it.

        Raises TimeoutError if one stays busy.
        """
        tops = [root / self.name / group for root in self.hierarchies.mounted]
        what = f"control group {self.name}/{group} is gone"
        wait_until(lambda: all(map(_remove, tops)), what, timeout_s=30)


def this_machines_cpus() -> list[int]:
    """Return the numbers of the CPUs that this process may use."""
    return sorted(os.sched_getaffinity(0))


def _hand_on_controllers(folder: Path) -> None:
    available = (folder / "cgroup.controllers").read_text().split()
    wanted = " ".join(f"+{c}" for c in CONTROLLERS if c in available)
    (folder / "cgroup.subtree_control").write_text(wanted)


def _pids(folder: Path) -> list[int]:
    try:
        return [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
    except OSError:  # the group was removed meanwhile
        return []


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _remove(top: Path) -> bool:
    for folder, _, _ in os.walk(top, topdown=False):
        try:
            Path(folder).rmdir()
        except OSError:  # still busy: the caller tries again
            return False
    return True
