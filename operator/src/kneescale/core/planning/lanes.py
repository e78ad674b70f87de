"""Which lanes each model's worker holds, chosen for the set of models on one GPU.

A pool of lanes is worth what it does under bursts and beside others, not what its cheapest lane costs. Three
things are asked of it: that its runs find room beside those of other models that are too long to wait for;
throughput for the bursts of Poisson arrivals, by what is known of queues in heavy traffic; and then the least
GPU area. The load for which the pools are chosen is the largest at which all of them, and the GPU, still do.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import log, sqrt
from types import MappingProxyType
from typing import TypeVar

from kneescale.core.errors import InfeasibleError
from kneescale.core.planning.configuration import efficient_configuration
from kneescale.core.planning.fluid import Workload, least_area_per_item
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.core.units import MS_PER_S, WHOLE_GPU_PERCENT

T = TypeVar("T")

#: One entry for each lane: its GPU%. A lane runs one batch at a time.
Pool = tuple[int, ...]

#: A planned run ends, after waiting for a lane, within this part of the SLO. This figure and the next ones
#: were tuned by simulation, with three lanes, on the paper's mixes and random ones; asking for one lane that
#: runs the largest batch in 0.4 to 0.6 of the SLO made them worse.
_PLANNED_PART = 0.9

#: A request waits for this part of the time that its batch takes to gather: in the mean half, the oldest all.
_GATHERING_PART = 0.75

#: Of the time that a request can wait, this part is left for its lane; the rest goes to waiting for the GPU.
_LANE_PART = 0.5

#: No more than this part of the requests may wait longer.
_LATE_PART = 0.005

#: Together the pools may take this part of the GPU's area.
_AREA_PART = 0.85

#: Sharing a lane with bursts, planned runs take no more than this part of its time.
_LANE_UTILIZATION = 0.8

#: Of the time that a request can wait, this part may go to waiting for the end of another model's run.
_PATIENT_PART = 0.5

_LOAD_STEPS = 6
_SWEEPS = 3

#: How often pools are chosen anew, each beside the others as they were chosen last.
_ROUNDS = 2

#: Choices that are remembered, one for each GPU whose pools do not carry its rates: every plan asks for them
#: anew, and one of eight models takes half a second.
_REMEMBERED = 256
#: Any would do; the digits are those by which rates in the same proportion differ from rounding.
_TOTAL_RPS, _DIGITS = 1000, 9


def choose_lanes(
    workloads: Sequence[Workload],
    product: str,
    lanes: int,
    kept: Mapping[str, Pool] = MappingProxyType({}),
) -> dict[str, Pool]:
    """So many lanes for each model, by name, for all of them on one GPU of the product.

    Only the proportions of the rates matter, since the pools are those for the largest load. Models in `kept`
    have the pool that it says. Raises InfeasibleError where no run of a model ends in time.
    """
    demands = _in_proportion(_demands(workloads, product))
    pools = _chosen(demands, lanes, tuple(sorted(kept.items())))
    return {demand.name: pool for demand, pool in zip(demands, pools, strict=True)}


@lru_cache(_REMEMBERED)
def _chosen(
    demands: tuple["_Demand", ...], lanes: int, kept: tuple[tuple[str, Pool], ...]
) -> tuple[Pool, ...]:
    choices, given = [Chooser(demand) for demand in demands], dict(kept)

    def pools_for(load: float, rooms: Sequence[float]) -> list[Pool]:
        return [
            given.get(choice.name) or choice.pool(load, lanes, room)
            for choice, room in zip(choices, rooms, strict=True)
        ]

    def pools_at(load: float) -> list[Pool]:
        pools = pools_for(load, [WHOLE_GPU_PERCENT] * len(choices))
        for _ in range(_ROUNDS):
            before, pools = pools, pools_for(load, _rooms(choices, pools, load))
            if pools == before:
                break
        return pools

    _, pools = _largest_load(choices, pools_at)
    return tuple(pools)


def carries(workloads: Sequence[Workload], product: str, pools: Mapping[str, Pool]) -> bool:
    """Whether pools, by model, are enough for the workloads on one GPU of the product, bursts included.

    Raises InfeasibleError where no run of a model ends in time.
    """
    choices = choosers(workloads, product)
    return suffice(choices, [pools[choice.name] for choice in choices], load=1.0)


def choosers(workloads: Sequence[Workload], product: str) -> list["Chooser"]:
    """What chooses pools for each workload on GPUs of the product; making one takes longer than asking it.

    Raises InfeasibleError where no run of a model ends in time.
    """
    return [Chooser(demand) for demand in _demands(workloads, product)]


def carried_load(workloads: Sequence[Workload], product: str, pools: Mapping[str, Pool]) -> float:
    """The largest factor on the rates at which the pools are enough; to a 64th of what the GPU's area bounds.

    Raises InfeasibleError where no run of a model ends in time.
    """
    choices = choosers(workloads, product)
    load, _ = _largest_load(choices, lambda _: [pools[choice.name] for choice in choices])
    return load


def _demands(workloads: Sequence[Workload], product: str) -> tuple["_Demand", ...]:
    return tuple(
        _Demand(each.name, each.rate_rps, each.limit_ms, each.surfaces[product]) for each in workloads
    )


def _in_proportion(demands: Sequence["_Demand"]) -> tuple["_Demand", ...]:
    """With rates that add up to a number that is always the same, so that what was chosen is found again."""
    total_rps = sum(demand.rate_rps for demand in demands)
    return tuple(
        replace(demand, rate_rps=round(_TOTAL_RPS * demand.rate_rps / total_rps, _DIGITS))
        for demand in demands
    )


def _largest_load(
    choices: Sequence["Chooser"], pools_at: Callable[[float], list[Pool]]
) -> tuple[float, list[Pool]]:
    """The largest load at which the pools made for it suffice, and those pools."""
    most = WHOLE_GPU_PERCENT / sum(choice.least_area_percent for choice in choices)
    return bisected(most, pools_at, lambda pools, load: suffice(choices, pools, load))


def bisected(
    most: float, made_for: Callable[[float], T], is_enough: Callable[[T, float], bool]
) -> tuple[float, T]:
    """By bisection, the largest load up to `most` at which what is made for it is enough, and that.

    Where that is at none, what is made for the smallest load.
    """
    low, high = 0.0, most
    made = made_for(high / 2**_LOAD_STEPS)
    for _ in range(_LOAD_STEPS):
        load = (low + high) / 2
        found = made_for(load)
        if is_enough(found, load):
            low, made = load, found
        else:
            high = load
    return low, made


def _rooms(choices: Sequence["Chooser"], pools: Sequence[Pool], load: float) -> list[float]:
    """The GPU% that each model finds free in the mean beside runs of the others that it cannot wait for.

    A wide lane whose requests must be answered soon is of no use where longer runs always hold a part of it.
    """
    uses = [choice.use(pool, load) for choice, pool in zip(choices, pools, strict=True)]
    return [
        WHOLE_GPU_PERCENT
        - sum(
            percent
            for other in uses
            if other is not use
            for latency_ms, percent in other.held
            if latency_ms > use.patient_ms
        )
        for use in uses
    ]


def suffice(choices: Sequence["Chooser"], pools: Sequence[Pool], load: float) -> bool:
    """Whether the pools carry that factor on the rates on one GPU, bursts included."""
    costs = [choice.cost(pool, load) for choice, pool in zip(choices, pools, strict=True)]
    fits = sum(cost.area_percent for cost in costs) <= _AREA_PART * WHOLE_GPU_PERCENT
    return fits and not any(cost.shortfall for cost in costs)


def paper_lanes(workloads: Sequence[Workload], product: str) -> dict[str, Pool]:
    """One lane for each model, at the GPU% of the highest efficacy: D-STACK's own choice (arXiv 2304.13541).

    Raises InfeasibleError where no run of a model keeps its rules.
    """
    return {workload.name: (_efficient_percent(workload, product),) for workload in workloads}


def _efficient_percent(workload: Workload, product: str) -> int:
    surface = workload.surfaces[product]
    return efficient_configuration(surface, slo_ms=workload.limit_ms, rate_rps=workload.rate_rps).gpu_percent


@dataclass(frozen=True, slots=True)
class _Demand:
    """What a choice looks at of a workload on one product."""

    name: str
    rate_rps: float
    slo_ms: float
    surface: LatencySurface


@dataclass(frozen=True, slots=True, order=True)
class _Cost:
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
class _Use:
    """How a model uses its pool."""

    #: How long each planned run takes in ms, and the GPU% that it holds in the mean.
    held: Sequence[tuple[float, float]]
    #: How long a request can wait for the end of another model's run.
    patient_ms: float


class Chooser:
    """The best pool of one model for any load."""

    def __init__(self, demand: _Demand) -> None:
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

    def pool(self, load: float, lanes: int, room_percent: float) -> Pool:
        """The pool of the least cost at that factor on the rate: lane by lane, then each one again.

        None of its lanes is larger than the room, if smaller ones can end in time.
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

    def cost(self, pool: Pool, load: float) -> _Cost:
        """What the pool lacks and takes at that factor on the rate."""
        rate = load * self._rate
        runs, gap_ms = self._runs(pool, rate)
        if not runs:
            return _Cost(float("inf"), float("inf"))
        # What waits in a burst is there already: its batches need not gather.
        bursts = (self._run(percent, float("inf"), gap_ms) for percent in pool)
        throughput = sum(run.rate for run in bursts if run)
        # Whoever waited for long runs on the widest lane, alone if need be.
        shortest_ms = self._latencies_ms[max(pool)][0]
        patience_ms = _LANE_PART * (self._slo_ms - shortest_ms - gap_ms)
        lacking = max(0.0, _throughput_for(rate, patience_ms) - throughput) / rate
        area_percent = sum(served * run.area_per_item for run, served in _served(runs, rate))
        return _Cost(round(lacking, 6), area_percent)

    def use(self, pool: Pool, load: float) -> _Use:
        """What the planned runs on the pool mean to the other models, at that factor on the rate."""
        rate = load * self._rate
        runs, _ = self._runs(pool, rate)
        fastest_ms = min((run.latency_ms for run in runs), default=self._slo_ms)
        held = [(run.latency_ms, served * run.area_per_item) for run, served in _served(runs, rate)]
        return _Use(held, patient_ms=_PATIENT_PART * (self._slo_ms - fastest_ms))

    def _best(self, percents: Sequence[int], others: Sequence[int], load: float) -> int:
        return min(percents, key=lambda percent: (self.cost((*others, percent), load), percent))

    def _runs(self, pool: Pool, rate: float) -> tuple[list[_Run], float]:
        """The largest batch for each lane that ends in time after the gap in which some lane gets free."""
        gap_ms = 0.0
        runs: list[_Run] = []
        for _ in range(_SWEEPS):
            runs = [run for percent in pool if (run := self._run(percent, rate, gap_ms))]
            gap_ms = 1 / sum(1 / run.latency_ms for run in runs) if runs else 0.0
        return runs, gap_ms

    def _run(self, percent: int, rate: float, gap_ms: float) -> _Run | None:
        limit_ms = _PLANNED_PART * self._slo_ms
        for batch in range(self._max_batch, 0, -1):
            latency_ms = self._latencies_ms[percent][batch - 1]
            gather_ms = _GATHERING_PART * (batch - 1) / rate
            if latency_ms + max(gap_ms, gather_ms) <= limit_ms:
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
        return float("inf")
    return rate / 2 + sqrt(rate**2 / 4 + rate * log(1 / _LATE_PART) / (2 * patience_ms))
