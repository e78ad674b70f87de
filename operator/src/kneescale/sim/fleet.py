"""A scenario on all of its GPUs: who serves where, and what a system makes of it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf

from kneescale.core.errors import InfeasibleError
from kneescale.core.planning.configuration import (
    Configuration,
    cheapest_configuration,
    efficient_configuration,
)
from kneescale.core.planning.placement import DEFAULT_AREA_LIMIT_PERMILLE, Demand, Device, Placed, place
from kneescale.core.units import GIB, PERMILLE
from kneescale.sim.engine import System
from kneescale.sim.record import Record
from kneescale.sim.scenario import Scenario, ScenarioGpu, ScenarioModel, Trace
from kneescale.sim.systems import Variant, best_of
from kneescale.sim.tenant import Tenant
from kneescale.sim.trial import Trial

#: A simulated GPU takes any number of workers; where no memory is given, any amount of it.
_MANY = 1 << 62

#: What does not fit is put on GPUs that are fuller by this factor, and so on.
_FULLER = 1.1


@dataclass(frozen=True, slots=True)
class SimulatedGpu:
    """One GPU and the models, each with its part of their rates, that it serves."""

    name: str
    tenants: tuple[Tenant, ...]
    trial: Trial


def fleet_of(scenario: Scenario, trial: Trial, load: float) -> tuple[SimulatedGpu, ...]:
    """The scenario's GPUs, with its models placed as the operator places them at `load` times their rates.

    The tenants' rates stay those of the scenario; idle GPUs are left out. Each GPU has random arrivals of its
    own, and its part of a trace. A model that the operator would refuse is placed by its cheapest run.
    Raises InfeasibleError where a model has no run in time on any GPU, or does not fit into their memory.
    """
    return fleet_with(scenario, _placement(scenario, load), trial)


def fleet_with(
    scenario: Scenario, placed: Mapping[str, Sequence[str]], trial: Trial
) -> tuple[SimulatedGpu, ...]:
    """The same where it is known which GPUs, by name, each model is on."""
    fleet = []
    for number, gpu in enumerate(scenario.gpus):
        here = [model for model in scenario.models if gpu.name in placed[model.name]]
        if here:
            tenants = tuple(_tenant(model, gpu, len(placed[model.name])) for model in here)
            fleet.append(SimulatedGpu(gpu.name, tenants, _trial_on(gpu, number, trial, placed)))
    return tuple(fleet)


def serve(fleet: Sequence[SimulatedGpu], system: System, load: float) -> list[Record]:
    """What happens on each GPU at `load` times the scenario's rates."""
    return [gpu.trial.run(gpu.tenants, system, load=load) for gpu in fleet]


def best_capacity(gpu: SimulatedGpu, variants: tuple[Variant, ...], attainment: float) -> float:
    """The largest load at which each of its models keeps that attainment, with what suits them best."""
    return best_of(variants, gpu.tenants, gpu.trial, attainment).load


def _placement(scenario: Scenario, load: float) -> Mapping[str, Sequence[str]]:
    """The names of each model's GPUs."""
    if len(scenario.gpus) == 1:
        return {model.name: (scenario.gpus[0].name,) for model in scenario.models}
    demands = [_demand(model, scenario.gpus, load) for model in scenario.models]
    devices = [device_of(gpu) for gpu in scenario.gpus]
    # In an overload no GPU is to be idle: the limit is what each has where all are equally full.
    limit = max(DEFAULT_AREA_LIMIT_PERMILLE, sum(map(_least_area_permille, demands)) / len(devices))
    while True:
        outcome = place(demands, devices, {}, area_limit_permille=ceil(limit))
        placed = {model: to.devices for model, to in outcome.items() if isinstance(to, Placed)}
        if len(placed) == len(demands):
            return placed
        limit *= _FULLER
        if limit > PERMILLE * (1 + sum(map(_most_area_permille, demands))):
            model, why = next((name, to) for name, to in outcome.items() if not isinstance(to, Placed))
            raise InfeasibleError(f"model {model}: {why.reason}")


def _demand(model: ScenarioModel, gpus: Sequence[ScenarioGpu], load: float) -> Demand:
    return Demand(
        model=model.name,
        configurations=_runs_in_time(model, {gpu.product for gpu in gpus}, load * model.rate_rps),
        memory_bytes=memory_bytes_of(model),
        min_replicas=1,
        max_replicas=len(gpus),
    )


def _runs_in_time(
    model: ScenarioModel, products: Collection[str], rate_rps: float
) -> dict[str, Configuration]:
    """The operator's run on each product that has one; where none has, the cheapest in time."""
    for choose in (efficient_configuration, cheapest_configuration):
        runs, _ = _runs_by(choose, model, products, rate_rps)
        if runs:
            return runs
    raise InfeasibleError(f"model {model.name}: no run on these GPUs ends in {model.slo_ms:g} ms")


def runs_of(model: ScenarioModel, products: Collection[str], rate_rps: float) -> dict[str, Configuration]:
    """The run that the operator would choose at that rate on each product that has one.

    Raises InfeasibleError where none has, naming the model and what each product lacks.
    """
    runs, infeasible = _runs_by(efficient_configuration, model, products, rate_rps)
    if not runs:
        raise InfeasibleError(f"model {model.name}: {'; '.join(infeasible)}")
    return runs


def _runs_by(
    choose: Callable[..., Configuration],
    model: ScenarioModel,
    products: Collection[str],
    rate_rps: float,
) -> tuple[dict[str, Configuration], list[str]]:
    """The run that is chosen on each product that has one, and why the others have none."""
    runs: dict[str, Configuration] = {}
    infeasible: list[str] = []
    for product in products:
        try:
            runs[product] = choose(model.surfaces[product], slo_ms=model.slo_ms, rate_rps=rate_rps)
        except InfeasibleError as error:
            infeasible.append(f"{product}: {error}" if product else str(error))
    return runs, infeasible


def memory_bytes_of(model: ScenarioModel) -> int:
    """What one worker takes of a GPU's memory."""
    return round(model.memory_gib * GIB)


def device_of(gpu: ScenarioGpu) -> Device:
    """The GPU as placement takes it."""
    memory_bytes = _MANY if gpu.memory_gib == inf else round(gpu.memory_gib * GIB)
    return Device(gpu.name, gpu.name, gpu.name, gpu.product, memory_bytes, _MANY)


def _least_area_permille(demand: Demand) -> int:
    return min(configuration.area_permille for configuration in demand.configurations.values())


def _most_area_permille(demand: Demand) -> int:
    return max(configuration.area_permille for configuration in demand.configurations.values())


def _tenant(model: ScenarioModel, gpu: ScenarioGpu, replicas: int) -> Tenant:
    surface = model.surfaces[gpu.product]
    return Tenant(model.name, model.slo_ms, model.rate_rps / replicas, surface, model.weight)


def _trial_on(gpu: ScenarioGpu, number: int, trial: Trial, placed: Mapping[str, Sequence[str]]) -> Trial:
    seeded = replace(trial, seed=(*trial.seed, number))
    if not isinstance(trial.arrivals, Trace):
        return seeded
    parts = {
        name: times_ns[placed[name].index(gpu.name) :: len(placed[name])]
        for name, times_ns in trial.arrivals.times_ns.items()
        if gpu.name in placed[name]
    }
    return replace(seeded, arrivals=Trace(parts))
