"""What `kneescale plan` says of a scenario: the GPUs, and where and how each model runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf

from kneescale.cli.expectation import BURSTY_COUNTED_S, COUNTED_S, WARMUP_S
from kneescale.cli.fleet_search import (
    PLANNED_LOADS_PERMILLE,
    Sized,
    parts_on,
    search_fleet,
    workloads_with,
)
from kneescale.cli.lanes import Lanes, clients_of
from kneescale.cli.operator_view import OperatorView, operator_view
from kneescale.cli.pool import run_all, telling
from kneescale.cli.scenario_file import no_surface
from kneescale.core.errors import InvalidInputError
from kneescale.core.planning.configuration import gather_ms
from kneescale.core.planning.fleet import gpus_at_least
from kneescale.core.planning.fluid import GpuPool, Workload
from kneescale.core.planning.lanes import paper_lanes
from kneescale.core.surfaces.gpu_products import datasheet_gib, has_datasheet
from kneescale.core.units import PERMILLE
from kneescale.sim.busiest import busiest
from kneescale.sim.pools import choose_pools
from kneescale.sim.scenario import Bursty, Poisson, Scenario, Shaped, Trace
from kneescale.sim.trial import Trial


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """One model: the GPUs that it is on, its run, and its lanes on each GPU (none: any GPU% per batch)."""

    gpus: tuple[int, ...]
    gpu_percent: int
    batch: int
    latency_ms: float
    gather_ms: float
    area_percent: float
    lanes: Mapping[int, tuple[int, ...]]
    #: As simulated; None where none of its GPUs was, or it was sent nothing.
    attainment: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class GpuPlan:
    """One GPU: the models on it, and the part of its area that they take in the mean."""

    models: tuple[str, ...]
    utilization: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What is said about a scenario.

    `bound` is the fewest GPUs at the first planned load, `bound_any_schedule` at any.
    """

    product: str
    bound: int
    bound_any_schedule: int
    #: No GPU is loaded above that.
    load_permille: int
    gpus: tuple[GpuPlan, ...]
    models: Mapping[str, ModelPlan]
    simulated_gpus: int
    #: The attainment of the models that do not keep their SLOs even so.
    missed: Mapping[str, float]
    operator: OperatorView
    #: From when to when of a recorded trace it is made for: the busiest seconds.
    of_trace_s: tuple[float, float] | None

    @property
    def utilization(self) -> float:
        """The part of the GPUs' area that is in use in the mean."""
        return sum(gpu.utilization for gpu in self.gpus) / len(self.gpus)


def plan_fleet(scenario: Scenario, product: str, lanes: Lanes) -> Plan:
    """The plan for GPUs of one product; of a recorded trace, for its busiest part, of a shape for its peak.

    Raises InvalidInputError where the scenario has no surfaces on the product or does not say how much memory
    one has, InfeasibleError where a model has no run in time, or its memory is more than a GPU's.
    """
    _check_surfaces(scenario, product)
    part, scenario, trial = _busiest(scenario, product)
    workloads = workloads_with(scenario, lanes)
    largest_gib = max(workload.memory_gib for workload in workloads)
    pool = GpuPool(product, 1, _memory_gib(scenario, product, largest_gib))
    sized = search_fleet(scenario, trial, pool, lanes)
    with telling("what the operator makes of it"):
        operator = operator_view(workloads, pool, sized.fleet.gpus, clients_of(lanes))
    return Plan(
        product=product,
        bound=gpus_at_least(workloads, pool, PLANNED_LOADS_PERMILLE[0] / PERMILLE, clients_of(lanes)),
        bound_any_schedule=gpus_at_least(workloads, pool, 1.0, clients_of(lanes)),
        load_permille=sized.load_permille,
        gpus=_gpu_plans(sized),
        models=_model_plans(sized, workloads, _lanes_by_gpu(sized, workloads, product, lanes)),
        simulated_gpus=sized.expected.gpus,
        missed=sized.missed,
        operator=operator,
        of_trace_s=part,
    )


def _busiest(scenario: Scenario, product: str) -> tuple[tuple[float, float] | None, Scenario, Trial]:
    """From when to when of a trace is planned for, the scenario of then, and how to simulate it.

    A rate that changes is simulated at its peak: squeezed into some seconds it would mostly be at rest.
    """
    arrivals = Poisson() if isinstance(scenario.arrivals, Shaped) else scenario.arrivals
    if not isinstance(arrivals, Trace):
        counted_s = BURSTY_COUNTED_S if isinstance(arrivals, Bursty) else COUNTED_S
        return None, scenario, Trial(arrivals, WARMUP_S + counted_s, WARMUP_S)
    then = busiest(scenario, arrivals, product, COUNTED_S, WARMUP_S)
    trial = Trial(then.scenario.arrivals, then.warmup_s + then.length_s, then.warmup_s)
    return (then.start_s, then.start_s + then.length_s), then.scenario, trial


def _memory_gib(scenario: Scenario, product: str, needed_gib: float) -> float:
    """Of a GPU of that product: the least of those in the scenario that have so much, or else its datasheet.

    Where none has, it is the most that the scenario says. Raises InvalidInputError where neither says it and
    it matters.
    """
    given = [gpu.memory_gib for gpu in scenario.gpus if gpu.product == product and gpu.memory_gib < inf]
    if given:
        return min((gib for gib in given if gib >= needed_gib), default=max(given))
    if has_datasheet(product):
        return datasheet_gib(product)
    if any(model.memory_gib for model in scenario.models):
        raise InvalidInputError(
            f"nobody says how much memory one {product or 'GPU'} has: list one under gpus with its memory_gib"
        )
    return inf


def _check_surfaces(scenario: Scenario, product: str) -> None:
    for model in scenario.models:
        if product not in model.surfaces:
            raise InvalidInputError(f"model {model.name} {no_surface(product, model.surfaces)}")


def _gpu_plans(sized: Sized) -> tuple[GpuPlan, ...]:
    placement, configurations = sized.fleet.placement, sized.configurations
    return tuple(
        GpuPlan(
            names,
            sum(configurations[name].area_permille / len(placement[name]) for name in names) / PERMILLE,
        )
        for names in sized.fleet.models()
    )


def _model_plans(
    sized: Sized, workloads: Sequence[Workload], lanes: Sequence[Mapping[str, tuple[int, ...]]]
) -> dict[str, ModelPlan]:
    return {workload.name: _model_plan(sized, workload, lanes) for workload in workloads}


def _model_plan(
    sized: Sized, workload: Workload, lanes: Sequence[Mapping[str, tuple[int, ...]]]
) -> ModelPlan:
    name = workload.name
    gpus, configuration = sized.fleet.placement[name], sized.configurations[name]
    outcome = sized.expected.models.get(name)
    return ModelPlan(
        gpus=gpus,
        gpu_percent=configuration.gpu_percent,
        batch=configuration.batch,
        latency_ms=configuration.latency_ms,
        gather_ms=gather_ms(configuration.batch, workload.rate_rps / len(gpus)),
        area_percent=configuration.area_permille / 10,
        lanes={gpu: lanes[gpu][name] for gpu in gpus if name in lanes[gpu]},
        attainment=outcome.attainment if outcome else None,
        p99_ms=outcome.p99_ms if outcome else None,
    )


def _lanes_by_gpu(
    sized: Sized, workloads: Sequence[Workload], product: str, lanes: Lanes
) -> list[dict[str, tuple[int, ...]]]:
    """The lanes of each model on each GPU, for its part of the rate there."""
    of_gpus = parts_on(sized.fleet, workloads)
    if lanes == "free":
        return [{} for _ in of_gpus]
    if not isinstance(lanes, int):
        return [paper_lanes(of_gpu, product) for of_gpu in of_gpus]
    chosen = run_all(
        {
            f"lanes of GPU {number} of {len(of_gpus)}": partial(choose_pools, of_gpu, product, lanes)
            for number, of_gpu in enumerate(of_gpus)
            if of_gpu
        }
    )
    by_gpu = iter(chosen.values())
    return [next(by_gpu) if of_gpu else {} for of_gpu in of_gpus]
