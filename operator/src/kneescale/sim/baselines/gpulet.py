"""gpulet: a GPU in up to two partitions, each with models in duty cycles (ATC 2022)."""

from collections.abc import Sequence

from kneescale.sim.baselines.duty_cycles import DutyCycle, DutyCycles, squishy
from kneescale.sim.tenant import Tenant


class Gpulet(DutyCycles):
    """Each model on one of the partitions, where it takes turns with the others that are there.

    From the paper (arXiv 2109.01611) and its project: partitions ("gpu-lets") of 20, 40, 50, 60, 80 or
    100 GPU%, at most two of them on a GPU; a model gets the smallest that serves its rate within its SLO,
    and shares one in time, by squishy bin packing, when none is free. Its factor for interference between
    partitions is left out: here there is none, to its gain.

    `partitions` are the sizes; a search over all of them can only be better than the greedy split that the
    paper makes. Models are placed by falling need of the whole GPU, each where the occupancy stays lowest.
    """

    def __init__(self, tenants: tuple[Tenant, ...], *, partitions: tuple[int, ...], headroom: float) -> None:
        super().__init__(tenants, _placed(tenants, partitions, headroom))


def _placed(tenants: tuple[Tenant, ...], partitions: Sequence[int], headroom: float) -> list[DutyCycle]:
    def need(model: int) -> float:
        return squishy(tenants, [model], 100, headroom).occupancy

    cycles = [DutyCycle(percent, {}, 0.0) for percent in partitions]
    for model in sorted(range(len(tenants)), key=need, reverse=True):
        grown = [squishy(tenants, [*cycle.batches, model], cycle.gpu_percent, headroom) for cycle in cycles]
        chosen = min(range(len(cycles)), key=lambda partition: grown[partition].occupancy)
        cycles[chosen] = grown[chosen]
    return cycles
