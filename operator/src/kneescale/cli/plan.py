"""`kneescale plan`: how many GPUs a scenario's models need, and how each is placed and run."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from typing import TextIO

from kneescale.cli.command import (
    Subcommands,
    add_output_argument,
    add_scenario_argument,
    new_parser,
    write_json,
)
from kneescale.cli.expectation import COUNTED_S, MOST_GPUS, WARMUP_S, Lanes
from kneescale.cli.fleet_search import (
    ATTAINMENT,
    PLANNED_LOADS_PERMILLE,
    Sized,
    clients_of,
    parts_on,
    search_fleet,
    workloads_with,
)
from kneescale.cli.limits import whole
from kneescale.cli.operator_view import MOST_TIMES, OperatorView, operator_view
from kneescale.cli.scenario_file import faults_of, no_surface, read_scenario
from kneescale.cli.table import write_table
from kneescale.core.errors import InvalidInputError
from kneescale.core.planning.configuration import gather_ms
from kneescale.core.planning.fleet import gpus_at_least
from kneescale.core.planning.fluid import Pool, Workload
from kneescale.core.planning.lanes import choose_lanes, paper_lanes
from kneescale.core.planning.placement import DEFAULT_AREA_LIMIT_PERMILLE
from kneescale.core.surfaces.gpu_products import gpu_product, has_datasheet
from kneescale.core.units import GIB, PERMILLE
from kneescale.plan.words import counted
from kneescale.sim.busiest import busiest
from kneescale.sim.scenario import Scenario, Trace
from kneescale.sim.trial import Trial

#: Of models that miss or are refused the summary has so many; the table and JSON have all.
_SHOWN = 4

#: To choose more takes minutes.
_MAX_LANES = 16

_LOADS = PLANNED_LOADS_PERMILLE

_HELP = f"""\
Reads a scenario and says how many GPUs of one product its models need, and where each model goes.
With a recorded trace that is for its busiest {COUNTED_S:g} s.

  GPU%, batch  the run with the least GPU area per item among those that end, gather time at a replica's rate
               included, within the SLO: what is cheapest for the set, and what the fluid bound is made of
  GPU area     the part of a GPU (GPU% x time) that the model's whole rate takes in such runs
  GPUs         the fewest that hold every model when none is loaded above {_LOADS[0] / 10:g} % of its area,
               which leaves room for bursts; large models have replicas. Where a model, as simulated, still
               has less than {100 * ATTAINMENT:g} % of its requests in time, they are loaded less, down to
               {_LOADS[-1] / 10:g} %; where that does not do either, the plan says so
  bound        the fewest at {_LOADS[0] / 10:g} % by the fluid bound and memory, and for any schedule at all
  P99, attainment  of a simulated run with the lanes asked for; of many GPUs, on {MOST_GPUS} of them
  lanes        with --lanes: the GPU%s that each worker holds, chosen for the models on a GPU together. Each
               takes an MPS client and the model's memory once more.

The operator has other rules (each model's run by efficacy, f <= SLO/2): what it refuses of a plan, and how
many GPUs it takes where those are not as many, is said."""

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

    Raises InvalidInputError where the scenario is wrong, has no surfaces on the product or does not say how
    much memory one has, InfeasibleError where a model has no run in time, or its memory is more than a GPU's.
    """
    scenario = read_scenario(arguments.scenario, arguments.product)
    with faults_of(arguments.scenario):
        plan = _plan(scenario, arguments.product or scenario.gpus[0].product, arguments.lanes)
    if arguments.output == "json":
        write_json(_as_json(plan), out)
    else:
        _write(plan, out)


def _lanes(text: str) -> Lanes:
    if text in ("free", "paper"):
        return text
    return whole(1, _MAX_LANES)(text)


def _plan(scenario: Scenario, product: str, lanes: Lanes) -> Plan:
    _check_surfaces(scenario, product)
    part, scenario, trial = _busiest(scenario, product)
    pool = Pool(product, 1, _memory_gib(scenario, product))
    workloads = workloads_with(scenario, lanes)
    sized = search_fleet(scenario, trial, pool, lanes)
    return Plan(
        product=product,
        bound=gpus_at_least(workloads, pool, _LOADS[0] / PERMILLE, clients_of(lanes)),
        bound_any_schedule=gpus_at_least(workloads, pool, 1.0, clients_of(lanes)),
        load_permille=sized.load_permille,
        gpus=_gpu_plans(sized),
        models=_model_plans(sized, workloads, _lanes_by_gpu(sized, workloads, product, lanes)),
        simulated_gpus=sized.expected.gpus,
        missed=sized.missed,
        operator=operator_view(workloads, pool, sized.fleet.gpus, clients_of(lanes)),
        of_trace_s=part,
    )


def _busiest(scenario: Scenario, product: str) -> tuple[tuple[float, float] | None, Scenario, Trial]:
    """From when to when of a trace is planned for, the scenario of then, and how to simulate it."""
    trace = scenario.arrivals
    if not isinstance(trace, Trace):
        return None, scenario, Trial(trace, WARMUP_S + COUNTED_S, WARMUP_S)
    then = busiest(scenario, trace, product, COUNTED_S, WARMUP_S)
    trial = Trial(then.scenario.arrivals, then.warmup_s + then.length_s, then.warmup_s)
    return (then.start_s, then.start_s + then.length_s), then.scenario, trial


def _memory_gib(scenario: Scenario, product: str) -> float:
    """Of a GPU of that product: the least that the scenario says, or else its datasheet.

    Raises InvalidInputError where neither says it and it matters.
    """
    given = [gpu.memory_gib for gpu in scenario.gpus if gpu.product == product and gpu.memory_gib < inf]
    if given:
        return min(given)
    if has_datasheet(product):
        return gpu_product(product).memory_bytes / GIB
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
    if isinstance(lanes, int):
        return [choose_lanes(of_gpu, product, lanes) if of_gpu else {} for of_gpu in of_gpus]
    return [paper_lanes(of_gpu, product) for of_gpu in of_gpus]


def _as_json(plan: Plan) -> dict[str, object]:
    return {
        "product": plan.product,
        "gpus_needed": len(plan.gpus),
        "bound": {"gpus": plan.bound, "gpus_any_schedule": plan.bound_any_schedule},
        "planned_load": plan.load_permille / PERMILLE,
        "utilization": _utilization(plan),
        "simulated_gpus": plan.simulated_gpus,
        "attainment_asked": ATTAINMENT,
        "missed": plan.missed,
        "of_trace_s": plan.of_trace_s,
        "operator": asdict(plan.operator),
        "gpus": [asdict(gpu) for gpu in plan.gpus],
        "models": {name: asdict(model) for name, model in plan.models.items()},
    }


def _utilization(plan: Plan) -> float:
    return sum(gpu.utilization for gpu in plan.gpus) / len(plan.gpus)


def _write(plan: Plan, out: TextIO) -> None:
    out.writelines(f"{line}\n" for line in _summary(plan))
    out.write("\n")
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


def _summary(plan: Plan) -> Iterator[str]:
    gpus = counted(len(plan.gpus), f"{plan.product} GPU" if plan.product else "GPU")
    usual = f"{_LOADS[0] / 10:g} %"
    yield (
        f"{gpus} {'would still miss SLOs' if plan.missed else 'needed'}, "
        f"{100 * _utilization(plan):.3g} % of their area in use; "
        f"no fewer than {plan.bound} by the fluid bound at {usual}, {plan.bound_any_schedule} at any load"
    )
    if plan.missed:
        worst_first = sorted(plan.missed.items(), key=lambda missed: missed[1])
        misses = _some([f"{name} {100 * attained:.3g} %" for name, attained in worst_first])
        least = f"{_LOADS[-1] / 10:g} %"
        yield f"even loaded to {least}, fewer than {100 * ATTAINMENT:g} % are in time of {misses}"
    elif plan.load_permille < _LOADS[0]:
        load = f"{plan.load_permille / 10:g} %"
        yield f"loaded to {load} at most: with fewer, as simulated, models miss their SLOs"
    if plan.of_trace_s:
        start_s, end_s = plan.of_trace_s
        yield f"for the trace's busiest part, {start_s:.6g} to {end_s:.6g} s"
    if plan.simulated_gpus < len(plan.gpus):
        yield f"simulated on {plan.simulated_gpus} of the GPUs, which stand for all"
    yield from _of_operator(plan)


def _some(items: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    left = len(items) - _SHOWN
    return "; ".join(items[:_SHOWN]) + (f"; and {left} more" if left > 0 else "")


def _of_operator(plan: Plan) -> Iterator[str]:
    refusals = [f"{name}: {why}" for name, why in plan.operator.refused.items()]
    if refusals:
        yield f"the operator refuses {_some(refusals)}"
    if plan.operator.gpus != len(plan.gpus):
        number = plan.operator.gpus or f"more than {MOST_TIMES * len(plan.gpus)}"
        rest = "the others" if refusals else "the models"
        yield (
            f"the operator takes {number} for {rest}: it chooses runs by efficacy, within half the SLO, "
            f"and places them on up to {DEFAULT_AREA_LIMIT_PERMILLE / 10:g} % of a GPU's area"
        )
