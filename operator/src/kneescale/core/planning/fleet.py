"""How many GPUs of one product a set of models needs: as few as they can be packed on.

Models that would leave too much of their GPUs over are split into more replicas, each on a GPU of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor

from kneescale.core.errors import InfeasibleError
from kneescale.core.planning.fluid import GpuPool, Workload, fluid_bound
from kneescale.core.planning.placement import Demand, Device, Placed, pack
from kneescale.core.tiers import MPS_CLIENTS
from kneescale.core.units import GIB, WHOLE_GPU_PERCENT

#: What a model asks for in so many replicas, the area being that of all of them: where each has less of the
#: rate, batches are longer in gathering, and so may have to be smaller and dearer.
Replicable = Callable[[int], Demand]

#: Models are split into more replicas as long as that brings the GPUs to within this part of the bound.
_SLACK = 0.05
_MOST_PARTS = 6
#: Those are split no further whose area would grow by more than this part.
_MOST_DEARER = 0.02

#: What stands for memory that is not known: more than any GPU has.
_ENDLESS_GIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Fleet:
    """So many GPUs, and the numbers of those that each model is on."""

    gpus: int
    placement: dict[str, tuple[int, ...]]

    def models(self) -> list[tuple[str, ...]]:
        """The models on each GPU."""
        on: list[list[str]] = [[] for _ in range(self.gpus)]
        for model, gpus in self.placement.items():
            for gpu in gpus:
                on[gpu].append(model)
        return list(map(tuple, on))


def gpus_at_least(
    workloads: Sequence[Workload], pool: GpuPool, utilization: float, clients_each: int = 1
) -> int:
    """The fewest GPUs like the pool's that can do, by area, memory and MPS clients, whatever its own number.

    By the fluid bound, where no GPU is loaded above `utilization`; with 1 it holds for every schedule. A
    worker takes its workload's memory and `clients_each`.
    """
    alone = fluid_bound(
        [replace(workload, memory_gib=0) for workload in workloads], [GpuPool(pool.product, 1)]
    )
    areas = [model.area_percent / alone.load / (WHOLE_GPU_PERCENT * utilization) for model in alone.models]
    workers = [max(1.0, area) for area in areas]
    memory_gib = sum(
        number * workload.memory_gib for number, workload in zip(workers, workloads, strict=True)
    )
    # A hair less, so that rounding in the solver does not ask for one GPU more.
    least = max(sum(areas), memory_gib / pool.memory_gib, sum(workers) / (MPS_CLIENTS // clients_each))
    return ceil(least * (1 - 1e-9))


def size_fleet(
    models: Sequence[Replicable],
    pool: GpuPool,
    *,
    area_limit_permille: int,
    at_least: int,
    clients_each: int = 1,
) -> Fleet:
    """The fewest GPUs like the pool's that hold every model; `at_least` bounds the search from below.

    Models have as few replicas as lead to that, or to within 5 % of `at_least`. Raises InfeasibleError
    where a model is larger than a GPU's memory.
    """
    _check_memory([sized(1) for sized in models], pool)
    in_parts = [
        [_in_parts(sized, pool.product, area_limit_permille, parts) for sized in models]
        for parts in range(1, _MOST_PARTS + 1)
    ]
    placers = [_placer(demands, pool, area_limit_permille, clients_each) for demands in in_parts]
    near = floor(at_least * (1 + _SLACK))
    for placed in placers:
        if fleet := _smallest(at_least, near, placed):
            return fleet
    # With a GPU for each replica there is always room.
    enough = near + sum(demand.min_replicas for demand in in_parts[0])
    fleets = (_smallest(near, enough, placed) for placed in placers)
    return min(filter(None, fleets), key=lambda fleet: fleet.gpus)


def _check_memory(demands: Sequence[Demand], pool: GpuPool) -> None:
    largest = max(demands, key=lambda demand: demand.memory_bytes)
    if largest.memory_bytes > pool.memory_gib * GIB:
        raise InfeasibleError(
            f"model {largest.model}: needs {largest.memory_bytes / GIB:.1f} GiB of GPU memory; "
            f"a GPU has {pool.memory_gib:.3g}"
        )


def _in_parts(sized: Replicable, product: str, limit_permille: int, parts: int) -> Demand:
    """The demand in replicas of at most such a part of the limit; of all of it where they would be dearer."""
    fewest, finer = (_in_fewest(sized, product, limit_permille // each) for each in (1, parts))
    areas = [demand.configurations[product].area_permille for demand in (fewest, finer)]
    return finer if areas[1] <= (1 + _MOST_DEARER) * areas[0] else fewest


def _in_fewest(sized: Replicable, product: str, most_permille: int) -> Demand:
    """The demand in the fewest replicas of at most that area; more of them never take less area."""
    replicas, needed = 0, sized(1).min_replicas
    while replicas < needed:
        replicas = needed
        demand = sized(replicas)
        needed = ceil(demand.configurations[product].area_permille / most_permille)
    return replace(demand, min_replicas=replicas, max_replicas=replicas)


def _placer(
    demands: Sequence[Demand], pool: GpuPool, area_limit_permille: int, clients_each: int
) -> Callable[[int], Fleet | None]:
    memory_bytes = round(min(pool.memory_gib, _ENDLESS_GIB) * GIB)
    workers = MPS_CLIENTS // clients_each

    def placed(gpus: int) -> Fleet | None:
        devices = [
            Device(str(number), str(number), "", pool.product, memory_bytes, workers)
            for number in range(gpus)
        ]
        outcome = pack(demands, devices, area_limit_permille=area_limit_permille)
        placement: dict[str, tuple[int, ...]] = {}
        for model, of_model in outcome.items():
            if not isinstance(of_model, Placed) or of_model.shortfall:
                return None
            placement[model] = tuple(sorted(map(int, of_model.devices)))
        return Fleet(gpus, placement)

    return placed


def _smallest(low: int, high: int, placed: Callable[[int], Fleet | None]) -> Fleet | None:
    """The placement on the fewest GPUs from `low` to `high`, by bisection; None where `high` are too few."""
    best = placed(high)
    while best and low < high:
        middle = (low + high) // 2
        if fleet := placed(middle):
            best, high = fleet, middle
        else:
            low = middle + 1
    return best
