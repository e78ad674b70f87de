"""`kneescale plan`: how many GPUs a scenario's models need, and how each is placed and run."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import inf
from typing import TextIO

from kneescale.cli.command import (
    Subcommands,
    add_output_argument,
    add_scenario_argument,
    new_parser,
    write_json,
)
from kneescale.cli.expectation import MOST_GPUS, expect
from kneescale.cli.limits import whole
from kneescale.cli.scenario_file import faults_of, no_surface, read_scenario
from kneescale.cli.table import write_table
from kneescale.core.errors import InfeasibleError, InvalidInputError
from kneescale.core.planning.configuration import Configuration, cheapest_configuration, gather_ms
from kneescale.core.planning.fleet import Fleet, gpus_at_least, size_fleet
from kneescale.core.planning.fluid import Pool, Workload
from kneescale.core.planning.lanes import choose_lanes, paper_lanes
from kneescale.core.planning.placement import Demand
from kneescale.core.units import GIB, PERMILLE
from kneescale.plan.words import counted
from kneescale.sim.outcome import ModelOutcome
from kneescale.sim.scenario import Scenario

#: The part of each GPU's fluid bound that a plan fills, in thousandths: what our scheduler carried of every
#: measured mix at 99 % attainment under Poisson arrivals (docs/results.md).
PLANNED_LOAD_PERMILLE = 800

#: To choose more takes minutes.
_MAX_LANES = 16

_HELP = f"""\
Reads a scenario and says how many GPUs of one product its models need, and where each model goes.

  GPU%, batch  the run with the least GPU area per item among those that end, gather time included, within the
               SLO: what is cheapest for the set, and what the fluid bound is made of
  GPU area     the part of a GPU (GPU% x time) that the model's whole rate takes in such runs
  GPUs         the fewest that hold every model when none is loaded above {PLANNED_LOAD_PERMILLE / 10:g} %
               of its area, which leaves room for bursts; large models have replicas
  bound        the fewest at that load by the fluid bound and memory, and the fewest for any schedule at all
  P99, attainment  of a simulated run with any GPU% per batch; not for plans of more than {MOST_GPUS} GPUs
  lanes        with --lanes: the GPU%s that each worker holds, chosen for the models on a GPU together"""

_EXAMPLES = """\
examples:
  kneescale plan scenario.yaml
  kneescale plan scenario.yaml --product T4       # what if I buy T4s instead
  kneescale plan scenario.yaml --lanes 3 --output json"""


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
    #: As simulated; None where there are too many GPUs for that.
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

    `bound` is the fewest GPUs at the planned load, `bound_any_schedule` at any.
    """

    product: str
    bound: int
    bound_any_schedule: int
    gpus: tuple[GpuPlan, ...]
    models: Mapping[str, ModelPlan]


def add_to(subcommands: Subcommands) -> None:
    """Add the command's parser."""
    parser = new_parser(
        subcommands,
        "plan",
        summary="how many GPUs a scenario needs, and how its models share them",
        description=_HELP,
        examples=_EXAMPLES,
    )
    add_scenario_argument(parser)
    parser.add_argument("--product", metavar="P", help="GPU product to plan for (default: the first GPU's)")
    parser.add_argument(
        "--lanes",
        metavar="free|K|paper",
        type=_lanes,
        default="free",
        help="any GPU%% per batch, K lanes per model, or the paper's single one (default: %(default)s)",
    )
    add_output_argument(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, out: TextIO) -> None:
    """Write the plan.

    Raises InvalidInputError where the scenario is wrong or has no surfaces on the product, InfeasibleError
    where a model has no run in time, or its memory is more than a GPU's.
    """
    scenario = read_scenario(arguments.scenario, arguments.product)
    with faults_of(arguments.scenario):
        plan = _plan(scenario, arguments.product or scenario.gpus[0].product, arguments.lanes)
    if arguments.output == "json":
        write_json(_as_json(plan), out)
    else:
        _write(plan, out)


def _lanes(text: str) -> str | int:
    if text in ("free", "paper"):
        return text
    return whole(1, _MAX_LANES)(text)


def _plan(scenario: Scenario, product: str, lanes: str | int) -> Plan:
    workloads = _on_product(scenario, product)
    configurations = {workload.name: _configuration(workload, product) for workload in workloads}
    pool = Pool(
        product, 1, min((gpu.memory_gib for gpu in scenario.gpus if gpu.product == product), default=inf)
    )
    bound = gpus_at_least(workloads, pool, PLANNED_LOAD_PERMILLE / PERMILLE)
    fleet = size_fleet(
        [_demand(workload, configurations[workload.name], product) for workload in workloads],
        pool,
        area_limit_permille=PLANNED_LOAD_PERMILLE,
        at_least=bound,
    )
    return Plan(
        product=product,
        bound=bound,
        bound_any_schedule=gpus_at_least(workloads, pool, 1.0),
        gpus=_gpu_plans(fleet, configurations),
        models=_model_plans(
            fleet,
            workloads,
            configurations,
            _lanes_by_gpu(fleet, workloads, product, lanes),
            expect(scenario, product, fleet.gpus, fleet.placement),
        ),
    )


def _on_product(scenario: Scenario, product: str) -> list[Workload]:
    for model in scenario.models:
        if product not in model.surfaces:
            raise InvalidInputError(f"model {model.name} {no_surface(product, model.surfaces)}")
    return scenario.workloads()


def _configuration(workload: Workload, product: str) -> Configuration:
    try:
        return cheapest_configuration(
            workload.surfaces[product], slo_ms=workload.limit_ms, rate_rps=workload.rate_rps
        )
    except InfeasibleError as error:
        raise InfeasibleError(f"model {workload.name}: {error}") from error


def _demand(workload: Workload, configuration: Configuration, product: str) -> Demand:
    memory_bytes = round(workload.memory_gib * GIB)
    return Demand(workload.name, {product: configuration}, memory_bytes, min_replicas=1, max_replicas=1)


def _gpu_plans(fleet: Fleet, configurations: Mapping[str, Configuration]) -> tuple[GpuPlan, ...]:
    return tuple(
        GpuPlan(
            names,
            sum(configurations[name].area_permille / len(fleet.placement[name]) for name in names) / PERMILLE,
        )
        for names in fleet.models()
    )


def _model_plans(
    fleet: Fleet,
    workloads: Sequence[Workload],
    configurations: Mapping[str, Configuration],
    lanes: Sequence[Mapping[str, tuple[int, ...]]],
    expected: Mapping[str, ModelOutcome],
) -> dict[str, ModelPlan]:
    return {
        workload.name: ModelPlan(
            gpus=fleet.placement[workload.name],
            gpu_percent=(configuration := configurations[workload.name]).gpu_percent,
            batch=configuration.batch,
            latency_ms=configuration.latency_ms,
            gather_ms=gather_ms(configuration.batch, workload.rate_rps),
            area_percent=configuration.area_permille / 10,
            lanes={
                gpu: lanes[gpu][workload.name]
                for gpu in fleet.placement[workload.name]
                if workload.name in lanes[gpu]
            },
            attainment=outcome.attainment if (outcome := expected.get(workload.name)) else None,
            p99_ms=outcome.p99_ms if outcome else None,
        )
        for workload in workloads
    }


def _lanes_by_gpu(
    fleet: Fleet, workloads: Sequence[Workload], product: str, lanes: str | int
) -> list[dict[str, tuple[int, ...]]]:
    """The lanes of each model on each GPU, for its part of the rate there."""
    parts = {
        workload.name: replace(workload, rate_rps=workload.rate_rps / len(fleet.placement[workload.name]))
        for workload in workloads
    }
    of_gpus = [[parts[name] for name in names] for names in fleet.models()]
    if lanes == "free":
        return [{} for _ in of_gpus]
    if isinstance(lanes, int):
        return [choose_lanes(of_gpu, product, lanes) if of_gpu else {} for of_gpu in of_gpus]
    return [paper_lanes(of_gpu, product) for of_gpu in of_gpus]


def _as_json(plan: Plan) -> dict[str, object]:
    return {
        "product": plan.product,
        "gpus_needed": len(plan.gpus),
        "bound": {"gpus": plan.bound, "gpus_any_schedule": plan.bound_any_schedule},
        "utilization": _utilization(plan),
        "gpus": [asdict(gpu) for gpu in plan.gpus],
        "models": {name: asdict(model) for name, model in plan.models.items()},
    }


def _utilization(plan: Plan) -> float:
    return sum(gpu.utilization for gpu in plan.gpus) / len(plan.gpus)


def _write(plan: Plan, out: TextIO) -> None:
    kind = f"{plan.product} GPU" if plan.product else "GPU"
    out.write(
        f"{counted(len(plan.gpus), kind)} needed, {100 * _utilization(plan):.3g} % of their area in use; "
        f"no fewer than {plan.bound} by the fluid bound at this load, {plan.bound_any_schedule} at any\n\n"
    )
    titles = ("MODEL", "GPUS", "GPU%", "BATCH", "LATENCY (ms)", "GATHER (ms)", "GPU AREA (%)")
    write_table(
        (*titles, "P99 (ms)", "ATTAINMENT", "LANES"),
        [
            (
                name,
                ",".join(map(str, model.gpus)),
                model.gpu_percent,
                model.batch,
                model.latency_ms,
                model.gather_ms,
                model.area_percent,
                model.p99_ms,
                model.attainment,
                "; ".join(" ".join(map(str, lanes)) for lanes in model.lanes.values()) or "any",
            )
            for name, model in plan.models.items()
        ],
        out,
    )
    out.write("\n")
    write_table(
        ("GPU", "AREA (%)", "MODELS"),
        [(number, 100 * gpu.utilization, ", ".join(gpu.models)) for number, gpu in enumerate(plan.gpus)],
        out,
    )
