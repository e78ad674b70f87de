"""What a pool of lanes is worth to one model: throughput for its bursts, and the GPU area that it takes."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf, log, sqrt

from kneescale.core.errors import InfeasibleError
from kneescale.core.planning.fluid import Workload, least_area_per_item, most_items_per_s
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.core.units import MS_PER_S

#: One entry for each lane: its GPU%. A lane runs one batch at a time.
Pool = tuple[int, ...]

#: Lanes are as cheap as each other whose items take up to this many times the least area.
_CHEAP = 1.05

#: Of a shortfall and of an area; what comes after them is rounding.
_SHORTFALL_DIGITS, _AREA_DIGITS = 6, 9

#: Lanes of a pool are looked at so often, each beside the others as they were chosen last.
_SWEEPS = 3

#: How long until some lane gets free follows from the runs, and they from that: settled in so many steps.
_GAP_STEPS = 3


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What is assumed of requests and runs that wait for each other.

    The defaults were tuned by simulation, with three lanes, on the paper's mixes and random ones (ADR 35).
    """

    #: A planned run ends, after waiting for a lane, within this part of the SLO.
    planned_part: float = 0.9
    #: A request waits for this part of the time that its batch takes to gather: in the mean half, the oldest
    #: all.
    gathering_part: float = 0.75
    #: Of the time that a request can wait, this part is left for its lane; the rest goes to waiting for the
    #: GPU.
    lane_part: float = 0.4
    #: No more than this part of the requests may wait longer.
    late_part: float = 0.005
    #: Sharing a lane with bursts, planned runs take no more than this part of its time.
    lane_utilization: float = 0.8
    #: Of the time that a request can wait, this part may go to waiting for the end of another model's run.
    patient_part: float = 0.3
    #: Together the pools may take this part of the GPU's area.
    area_part: float = 0.85


#: What carries the most over all mixes.
LIKELY = Assumptions()


@dataclass(frozen=True, slots=True)
class Demand:
    """What a choice looks at of a workload on one product."""

    name: str
    rate_rps: float
    slo_ms: float
    surface: LatencySurface


def demands_of(workloads: Sequence[Workload], product: str) -> tuple[Demand, ...]:
    """The workloads on GPUs of the product."""
    return tuple(
        Demand(each.name, each.rate_rps, each.limit_ms, each.surfaces[product]) for each in workloads
    )


@dataclass(frozen=True, slots=True, order=True)
class Cost:
    """What a pool lacks in throughput, as a part of the rate, and the GPU% that it takes in the mean."""

    shortfall: float
    area_percent: float


@dataclass(frozen=True, slots=True)
class _Run:
    """The planned run of one lane."""

    latency_ms: float
    #: Items per ms.
    rate: float
    #: GPU% x ms.
    area_per_item: float


@dataclass(frozen=True, slots=True, eq=False)
class Use:
    """How a model uses its pool."""

    #: How long each planned run takes in ms, and the GPU% that it holds in the mean.
    held: Sequence[tuple[float, float]]
    #: How long a request can wait for the end of another model's run.
    patient_ms: float


class ModelOnLanes:
    """One model, and what it would have of any pool at any factor on its rate.

    Raises InfeasibleError where no run of it ends in time.
    """

    def __init__(self, demand: Demand, assumptions: Assumptions = LIKELY) -> None:
        surface = demand.surface
        self._assumed = assumptions
        self._planned_ms = assumptions.planned_part * demand.slo_ms
        self.name = demand.name
        self._slo_ms = demand.slo_ms
        self._rate = demand.rate_rps / MS_PER_S
        self._max_batch = surface.batches[-1]
        self._percents = surface.gpu_percents
        #: A search comes back to the same pools.
        self._costs: dict[tuple[float, Pool], Cost] = {}
        self._gathered: dict[tuple[int, float], int] = {}
        self._surface = surface
        self._latencies_ms = {
            percent: [surface.latency_ms(percent, batch) for batch in range(1, self._max_batch + 1)]
            for percent in self._percents
        }
        if self._latencies_ms[self._percents[-1]][0] > self._slo_ms:
            raise InfeasibleError(f"model {self.name}: no run ends in {self._slo_ms:g} ms")

    @cached_property
    def least_area_percent(self) -> float:
        """The GPU% that the rate takes at best."""
        return MS_PER_S * self._rate * least_area_per_item(self._surface, self._slo_ms)

    @cached_property
    def _least_percent(self) -> int:
        """The smallest lane on which one item ends in time."""
        in_time = (p for p in self._percents if self._latencies_ms[p][0] <= self._planned_ms)
        return next(in_time, self._percents[-1])

    @cached_property
    def _dearness(self) -> Mapping[int, float]:
        """By lane: how many times the least area its items take in the best run that ends in time.

        Infinite where none does; all that is cheap is the same.
        """
        most_per_s = most_items_per_s(self._surface, self._planned_ms)
        least_area = least_area_per_item(self._surface, self._slo_ms)

        def dearness(percent: int) -> float:
            return max(_CHEAP, percent / most_per_s[percent] / least_area) if percent in most_per_s else inf

        return {percent: dearness(percent) for percent in self._percents}

    def best_pool(self, load: float, lanes: int, room_percent: float) -> Pool:
        """The pool of the least cost at that factor on the rate: lane by lane, then each one again.

        None of its lanes is larger than the room, if smaller ones can end in time. A lane that lessens no
        cost is a cheap one: bursts are longer than planned, and runs of others in the way.
        """
        most = max(room_percent, self._least_percent)
        percents = [percent for percent in self._percents if percent <= most]
        chosen: list[int] = []
        while len(chosen) < lanes:
            chosen.append(self._best(percents, chosen, load))
        for _ in range(_SWEEPS):
            before = list(chosen)
            for lane in range(lanes):
                others = chosen[:lane] + chosen[lane + 1 :]
                chosen[lane] = self._best(percents, others, load)
            if chosen == before:
                break
        return tuple(sorted(chosen))

    def cost(self, pool: Sequence[int], load: float) -> Cost:
        """What the pool lacks and takes at that factor on the rate."""
        key = (load, tuple(sorted(pool)))
        if key not in self._costs:
            self._costs[key] = self._cost(*key)
        return self._costs[key]

    def _cost(self, load: float, pool: Pool) -> Cost:
        rate = load * self._rate
        runs, gap_ms = self._runs(pool, rate)
        if not runs:
            return Cost(inf, inf)
        # What waits in a burst is there already: its batches need not gather.
        bursts = (self._run(percent, inf, gap_ms) for percent in pool)
        throughput = sum(run.rate for run in bursts if run)
        # Whoever waited for long runs on the widest lane, alone if need be.
        shortest_ms = self._latencies_ms[max(pool)][0]
        patience_ms = self._assumed.lane_part * (self._slo_ms - shortest_ms - gap_ms)
        needed = _throughput_for(rate, patience_ms, self._assumed.late_part)
        lacking = max(0.0, needed - throughput) / rate
        area_percent = sum(served * run.area_per_item for run, served in self._served(runs, rate))
        # Costs that differ by rounding are the same: the order of `best_pool` says which pool is better.
        return Cost(round(lacking, _SHORTFALL_DIGITS), round(area_percent, _AREA_DIGITS))

    def use(self, pool: Pool, load: float) -> Use:
        """What the planned runs on the pool mean to the other models, at that factor on the rate."""
        rate = load * self._rate
        runs, _ = self._runs(pool, rate)
        fastest_ms = min((run.latency_ms for run in runs), default=self._slo_ms)
        held = [(run.latency_ms, served * run.area_per_item) for run, served in self._served(runs, rate)]
        return Use(held, patient_ms=self._assumed.patient_part * (self._slo_ms - fastest_ms))

    def _best(self, percents: Sequence[int], others: Sequence[int], load: float) -> int:
        def order(percent: int) -> tuple[Cost, float, int]:
            cost = self.cost((*others, percent), load)
            # Where no planned run is in time, the widest lane is the nearest to it.
            return cost, -percent if cost.area_percent == inf else self._dearness[percent], percent

        return min(percents, key=order)

    def _runs(self, pool: Pool, rate: float) -> tuple[list[_Run], float]:
        """The largest batch for each lane that ends in time after the gap in which some lane gets free."""
        gap_ms = 0.0
        runs: list[_Run] = []
        for _ in range(_GAP_STEPS):
            runs = [run for percent in pool if (run := self._run(percent, rate, gap_ms))]
            gap_ms = 1 / sum(1 / run.latency_ms for run in runs) if runs else 0.0
        return runs, gap_ms

    def _run(self, percent: int, rate: float, gap_ms: float) -> _Run | None:
        # Latencies do not fall with the batch, so those that end in time after the gap come first.
        in_time = bisect_right(self._latencies_ms[percent], self._planned_ms - gap_ms)
        batch = min(in_time, self._largest_gathered(percent, rate))
        return self._planned_run(percent, batch) if batch else None

    def _planned_run(self, percent: int, batch: int) -> _Run:
        latency_ms = self._latencies_ms[percent][batch - 1]
        return _Run(latency_ms, batch / latency_ms, percent * latency_ms / batch)

    def _largest_gathered(self, percent: int, rate: float) -> int:
        """The largest batch that gathers and then ends in time; 0 if not even one item does."""
        key = (percent, rate)
        if key not in self._gathered:
            each_ms = self._assumed.gathering_part / rate
            self._gathered[key] = bisect_right(
                range(self._max_batch),
                self._planned_ms,
                key=lambda others: self._latencies_ms[percent][others] + others * each_ms,
            )
        return self._gathered[key]

    def _served(self, runs: Sequence[_Run], rate: float) -> Iterator[tuple[_Run, float]]:
        """What each lane has of the rate: the cheapest first, as much as is planned; the dearest the rest."""
        cheapest_first = sorted(runs, key=lambda run: run.area_per_item)
        for run in cheapest_first:
            planned = self._assumed.lane_utilization * run.rate
            served = rate if run is cheapest_first[-1] else min(rate, planned)
            yield run, served
            rate -= served


def _throughput_for(rate: float, patience_ms: float, late_part: float) -> float:
    """The throughput at which no more than that part of Poisson arrivals wait longer than that.

    In heavy traffic, where service is regular, P(wait > t) = exp(-2 (m/r - 1) m t) for arrivals of rate r and
    throughput m (Kingman's bound for M/D/1), solved for m.
    """
    if patience_ms <= 0:
        return inf
    return rate / 2 + sqrt(rate**2 / 4 + rate * log(1 / late_part) / (2 * patience_ms))
