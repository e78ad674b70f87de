"""Which lanes each model's worker holds, chosen for the set of models on one GPU.

A pool of lanes is worth what it does under bursts and beside others, not what its cheapest lane costs. Three
things are asked of it: that its runs find room beside those of other models that are too long to wait for;
throughput for the bursts of Poisson arrivals, by what is known of queues in heavy traffic (`lane_queueing`);
and then the least GPU area. The load for which the pools are chosen is the largest at which all of them, and
the GPU, still do.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import TypeVar

from kneescale.core.planning.configuration import efficient_configuration
from kneescale.core.planning.fluid import Workload
from kneescale.core.planning.lane_queueing import Demand, ModelOnLanes, Pool, demands_of
from kneescale.core.units import WHOLE_GPU_PERCENT

T = TypeVar("T")

#: Together the pools may take this part of the GPU's area.
_AREA_PART = 0.85

_LOAD_STEPS = 6

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
    demands = _in_proportion(demands_of(workloads, product))
    pools = _chosen(demands, lanes, tuple(sorted(kept.items())))
    return {demand.name: pool for demand, pool in zip(demands, pools, strict=True)}


@lru_cache(_REMEMBERED)
def _chosen(demands: tuple[Demand, ...], lanes: int, kept: tuple[tuple[str, Pool], ...]) -> tuple[Pool, ...]:
    models, given = [ModelOnLanes(demand) for demand in demands], dict(kept)

    def pools_for(load: float, rooms: Sequence[float]) -> list[Pool]:
        return [
            given.get(model.name) or model.best_pool(load, lanes, room)
            for model, room in zip(models, rooms, strict=True)
        ]

    def pools_at(load: float) -> list[Pool]:
        pools = pools_for(load, [WHOLE_GPU_PERCENT] * len(models))
        for _ in range(_ROUNDS):
            before, pools = pools, pools_for(load, _rooms(models, pools, load))
            if pools == before:
                break
        return pools

    _, pools = _largest_load(models, pools_at)
    return tuple(pools)


def carries(workloads: Sequence[Workload], product: str, pools: Mapping[str, Pool]) -> bool:
    """Whether pools, by model, are enough for the workloads on one GPU of the product, bursts included.

    Raises InfeasibleError where no run of a model ends in time.
    """
    models = models_on_lanes(workloads, product)
    return suffice(models, [pools[model.name] for model in models], load=1.0)


def models_on_lanes(workloads: Sequence[Workload], product: str) -> list[ModelOnLanes]:
    """Each workload on GPUs of the product; making one takes longer than asking it.

    Raises InfeasibleError where no run of a model ends in time.
    """
    return [ModelOnLanes(demand) for demand in demands_of(workloads, product)]


def carried_load(workloads: Sequence[Workload], product: str, pools: Mapping[str, Pool]) -> float:
    """The largest factor on the rates at which the pools are enough; to a 64th of what the GPU's area bounds.

    Raises InfeasibleError where no run of a model ends in time.
    """
    models = models_on_lanes(workloads, product)
    load, _ = _largest_load(models, lambda _: [pools[model.name] for model in models])
    return load


def _in_proportion(demands: Sequence[Demand]) -> tuple[Demand, ...]:
    """With rates that add up to a number that is always the same, so that what was chosen is found again."""
    total_rps = sum(demand.rate_rps for demand in demands)

    def rounded(rate_rps: float) -> float:
        # No rate is 0.
        return max(10.0**-_DIGITS, round(_TOTAL_RPS * rate_rps / total_rps, _DIGITS))

    return tuple(replace(demand, rate_rps=rounded(demand.rate_rps)) for demand in demands)


def _largest_load(
    models: Sequence[ModelOnLanes], pools_at: Callable[[float], list[Pool]]
) -> tuple[float, list[Pool]]:
    """The largest load at which the pools made for it suffice, and those pools."""
    most = WHOLE_GPU_PERCENT / sum(model.least_area_percent for model in models)
    return bisected(most, pools_at, lambda pools, load: suffice(models, pools, load))


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


def _rooms(models: Sequence[ModelOnLanes], pools: Sequence[Pool], load: float) -> list[float]:
    """The GPU% that each model finds free in the mean beside runs of the others that it cannot wait for.

    A wide lane whose requests must be answered soon is of no use where longer runs always hold a part of it.
    """
    uses = [model.use(pool, load) for model, pool in zip(models, pools, strict=True)]
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


def suffice(models: Sequence[ModelOnLanes], pools: Sequence[Pool], load: float) -> bool:
    """Whether the pools carry that factor on the rates on one GPU, bursts included."""
    costs = [model.cost(pool, load) for model, pool in zip(models, pools, strict=True)]
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
