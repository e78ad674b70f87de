"""The fewest GPUs of a product on which every model keeps its SLO, as far as simulation can tell."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from math import ceil, inf

from kneescale.cli.expectation import Expectation, expect
from kneescale.cli.lanes import Lanes, clients_of, with_copies
from kneescale.cli.pool import telling
from kneescale.core.errors import InfeasibleError
from kneescale.core.planning.configuration import Configuration, cheapest_configuration
from kneescale.core.planning.fleet import Fleet, Replicable, gpus_at_least, size_fleet
from kneescale.core.planning.fluid import GpuPool, Workload
from kneescale.core.planning.lane_bound import lane_bound
from kneescale.core.planning.placement import Demand
from kneescale.core.units import GIB, PERMILLE, WHOLE_GPU_PERCENT
from kneescale.sim.scenario import Scenario
from kneescale.sim.trial import Trial

#: What every model of a plan is to keep.
ATTAINMENT = 0.99

#: The part of each GPU's fluid bound that a plan fills, in thousandths. The first is what our scheduler
#: carried of every measured mix at 99 % attainment under Poisson arrivals (docs/results.md); where models
#: still miss their SLOs the next is tried. What the last does not help hardly anything does: models that
#: have no time to wait for each other.
PLANNED_LOADS_PERMILLE = (800, 700, 600, 500, 400, 300)

#: To bound the load of more lanes takes seconds a GPU, and they are hardly a limit.
_MOST_BOUNDED_LANES = 3


@dataclass(frozen=True, slots=True)
class Sized:
    """So many GPUs, the run of each model there, and what to expect of it."""

    fleet: Fleet
    configurations: Mapping[str, Configuration]
    expected: Expectation
    #: None of its GPUs is loaded above that.
    load_permille: int

    @property
    def missed(self) -> dict[str, float]:
        """The attainment of each model that does not keep its own."""
        return {
            name: attained
            for name, model in self.expected.models.items()
            if (attained := model.attainment) is not None and attained < ATTAINMENT
        }


def search_fleet(scenario: Scenario, trial: Trial, pool: GpuPool, lanes: Lanes) -> Sized:
    """The first fleet of more and more GPUs that keeps all SLOs; if none does, the last.

    Raises InfeasibleError where a model has no run in time, or its memory is more than a GPU's.
    """
    for load_permille, fleet in _candidates(workloads_with(scenario, lanes), pool, lanes):
        sized = _simulated(scenario, trial, pool.product, fleet, lanes, load_permille)
        if not sized.missed:
            break
    return sized


def workloads_with(scenario: Scenario, lanes: Lanes) -> list[Workload]:
    """The models' workloads, with the memory of a worker of so many lanes."""
    return with_copies(scenario, lanes).workloads()


def _candidates(workloads: Sequence[Workload], pool: GpuPool, lanes: Lanes) -> Iterator[tuple[int, Fleet]]:
    """The smallest fleet at each planned load; but for the last those left out that cannot keep up."""
    with telling("the replicas of each model"):
        models = [
            replicable(workload, pool.product, _least_replicas(workload, pool.product, lanes))
            for workload in workloads
        ]
    placement: Mapping[str, tuple[int, ...]] = {}
    for load_permille in PLANNED_LOADS_PERMILLE:
        with telling(f"GPUs loaded to {load_permille / 10:g} %"):
            fleet = size_fleet(
                models,
                pool,
                area_limit_permille=load_permille,
                at_least=gpus_at_least(workloads, pool, load_permille / PERMILLE, clients_of(lanes)),
                clients_each=clients_of(lanes),
            )
            is_last = load_permille == PLANNED_LOADS_PERMILLE[-1]
            carries = is_last or _lanes_carry(fleet, workloads, pool.product, lanes)
        if fleet.placement != placement and carries:
            placement = fleet.placement
            yield load_permille, fleet


def _simulated(
    scenario: Scenario, trial: Trial, product: str, fleet: Fleet, lanes: Lanes, load_permille: int
) -> Sized:
    configurations = {
        workload.name: configuration_in(workload, product, len(fleet.placement[workload.name]))
        for workload in scenario.workloads()
    }
    return Sized(fleet, configurations, expect(scenario, trial, product, fleet, lanes), load_permille)


def configuration_in(workload: Workload, product: str, replicas: int) -> Configuration:
    """The cheapest run for the part of the rate that one of so many replicas has; the area is of all.

    Raises InfeasibleError, naming the model.
    """
    rate_rps, surface = workload.rate_rps, workload.surfaces[product]
    try:
        run = cheapest_configuration(surface, slo_ms=workload.limit_ms, rate_rps=rate_rps / replicas)
    except InfeasibleError as error:
        raise InfeasibleError(f"model {workload.name}: {error}") from error
    # GPU% x ms of each item, and 10 GPU% x ms a second are one thousandth of a GPU.
    area_permille = rate_rps * run.gpu_percent * run.latency_ms / run.batch / WHOLE_GPU_PERCENT
    return replace(run, area_permille=round(area_permille))


def parts_on(fleet: Fleet, workloads: Sequence[Workload]) -> list[list[Workload]]:
    """What the models on each GPU ask of it."""
    parts = {
        workload.name: replace(workload, rate_rps=workload.rate_rps / len(fleet.placement[workload.name]))
        for workload in workloads
    }
    return [[parts[name] for name in names] for names in fleet.models()]


def _least_replicas(workload: Workload, product: str, lanes: Lanes) -> int:
    """On whose lanes there is time for the model's rate, were it alone on each GPU."""
    # No lanes help a model that has no run in time; that one is refused with its numbers.
    configuration_in(workload, product, 1)
    return max(1, ceil(1 / _carried_load([workload], product, lanes)))


def replicable(workload: Workload, product: str, least_replicas: int = 1) -> Replicable:
    """What the model asks for in any number of replicas; it is asked often.

    Raises InfeasibleError when asked, naming the model, where no run ends in time.
    """
    return cache(partial(_demand, workload, product, least_replicas))


def _demand(workload: Workload, product: str, least_replicas: int, replicas: int) -> Demand:
    configuration = configuration_in(workload, product, replicas)
    memory_bytes = round(workload.memory_gib * GIB)
    return Demand(
        workload.name, {product: configuration}, memory_bytes, least_replicas, max_replicas=least_replicas
    )


def _lanes_carry(fleet: Fleet, workloads: Sequence[Workload], product: str, lanes: Lanes) -> bool:
    """Whether any schedule at all could carry the rates on so many lanes."""
    on_gpus = parts_on(fleet, workloads)
    return all(_carried_load(parts, product, lanes) >= 1 for parts in on_gpus if parts)


def _carried_load(workloads: Sequence[Workload], product: str, lanes: Lanes) -> float:
    """The largest factor on all rates that one GPU could carry on so many lanes, as far as lanes limit it."""
    if lanes == "free" or clients_of(lanes) > _MOST_BOUNDED_LANES:
        return inf
    return lane_bound(workloads, product, clients_of(lanes))
