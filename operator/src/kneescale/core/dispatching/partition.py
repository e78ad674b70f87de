"""A partition as its dispatcher sees it: the terms it has, and what its worker's queue needs next."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from kneescale.core.dispatching.arrival_queue import ArrivalQueue, Arrivals
from kneescale.core.dispatching.arrival_rate import ArrivalRate
from kneescale.core.dispatching.drift import Drift
from kneescale.core.dispatching.error_budget import ErrorBudget
from kneescale.core.dispatching.punctuality import Punctuality
from kneescale.core.dispatching.run_costs import Option, RunCosts
from kneescale.core.errors import InvalidInputError
from kneescale.core.surfaces.surface import LatencySurface, doubling_batches
from kneescale.core.units import ms_to_ns
from kneescale.core.wire import Grant, Role


@dataclass(frozen=True, slots=True)
class PartitionTerms:
    """What the schedule says about one partition.

    `gpu_percent` and `batch` are its planned run; it may use any of `lanes`, each any number of times at
    once unless they are a pool, and batches up to the surface's largest. A partition that profiles has no
    surface yet.
    """

    role: Role
    slo_ns: int
    weight: int
    gpu_percent: int
    batch: int
    lanes: tuple[int, ...]
    surface: LatencySurface | None
    #: Runs are planned to end this much before the deadline: for a request's way to the queue and back.
    margin_ns: int = 0
    #: Whether each of `lanes` runs one batch at a time; a GPU% may then be there more than once.
    is_pool: bool = False
    #: Whether items that cannot be in time are refused; else they are served, be it late.
    refuses_late: bool = True

    @property
    def longest_ns(self) -> int:
        """How long a run may take for an item that has just come."""
        return max(1, self.slo_ns - self.margin_ns)

    def costs_as(self, other: "PartitionTerms") -> bool:
        """Whether runs cost the same by these terms, on the same surface."""
        return (self.lanes, self.is_pool, self.longest_ns) == (other.lanes, other.is_pool, other.longest_ns)

    def __post_init__(self) -> None:
        """Raise InvalidInputError where the planned run is none that the lanes and the surface allow."""
        if self.gpu_percent not in self.lanes:
            raise InvalidInputError(f"the planned GPU% {self.gpu_percent} is none of the lanes {self.lanes}")
        if self.surface and not 1 <= self.batch <= self.surface.batches[-1]:
            most = self.surface.batches[-1]
            raise InvalidInputError(f"the planned batch must be 1 to {most}, the largest, not {self.batch}")


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """A profiling worker's wish for one batch alone on the device, and its guess of how long that lasts."""

    gpu_percent: int
    batch: int
    lasts_ns: int
    asked_ns: int


#: A run for items that may still arrive is planned to leave this part of the SLO for finding room.
ROOM_PART_OF_SLO: Final = 0.15

#: A queue goes up to this part of its SLO after its turn, the more so the more of its area waiting saves.
GROWTH_FIRST: Final = 0.1

#: This part of the runs is to end by the time that was planned; the estimate moves by such steps.
ON_TIME: Final = 0.95
SLOWNESS_STEP: Final = 0.01


@dataclass(slots=True, eq=False)
class Partition:
    """State of one partition; exists while it is configured or its worker is connected.

    What a policy asks for at every decision about the queue is worked out when the queue changes.
    """

    name: str
    terms: PartitionTerms | None = None
    costs: RunCosts | None = None
    connected: bool = False
    probe: ProbeRequest | None = None
    queue: ArrivalQueue = field(default_factory=ArrivalQueue)
    #: The lanes that its runs hold: how many of each GPU%.
    held_lanes: Counter[int] = field(default_factory=Counter)
    #: The smallest of its lanes, of those that serve.
    least_percent: int = 0
    #: How many items the next batch can have.
    items: int = 0
    #: By when a run should end for the oldest item to be in time; `skip_late` moves it on to a younger one.
    end_by_ns: int = 0
    #: Until then a cheap run of those items still ends in time.
    due_ns: int = 0
    #: After that not even the fastest run of one item is in time.
    lost_ns: int = 0
    #: From then on there is nothing in waiting for more items.
    ripe_ns: int = 0
    #: How far its queue goes behind the others, as a part of its SLO, for what it gains by growing.
    behind: float = 0.0
    #: Most runs take up to this many times as long as the surface says; at least 1.
    slowness: float = 1.0
    drift: Drift = field(default_factory=Drift)
    punctuality: Punctuality = field(default_factory=Punctuality)
    budget: ErrorBudget = field(default_factory=ErrorBudget)
    rate: ArrivalRate = field(default_factory=ArrivalRate)
    _expected: Option | None = None
    _expected_until_ns: int = 0
    _expected_slack_ns: int = 0

    def set_terms(self, terms: PartitionTerms) -> None:
        """Take new terms; the costs are worked out again only where they change."""
        if terms == self.terms:
            return
        before, self.terms = self.terms, terms
        if before is None or terms.surface != before.surface:
            self.drift = Drift()
        elif terms.costs_as(before):
            self._costs_stand()
            return
        self._work_out_costs()

    def push(self, count: int, arrived_ns: int, heard_ns: int) -> None:
        """`count` items join the tail of the queue.

        Those that were not heard of for long (their worker was alone) have a last chance: they count as of
        an age at which half of their patience is left. Refused at once, they would be lost to an agent's end.
        """
        self.rate.arrived(count, arrived_ns)
        if self.costs is not None:
            patience_ns = max(0, self._slack_ns(self.costs.fastest_ns))
            arrived_ns = max(arrived_ns, heard_ns - patience_ns // 2)
        self.queue.push(count, arrived_ns)
        if self.items == 0 or self.costs is None or self.items < self.costs.max_batch:
            self._queue_changed()

    def pop(self, count: int) -> Arrivals:
        """The oldest `count` items leave the queue; they are there."""
        arrivals = self.queue.pop(count)
        self._queue_changed()
        return arrivals

    def ran(self, grant: Grant, granted_ns: int, started_ns: int, ended_ns: int) -> None:
        """Learn from a run: from its planned time, and from what the surface says without corrections."""
        planned_ns, took_ns = grant.finish_by_ns - granted_ns, ended_ns - started_ns
        self.punctuality.ran(planned_ns, ended_ns - grant.finish_by_ns)
        # A quantile by stochastic approximation (Robbins and Monro, 1951).
        up = took_ns > self.slowness * planned_ns
        self.slowness = max(1.0, self.slowness + SLOWNESS_STEP * (ON_TIME if up else ON_TIME - 1))
        # A batch that failed, or whose requests were all given up, takes no time.
        if self.terms and self.terms.surface and took_ns:
            predicted_ns = ms_to_ns(self.terms.surface.latency_ms(grant.gpu_percent, grant.batch))
            if self.drift.observe(grant.gpu_percent, grant.batch, predicted_ns, took_ns):
                self._work_out_costs()

    def answered(self, arrivals: Arrivals, planned_ns: int, ended_ns: int) -> None:
        """Items of which some are late, though by plan they were not, are part of what may be missed."""
        late = [n for at_ns, n in arrivals if planned_ns <= self.end_by_of(at_ns) < ended_ns]
        self.budget.missed(sum(late))

    def clear(self) -> None:
        """The worker is gone, and its queue with it."""
        self.queue.clear()
        self.probe = None
        self._queue_changed()

    def skip_late(self, now_ns: int) -> None:
        """Plan for the oldest item of the next batch that can still be in time, if there is one."""
        since_ns = now_ns - self._slack_ns(self.ready_costs.fastest_ns)
        arrived_ns = self.queue.first_since(since_ns, self.items)
        if arrived_ns is not None:
            self._plan_from(arrived_ns)

    def plan_anew(self) -> None:
        """Plan for the oldest item again, where `skip_late` moved on to another one."""
        if self.items and self.end_by_ns != self.end_by_of(self.queue.oldest_ns):
            self._plan_from(self.queue.oldest_ns)

    def count_lost(self, now_ns: int, least_ns: int) -> int:
        """How many of the oldest items would be late even if they took no longer than `least_ns` from now."""
        return self.queue.older_than(now_ns - self._slack_ns(least_ns))

    def rank_ns(self, now_ns: int) -> int:
        """What its queue goes by: until when it has a run that is much cheaper than those left after that.

        Moved ahead where too many of its items were refused.
        """
        left_ns = self.end_by_ns - now_ns
        for run in self.ready_costs.steps[self.items]:
            latency_ns = int(run.latency_ns * self.slowness)
            if latency_ns <= left_ns:
                break
        else:
            latency_ns = left_ns
        return self.end_by_ns - latency_ns - int((self.budget.ahead - self.behind) * self.ready_terms.slo_ns)

    def open_to(self, options: tuple[Option, ...]) -> tuple[Option, ...]:
        """Those of the runs whose lanes are not all taken, in a pool."""
        terms = self.ready_terms
        if not terms.is_pool:
            return options
        full = [lane for lane, held in self.held_lanes.items() if held and held >= terms.lanes.count(lane)]
        return tuple([option for option in options if option.gpu_percent not in full]) if full else options

    def end_by_of(self, arrived_ns: int) -> int:
        """By when a run should end for an item that arrives then to be in time; there are terms."""
        return arrived_ns + self._slack_ns(0)

    def expected_run(self, now_ns: int) -> Option:
        """The run that items which arrive now will need, at the rate of late; worked out once per SLO."""
        if self._expected is None or now_ns >= self._expected_until_ns:
            self._expected = self._cheapest_expected()
            self._expected_until_ns = now_ns + self.ready_terms.slo_ns
            self._expected_slack_ns = max(1, self._slack_ns(self._expected.latency_ns))
        return self._expected

    def expected_slack_ns(self, now_ns: int) -> int:
        """How long from now that run can wait."""
        if now_ns >= self._expected_until_ns:
            self.expected_run(now_ns)
        return self._expected_slack_ns

    @property
    def ready_terms(self) -> PartitionTerms:
        """The terms of a partition that has some."""
        assert self.terms is not None
        return self.terms

    @property
    def ready_costs(self) -> RunCosts:
        """The costs of a partition that serves."""
        assert self.costs is not None
        return self.costs

    @property
    def cheap_run(self) -> Option:
        """The shortest of the cheap runs of what is queued; there is something."""
        return self.ready_costs.steps[self.items][0]

    @property
    def is_given_up(self) -> bool:
        """Whether not even the fastest run is believed to be in time for an item that has just come."""
        return self.ready_costs.fastest_ns > self.ready_costs.longest_ns

    @property
    def is_idle(self) -> bool:
        """Whether items may arrive at any moment, and none waits."""
        return self.queue.count == 0 and self.connected and self.costs is not None

    def _work_out_costs(self) -> None:
        terms = self.ready_terms
        self.costs = None
        if terms.surface:
            surface = self.drift.corrected(terms.surface)
            self.costs = RunCosts(surface, terms.lanes, terms.longest_ns, is_pool=terms.is_pool)
            self.least_percent = self.costs.lanes[0]
        self._costs_stand()

    def _costs_stand(self) -> None:
        self._expected_until_ns = 0
        self._queue_changed()

    def _queue_changed(self) -> None:
        if self.costs is None or not self.queue.count:
            self.items = 0
            return
        self.items = min(self.queue.count, self.costs.max_batch)
        self._plan_from(self.queue.oldest_ns)

    def _plan_from(self, arrived_ns: int) -> None:
        costs = self.ready_costs
        self.end_by_ns = self.end_by_of(arrived_ns)
        self.due_ns = self.end_by_ns - int(self.cheap_run.latency_ns * self.slowness)
        self.lost_ns = self.end_by_ns - costs.fastest_ns
        self.ripe_ns = self._ripens_ns()
        self.behind = self._put_behind()

    def _ripens_ns(self) -> int:
        """Until when the items that the rate promises are worth waiting for."""
        if not self.rate.is_known:
            return 0
        until_ns = 0.0
        for more, latency_ns in self.ready_costs.growths[self.items]:
            start_ns = self.end_by_ns - latency_ns * self.slowness
            until_ns = max(until_ns, self.rate.last_start_ns(more, start_ns))
        return int(until_ns)

    def _put_behind(self) -> float:
        """How far the queue goes behind: for what an SLO's items would save, each as much as the next one."""
        costs = self.ready_costs
        if not self.rate.gap_ns or self.items == costs.max_batch:
            return 0.0
        saved = max(0.0, 1 - costs.least_areas[self.items + 1] / costs.least_areas[self.items])
        return GROWTH_FIRST * min(1.0, saved * self.ready_terms.slo_ns / self.rate.gap_ns)

    def _slack_ns(self, latency_ns: int) -> int:
        """How long an item can wait for a run of that latency."""
        terms = self.ready_terms
        return terms.slo_ns - terms.margin_ns - latency_ns

    def _cheapest_expected(self) -> Option:
        costs = self.ready_costs
        slack_ns = self._slack_ns(int(ROOM_PART_OF_SLO * self.ready_terms.slo_ns))
        sizes = doubling_batches(costs.max_batch) if self.rate.is_known else (1,)
        runs = (costs.best(size, slack_ns - int((size - 1) * self.rate.gap_ns)) for size in sizes)
        fastest = Option(0.0, costs.lanes[-1], 1, costs.fastest_ns)
        return min((run for run in runs if run), key=lambda run: run.price, default=fastest)
