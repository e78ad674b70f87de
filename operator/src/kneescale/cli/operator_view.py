"""What the operator, which has rules of its own, makes of the GPUs that a plan takes."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, inf

from kneescale.core.errors import InfeasibleError
from kneescale.core.planning.configuration import Configuration, efficient_configuration
from kneescale.core.planning.fluid import GpuPool, Workload
from kneescale.core.planning.placement import DEFAULT_AREA_LIMIT_PERMILLE, Demand, Device, Placed, place
from kneescale.core.tiers import MPS_CLIENTS
from kneescale.core.units import GIB

#: So many times a plan's GPUs are looked at.
MOST_TIMES = 4
#: Where they are many, to such a part of them.
_RESOLUTION = 0.01
#: A model has up to so many times the replicas that it needs at least: where it finds no room each number of
#: them is tried.
_MOST_PARTS = 6
#: More than any GPU has: where memory is no limit.
_ENDLESS_BYTES = 1 << 50


@dataclass(frozen=True, slots=True)
class OperatorView:
    """The models that it refuses, each with the reason, and the GPUs on which it places all others.

    The latter are as many as the plan's where those do, and None where four times as many do not. Of hundreds
    they are to a hundredth the fewest; they may be more where not each larger number does.
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
            demands.append(_demand(workload, pool.product, run))
    areas = (demand.configurations[pool.product].area_permille for demand in demands)
    # Fewer cannot hold the area, and a try that fails takes longer than one that succeeds.
    least = max(gpus, ceil(sum(areas) / DEFAULT_AREA_LIMIT_PERMILLE))
    places = partial(_places, demands, pool, clients_each)
    numbers = range(least, MOST_TIMES * gpus + 1, max(1, round(_RESOLUTION * least)))
    return OperatorView(refused, _first(places, numbers))


def _first(places: Callable[[int], bool], numbers: Sequence[int]) -> int | None:
    """The first of the numbers that does: by strides that double, then by bisection."""
    failed, tried, last = -1, 0, len(numbers) - 1
    while tried <= last and not places(numbers[tried]):
        failed, tried = tried, max(tried + 1, min(last, 2 * tried))
    if tried > last:
        return None
    between = numbers[failed + 1 : tried]
    return numbers[failed + 1 + bisect_left(between, True, key=places)]


def _demand(workload: Workload, product: str, run: Configuration) -> Demand:
    memory_bytes = round(workload.memory_gib * GIB)
    most = _MOST_PARTS * max(1, ceil(run.area_permille / DEFAULT_AREA_LIMIT_PERMILLE))
    return Demand(workload.name, {product: run}, memory_bytes, min_replicas=1, max_replicas=most)


def _places(demands: Sequence[Demand], pool: GpuPool, clients_each: int, gpus: int) -> bool:
    memory_bytes = _ENDLESS_BYTES if pool.memory_gib == inf else round(pool.memory_gib * GIB)
    devices = [
        Device(name, name, name, pool.product, memory_bytes, MPS_CLIENTS // clients_each)
        for name in map(str, range(gpus))
    ]
    outcome = place(demands, devices, {})
    return all(isinstance(to, Placed) and not to.shortfall for to in outcome.values())
