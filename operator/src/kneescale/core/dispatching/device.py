"""One device as its dispatcher sees it: partitions, what runs, and how much GPU% is free."""

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from kneescale.core.dispatching.arrival_queue import Arrivals
from kneescale.core.dispatching.partition import Partition
from kneescale.core.dispatching.punctuality import hung_after_ns
from kneescale.core.dispatching.scoreboard import Scoreboard
from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.core.wire import Grant


class Running:
    """A grant in flight: it holds its GPU% until its worker reports it done, or is gone."""

    def __init__(
        self,
        partition: str,
        grant: Grant,
        granted_ns: int,
        *,
        is_probe: bool,
        hung_after_ns: int,
        arrivals: Arrivals,
    ) -> None:
        self.partition: Final = partition
        self.grant: Final = grant
        self.granted_ns: Final = granted_ns
        self.is_probe: Final = is_probe
        #: From when on it is hung.
        self.hung_after_ns: Final = hung_after_ns
        #: When its items came.
        self.arrivals: Final = arrivals

    def begun(self, now_ns: int, end_ns: int) -> "Running":
        """The same, no probe, of a batch that begins now and should end then."""
        waited = self.grant
        return Running(
            self.partition,
            Grant(waited.grant_id, waited.gpu_percent, waited.batch, end_ns, waited.follows),
            now_ns,
            is_probe=False,
            hung_after_ns=hung_after_ns(now_ns, end_ns),
            arrivals=self.arrivals,
        )


class Followed(NamedTuple):
    """A run in flight whose lane another one has as soon as it ends, on the same worker."""

    run: Running
    #: The id of the other one's grant.
    by: int


@dataclass(slots=True)
class DeviceState:
    """All that a policy decides from."""

    partitions: dict[str, Partition] = field(default_factory=dict)
    running: dict[int, Running] = field(default_factory=dict)
    #: Runs in flight that are no more among `running`: those that follow them stand there in their place.
    followed: dict[int, Followed] = field(default_factory=dict)
    free_percent: int = WHOLE_GPU_PERCENT
    #: How many of the runs are probes, and how many more are asked for: looked at in every decision.
    probes_running: int = 0
    probes_waiting: int = 0
    scoreboard: Scoreboard = field(default_factory=Scoreboard)
    #: (when it should end, its grant's id, its GPU%) of each run in flight, in order.
    ends: list[tuple[int, int, int]] = field(default_factory=list)

    def start(self, running: Running) -> None:
        """Take the GPU% of a run."""
        grant = running.grant
        self.running[grant.grant_id] = running
        self.free_percent -= grant.gpu_percent
        self.probes_running += running.is_probe
        insort(self.ends, (grant.finish_by_ns, grant.grant_id, grant.gpu_percent))

    def stop(self, grant_id: int) -> Running:
        """Give back the GPU% of a run that is there."""
        running = self.running.pop(grant_id)
        self.free_percent += running.grant.gpu_percent
        self.probes_running -= running.is_probe
        del self.ends[bisect_left(self.ends, (running.grant.finish_by_ns, grant_id))]
        return running

    def hand_on(self, following: Running) -> None:
        """The lane of the run that `following` follows is its own from when that one ends."""
        run = self.stop(following.grant.follows)
        self.followed[run.grant.grant_id] = Followed(run, following.grant.grant_id)
        self.start(following)

    def begin(self, followed: Followed, ended_ns: int) -> Grant:
        """A run that was followed has ended: the other one begins, for as long as was planned. Its grant."""
        waited = self.stop(followed.by)
        lasts_ns = waited.grant.finish_by_ns - followed.run.grant.finish_by_ns
        begun = waited.begun(ended_ns, ended_ns + lasts_ns)
        self.start(begun)
        return begun.grant

    def next_end_ns(self, now_ns: int) -> int | None:
        """When the next run should end, of those that should not have ended by now."""
        index = bisect_left(self.ends, (now_ns + 1,))
        return self.ends[index][0] if index < len(self.ends) else None

    def held_percent(self, partition: str) -> int:
        """The GPU% that one partition's runs hold."""
        return sum(run.grant.gpu_percent for run in self.running.values() if run.partition == partition)

    def is_owed(self, partition: Partition) -> bool:
        """Whether a partition that serves had less than its weighted share of the area used of late."""
        # Those that profile have no costs, and no part.
        total_weight = sum([p.terms.weight for p in self.partitions.values() if p.terms and p.costs])
        fair_area = self.scoreboard.total_area * partition.ready_terms.weight / total_weight
        return self.scoreboard.area(partition.name) <= fair_area
