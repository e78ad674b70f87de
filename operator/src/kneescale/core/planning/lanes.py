"""Which lanes each model's worker holds, chosen for the set of models on one GPU.

A pool of lanes is worth what it does under bursts and beside others, not what its cheapest lane costs. Three
things are asked of it: that its runs find room beside those of other models that are too long to wait for;
throughput for the bursts of Poisson arrivals, by what is known of queues in heavy traffic (`lane_queueing`);
and then the least GPU area. The load for which the pools are chosen is the largest at which all of them, and
the GPU, still do. All of that is under assumptions, and which of them suit a set of models is told best by
trying what follows from each (docs/adr/0039).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

from kneescale.core.planning.configuration import efficient_configuration
from kneescale.core.planning.fluid import Workload
from kneescale.core.planning.lane_queueing import LIKELY, Assumptions, Demand, ModelOnLanes, Pool, demands_of
from kneescale.core.units import WHOLE_GPU_PERCENT

T = TypeVar("T")

#: What else is assumed in turn; each carries more than `LIKELY` where others carry less.
_LESS_LIKELY = (
    # Lanes are busy for longer than planned, so that fewer runs of others are worth waiting for.
    Assumptions(lane_utilization=0.45, patient_part=0.15),
    Assumptions(planned_part=0.8),
    Assumptions(area_part=0.75),
    Assumptions(area_part=0.95),
)

_LOAD_STEPS = 6

#: How often pools are chosen anew, each beside the others as they were chosen last.
_ROUNDS = 2

#: Any would do; the digits are those by which rates in the same proportion differ from rounding.
_TOTAL_RPS, _DIGITS = 1000, 9

#: The pool of each model, in the models' order.
Pools = tuple[Pool, ...]


def demands_in_proportion(workloads: Sequence[Workload], product: str) -> tuple[Demand, ...]:
    """The workloads on GPUs of the product, with rates that always add up to the same.

    So what was found for them is found again at any load.
    """
    demands = demands_of(workloads, product)
    total_rps = sum(demand.rate_rps for demand in demands)

    def rounded(rate_rps: float) -> float:
        # No rate is 0.
        return max(10.0**-_DIGITS, round(_TOTAL_RPS * rate_rps / total_rps, _DIGITS))

    return tuple(replace(demand, rate_rps=rounded(demand.rate_rps)) for demand in demands)


def proposed_pools(
    demands: Sequence[Demand], lanes: int, kept: Mapping[str, Pool] = MappingProxyType({})
) -> tuple[Pools, ...]:
    """Choices of so many lanes for each model, for all of them on one GPU; the likeliest to be best first.

    Only the proportions of the rates matter, since the pools are those for the largest load. Models in `kept`
    have the pool that it says. Raises InfeasibleError where no run of a model ends in time.
    """
    proposed = (_pools_if(assumed, demands, lanes, kept) for assumed in (LIKELY, *_LESS_LIKELY))
    return tuple(dict.fromkeys(proposed))


def _pools_if(assumed: Assumptions, demands: Sequence[Demand], lanes: int, kept: Mapping[str, Pool]) -> Pools:
    models = [ModelOnLanes(demand, assumed) for demand in demands]

    def pools_for(load: float, rooms: Sequence[float]) -> Pools:
        return tuple(
            kept.get(model.name) or model.best_pool(load, lanes, room)
            for model, room in zip(models, rooms, strict=True)
        )

    def pools_at(load: float) -> Pools:
        pools = pools_for(load, [WHOLE_GPU_PERCENT] * len(models))
        for _ in range(_ROUNDS):
            before, pools = pools, pools_for(load, _rooms(models, pools, load))
            if pools == before:
                break
        return pools

    return _largest_load(models, pools_at, assumed)[1]


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
    held = tuple(pools[model.name] for model in models)
    load, _ = _largest_load(models, lambda _: held)
    return load


def _largest_load(
    models: Sequence[ModelOnLanes], pools_at: Callable[[float], Pools], assumed: Assumptions = LIKELY
) -> tuple[float, Pools]:
    """The largest load at which the pools made for it suffice, and those pools."""
    most = WHOLE_GPU_PERCENT / sum(model.least_area_percent for model in models)
    return bisected(most, pools_at, lambda pools, load: suffice(models, pools, load, assumed))


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


def suffice(
    models: Sequence[ModelOnLanes], pools: Sequence[Pool], load: float, assumed: Assumptions = LIKELY
) -> bool:
    """Whether the pools carry that factor on the rates on one GPU, bursts included."""
    costs = [model.cost(pool, load) for model, pool in zip(models, pools, strict=True)]
    fits = sum(cost.area_percent for cost in costs) <= assumed.area_part * WHOLE_GPU_PERCENT
    return fits and not any(cost.shortfall for cost in costs)


def paper_lanes(workloads: Sequence[Workload], product: str) -> dict[str, Pool]:
    """One lane for each model, at the GPU% of the highest efficacy: D-STACK's own choice (arXiv 2304.13541).

    Raises InfeasibleError where no run of a model keeps its rules.
    """
    return {workload.name: (_efficient_percent(workload, product),) for workload in workloads}


def _efficient_percent(workload: Workload, product: str) -> int:
    surface = workload.surfaces[product]
    return efficient_configuration(surface, slo_ms=workload.limit_ms, rate_rps=workload.rate_rps).gpu_percent
