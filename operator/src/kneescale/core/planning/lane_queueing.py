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

#: A planned run ends, after waiting for a lane, within this part of the SLO. This figure and the next ones
#: were tuned by simulation, with three lanes, on the paper's mixes and random ones (docs/adr/0035).
_PLANNED_PART = 0.9

#: A request waits for this part of the time that its batch takes to gather: in the mean half, the oldest all.
_GATHERING_PART = 0.75

#: Of the time that a request can wait, this part is left for its lane; the rest goes to waiting for the GPU.
_LANE_PART = 0.4

#: No more than this part of the requests may wait longer.
_LATE_PART = 0.005

#: Sharing a lane with bursts, planned runs take no more than this part of its time.
_LANE_UTILIZATION = 0.8

#: Of the time that a request can wait, this part may go to waiting for the end of another model's run.
_PATIENT_PART = 0.3

#: Lanes are as cheap as each other whose items take up to this many times the least area.
_CHEAP = 1.05

#: Lanes of a pool are looked at so often, each beside the others as they were chosen last.
_SWEEPS = 3

#: How long until some lane gets free follows from the runs, and they from that: settled in so many steps.
_GAP_STEPS = 3


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

    gpu_percent: int
    batch: int
    latency_ms: float

    @property
    def rate(self) -> float:
        """Items per ms."""
        return self.batch / self.latency_ms

    @property
    def area_per_item(self) -> float:
        """GPU% x ms."""
        return self.gpu_percent / self.rate


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

    def __init__(self, demand: Demand) -> None:
        surface = demand.surface
        self.name = demand.name
        self._slo_ms = demand.slo_ms
        self._rate = demand.rate_rps / MS_PER_S
        self._max_batch = surface.batches[-1]
        self._percents = surface.gpu_percents
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
        limit_ms = _PLANNED_PART * self._slo_ms
        in_time = (percent for percent in self._percents if self._latencies_ms[percent][0] <= limit_ms)
        return next(in_time, self._percents[-1])

    @cached_property
    def _dearness(self) -> Mapping[int, float]:
        """By lane: how many times the least area its items take in the best run that ends in time.

        Infinite where none does; all that is cheap is the same.
        """
        most_per_s = most_items_per_s(self._surface, _PLANNED_PART * self._slo_ms)
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

    def cost(self, pool: Pool, load: float) -> Cost:
        """What the pool lacks and takes at that factor on the rate."""
        rate = load * self._rate
        runs, gap_ms = self._runs(pool, rate)
        if not runs:
            return Cost(inf, inf)
        # What waits in a burst is there already: its batches need not gather.
        bursts = (self._run(percent, inf, gap_ms) for percent in pool)
        throughput = sum(run.rate for run in bursts if run)
        # Whoever waited for long runs on the widest lane, alone if need be.
        shortest_ms = self._latencies_ms[max(pool)][0]
        patience_ms = _LANE_PART * (self._slo_ms - shortest_ms - gap_ms)
        lacking = max(0.0, _throughput_for(rate, patience_ms) - throughput) / rate
        area_percent = sum(served * run.area_per_item for run, served in _served(runs, rate))
        return Cost(round(lacking, 6), area_percent)

    def use(self, pool: Pool, load: float) -> Use:
        """What the planned runs on the pool mean to the other models, at that factor on the rate."""
        rate = load * self._rate
        runs, _ = self._runs(pool, rate)
        fastest_ms = min((run.latency_ms for run in runs), default=self._slo_ms)
        held = [(run.latency_ms, served * run.area_per_item) for run, served in _served(runs, rate)]
        return Use(held, patient_ms=_PATIENT_PART * (self._slo_ms - fastest_ms))

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
        limit_ms, latencies_ms = _PLANNED_PART * self._slo_ms, self._latencies_ms[percent]
        # They do not fall with the batch, so those that end in time after the gap come first.
        for batch in range(bisect_right(latencies_ms, limit_ms - gap_ms), 0, -1):
            latency_ms, gather_ms = latencies_ms[batch - 1], _GATHERING_PART * (batch - 1) / rate
            if latency_ms + gather_ms <= limit_ms:
                return _Run(percent, batch, latency_ms)
        return None


def _served(runs: Sequence[_Run], rate: float) -> Iterator[tuple[_Run, float]]:
    """What each lane has of the rate: the cheapest first, up to its utilisation; the dearest has the rest."""
    cheapest_first = sorted(runs, key=lambda run: run.area_per_item)
    for run in cheapest_first:
        served = rate if run is cheapest_first[-1] else min(rate, _LANE_UTILIZATION * run.rate)
        yield run, served
        rate -= served


def _throughput_for(rate: float, patience_ms: float) -> float:
    """The throughput at which no more than `_LATE_PART` of Poisson arrivals wait longer than that.

    In heavy traffic, where service is regular, P(wait > t) = exp(-2 (m/r - 1) m t) for arrivals of rate r and
    throughput m (Kingman's bound for M/D/1), solved for m.
    """
    if patience_ms <= 0:
        return inf
    return rate / 2 + sqrt(rate**2 / 4 + rate * log(1 / _LATE_PART) / (2 * patience_ms))
