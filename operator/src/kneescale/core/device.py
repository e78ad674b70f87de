"""One device as its dispatcher sees it: partitions, what runs, and how much GPU% is free."""

from dataclasses import dataclass, field

from kneescale.core.partition import Partition
from kneescale.core.scoreboard import Scoreboard
from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.core.wire import Grant


@dataclass(frozen=True, slots=True)
class Running:
    """A grant in flight: it holds its GPU% until its worker reports it done, or is gone."""

    partition: str
    grant: Grant
    granted_ns: int
    is_probe: bool


@dataclass(slots=True)
class DeviceState:
    """All that a policy decides from."""

    partitions: dict[str, Partition] = field(default_factory=dict)
    running: dict[int, Running] = field(default_factory=dict)
    free_percent: int = WHOLE_GPU_PERCENT
    scoreboard: Scoreboard = field(default_factory=Scoreboard)

    def start(self, running: Running) -> None:
        """Take the GPU% of a run."""
        self.running[running.grant.grant_id] = running
        self.free_percent -= running.grant.gpu_percent

    def stop(self, grant_id: int) -> Running:
        """Give back the GPU% of a run that is there."""
        running = self.running.pop(grant_id)
        self.free_percent += running.grant.gpu_percent
        return running

    def held_percent(self, partition: str) -> int:
        """The GPU% that one partition's runs hold."""
        return sum(run.grant.gpu_percent for run in self.running.values() if run.partition == partition)
