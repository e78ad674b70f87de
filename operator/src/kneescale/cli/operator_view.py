"""What the operator, which has rules of its own, makes of the GPUs that a plan takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf

from kneescale.core.errors import InfeasibleError
from kneescale.core.planning.configuration import Configuration, efficient_configuration
from kneescale.core.planning.fluid import GpuPool, Workload
from kneescale.core.planning.placement import DEFAULT_AREA_LIMIT_PERMILLE, Demand, Device, Placed, place
from kneescale.core.tiers import MPS_CLIENTS
from kneescale.core.units import GIB

#: So many times a plan's GPUs are looked at.
MOST_TIMES = 4
#: More than any GPU has: where memory is no limit.
_ENDLESS_BYTES = 1 << 50


@dataclass(frozen=True, slots=True)
class OperatorView:
    """The models that it refuses, each with the reason, and the GPUs on which it places all others.

    The latter are as many as the plan's where those do, and None where four times as many do not.
    """

    refused: Mapping[str, str]
    gpus: int | None


def operator_view(workloads: Sequence[Workload], pool: GpuPool, gpus: int, clients_each: int) -> OperatorView:
    """What it makes of so many GPUs like the pool's, where no other models are."""
    demands, refused = list[Demand](), dict[str, str]()
    for workload in workloads:
        surface = workload.surfaces[pool.product]
        try:
            run = efficient_configuration(surface, slo_ms=workload.limit_ms, rate_rps=workload.rate_rps)
        except InfeasibleError as error:
            refused[workload.name] = str(error)
        else:
            demands.append(_demand(workload, pool.product, run, MOST_TIMES * gpus))
    areas = (demand.configurations[pool.product].area_permille for demand in demands)
    least = max(gpus + 1, ceil(sum(areas) / DEFAULT_AREA_LIMIT_PERMILLE))
    tried = (gpus, *range(least, MOST_TIMES * gpus + 1))
    enough = (number for number in tried if _places(demands, pool, number, clients_each))
    return OperatorView(refused, next(enough, None))


def _demand(workload: Workload, product: str, run: Configuration, most_replicas: int) -> Demand:
    memory_bytes = round(workload.memory_gib * GIB)
    return Demand(workload.name, {product: run}, memory_bytes, min_replicas=1, max_replicas=most_replicas)


def _places(demands: Sequence[Demand], pool: GpuPool, gpus: int, clients_each: int) -> bool:
    memory_bytes = _ENDLESS_BYTES if pool.memory_gib == inf else round(pool.memory_gib * GIB)
    devices = [
        Device(name, name, name, pool.product, memory_bytes, MPS_CLIENTS // clients_each)
        for name in map(str, range(gpus))
    ]
    outcome = place(demands, devices, {})
    return all(isinstance(to, Placed) and not to.shortfall for to in outcome.values())
