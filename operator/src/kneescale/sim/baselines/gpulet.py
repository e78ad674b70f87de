"""gpulet: a GPU in up to two partitions, each with models in duty cycles (ATC 2022)."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations, product

from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.sim.baselines.duty_cycles import DutyCycle, DutyCycles, Planned, squishy
from kneescale.sim.tenant import Tenant

#: Of so many models every assignment to two partitions is tried, of more the best fit alone.
_ALL_TRIED = 10

#: By model.
_Plans = Mapping[int, Planned]


class Gpulet(DutyCycles):
    """Each model on one of the partitions, where it takes turns with the others that are there.

    From the paper (arXiv 2109.01611) and its project: partitions ("gpu-lets") of 20, 40, 50, 60, 80 or
    100 GPU%, at most two of them on a GPU; a model gets the smallest that serves its rate within its SLO,
    and shares one in time, by squishy bin packing, when none is free; a model that is too much for one has it
    alone, and the rest of its rate on the other. Its factor for interference between partitions is left
    out: here there is none, to its gain.

    `partitions` are the sizes, for a search to try. Where the paper goes model by model, here the models are
    placed so that the fuller partition is as empty as can be, of all ways if they are not too many.
    """

    def __init__(self, tenants: tuple[Tenant, ...], *, partitions: tuple[int, ...], headroom: float) -> None:
        rates_rps = [headroom * tenant.rate_rps for tenant in tenants]
        found = [*_placed(tenants, rates_rps, partitions), *_with_one_on_both(tenants, rates_rps, partitions)]
        super().__init__(tenants, min(found, key=_largest_occupancy))


def _largest_occupancy(cycles: Sequence[DutyCycle]) -> float:
    return max(cycle.occupancy for cycle in cycles)


def _placed(
    tenants: Sequence[Tenant], rates_rps: Sequence[float], partitions: Sequence[int]
) -> Iterator[list[DutyCycle]]:
    """Duty cycles in which each model is on one partition."""
    plans = [_plans(tenants, rates_rps, percent) for percent in partitions]
    if len(tenants) > _ALL_TRIED:
        yield _best_fit(tenants, rates_rps, partitions, plans)
        return
    for chosen in product(range(len(partitions)), repeat=len(tenants)):
        yield [
            squishy(percent, {model: plan for model, plan in of_all.items() if chosen[model] == partition})
            for partition, (percent, of_all) in enumerate(zip(partitions, plans, strict=True))
        ]


def _best_fit(
    tenants: Sequence[Tenant], rates_rps: Sequence[float], partitions: Sequence[int], plans: Sequence[_Plans]
) -> list[DutyCycle]:
    """By falling need of the whole GPU, each model where it still fits and the least is left."""
    alone = _plans(tenants, rates_rps, WHOLE_GPU_PERCENT)

    def need(model: int) -> float:
        return squishy(WHOLE_GPU_PERCENT, {model: alone[model]}).occupancy

    cycles = [DutyCycle(percent, {}, 0.0) for percent in partitions]
    for model in sorted(alone, key=need, reverse=True):
        grown = [
            squishy(cycle.gpu_percent, {each: of_all[each] for each in (*cycle.batches, model)})
            for cycle, of_all in zip(cycles, plans, strict=True)
        ]
        chosen = min(range(len(cycles)), key=lambda partition: _left(grown[partition]))
        cycles[chosen] = grown[chosen]
    return cycles


def _left(cycle: DutyCycle) -> tuple[bool, float]:
    """Whether it is too much, and how much is left or too much."""
    return cycle.occupancy > 1, abs(1 - cycle.occupancy)


def _with_one_on_both(
    tenants: Sequence[Tenant], rates_rps: Sequence[float], partitions: Sequence[int]
) -> Iterator[list[DutyCycle]]:
    """Duty cycles in which a model fills one partition and shares the other for the rest of its rate."""
    for own, shared in permutations(partitions, 2):
        for model, tenant in enumerate(tenants):
            most_rps = Planned(tenant, own, rates_rps[model]).most_rps
            rest_rps = [*rates_rps]
            rest_rps[model] -= most_rps
            if rest_rps[model] > 0:
                alone = squishy(own, {model: Planned(tenant, own, most_rps)})
                yield [alone, squishy(shared, _plans(tenants, rest_rps, shared))]


def _plans(tenants: Sequence[Tenant], rates_rps: Sequence[float], gpu_percent: int) -> _Plans:
    return {
        model: Planned(tenant, gpu_percent, rate_rps)
        for model, (tenant, rate_rps) in enumerate(zip(tenants, rates_rps, strict=True))
    }
