"""Long-running programs of a cluster, each in a control group of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.base import ClusterError
from e2e.cluster.cgroups import CgroupTree
from harness.runner import Runner, tail

# Enters the group, then leaves the program to init: it outlives us, and never becomes our zombie.
START = 'members=$1 log=$2; shift 2; echo 0 >"$members" || exit 1; setsid "$@" </dev/null >>"$log" 2>&1 &'


@dataclass(frozen=True, slots=True)
class Units:
    """Starts programs and tells which run; a unit is named by its control group, such as node1/kubelet."""

    cgroups: CgroupTree
    logs: Path
    programs: Path
    runner: Runner

    def start(self, unit: str, argv: Sequence[str], entering: Sequence[str] = ()) -> None:
        """Start a program, whose log is `log(unit)`; `entering` is a command that enters its namespaces."""
        self.cgroups.make(unit)
        self.log(unit).parent.mkdir(parents=True, exist_ok=True)
        members = str(self.cgroups.members_file(unit))
        self.runner.run(
            ["sh", "-c", START, unit, members, str(self.log(unit)), *entering, *argv], env=self.environment()
        )

    def environment(self) -> dict[str, str]:
        """The environment of every program: nothing of ours, least of all a proxy."""
        return {
            "PATH": f"{self.programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
        }

    def log(self, unit: str) -> Path:
        """Where a unit logs."""
        return self.logs / f"{unit.replace('/', '-')}.log"

    def pid(self, unit: str) -> int:
        """Return the process number of a unit's one process. Raises ClusterError if it has ended."""
        self.check([unit])
        return self.cgroups.members(unit)[0]

    def running(self, unit: str) -> bool:
        """Tell whether the unit's program runs."""
        return bool(self.cgroups.members(unit))

    def check(self, units: Sequence[str]) -> None:
        """Raise ClusterError, with the end of its log, if one of the units has ended."""
        for unit in units:
            if not self.running(unit):
                raise ClusterError(f"{unit} has ended: {tail(self.log(unit))} (all of it: {self.log(unit)})")
