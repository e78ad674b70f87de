"""`kneescale bound`: the largest load that any schedule of a scenario's models can carry."""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TextIO

from kneescale.cli.command import (
    Subcommands,
    add_output_argument,
    add_scenario_argument,
    new_parser,
    write_json,
)
from kneescale.cli.pool import run_all
from kneescale.cli.scenario_file import faults_of, read_scenario
from kneescale.cli.table import write_table
from kneescale.core.planning.fluid import FluidBound, Workload, fluid_bound, temporal_bound
from kneescale.core.planning.lane_bound import lane_bound
from kneescale.core.planning.static_partitions import StaticPartitions, best_static_partitions
from kneescale.plan.words import counted
from kneescale.sim.scenario import Scenario

_HELP = """\
Reads a scenario and says by what factor all of its rates could grow before no schedule whatever could carry
them: the optimum of a linear programme over each model's GPU% and batch, in runs that end within the SLO,
at the GPU%s that its profile has: of a coarse one, those in between may carry a little more.
Where that factor is 1 or more some schedule may carry the scenario's rates, where it is below 1 none does.

  fluid bound        GPU area (GPU% x time), and memory where it is given, are the only limits
  temporal           every run has a whole GPU, one at a time
  static partitions  each model has one GPU% for good, together at most 100, and one batch in flight; the
                     best there are, smaller ones than the profile's included. With several GPUs, each
                     holds every model and has an equal part of its rate: models on GPUs of their own may
                     carry more. GPUs whose memory does not hold all are left out.
  1, 2, 3 lanes      each model has so many lanes, of any GPU%, with one batch at a time on each; they hold
                     their GPU% only while they run. With several GPUs as above.
                     These rows and the one before are left out where GPUs are of more than one product:
                     there equal parts are no limit.

  runs               how the fluid bound's load is carried: GPU%, batch, runs per second
  GPU area           the GPU% that those runs hold in the mean
  share              the part of the limit that the model's rate takes (dual price x rate)
  price              the GPU% that one more request per second takes"""

_LANES = (1, 2, 3)

_EXAMPLES = """\
examples:
  kneescale bound scenario.yaml
  kneescale bound scenario.yaml --output json"""


@dataclass(frozen=True, slots=True)
class EqualParts:
    """What is carried where each GPU has an equal part of every model's rate.

    On the GPUs whose memory holds every model, `count` of them.
    """

    count: int
    static_partitions: StaticPartitions
    #: By the number of lanes.
    lanes: dict[int, float]


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is said about a scenario; `equal_parts` is None where GPUs are of more than one product."""

    bound: FluidBound
    temporal: FluidBound
    equal_parts: EqualParts | None


def add_to(subcommands: Subcommands) -> None:
    """Add the command's parser."""
    parser = new_parser(
        subcommands,
        "bound",
        summary="the largest load that any schedule of a scenario can carry",
        description=_HELP,
        examples=_EXAMPLES,
    )
    add_scenario_argument(parser)
    add_output_argument(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, out: TextIO) -> None:
    """Write the bounds.

    Raises InvalidInputError where the scenario is wrong, InfeasibleError where no run of a model is in time.
    """
    scenario = read_scenario(arguments.scenario)
    with faults_of(arguments.scenario):
        bounds = run_all({"bounds": partial(_bounds, scenario)})["bounds"]
    if arguments.output == "json":
        write_json(_as_json(bounds), out)
    else:
        _write(scenario, bounds, out)


def _bounds(scenario: Scenario) -> Bounds:
    workloads, pools = scenario.workloads(), scenario.pools()
    return Bounds(
        bound=fluid_bound(workloads, pools),
        temporal=temporal_bound(workloads, pools),
        equal_parts=_equal_parts(workloads, _holding_all(scenario)),
    )


def _holding_all(scenario: Scenario) -> Counter[str]:
    """How many GPUs there are, by product, whose memory holds a worker of every model."""
    needed_gib = sum(model.memory_gib for model in scenario.models)
    return Counter(gpu.product for gpu in scenario.gpus if needed_gib <= gpu.memory_gib)


def _equal_parts(workloads: Sequence[Workload], gpus: Counter[str]) -> EqualParts | None:
    match list(gpus.items()):
        case []:
            return EqualParts(0, StaticPartitions(0.0, {}), dict.fromkeys(_LANES, 0.0))
        case [(product, count)]:
            of_one = best_static_partitions(workloads, product)
            lanes = {lanes: count * lane_bound(workloads, product, lanes) for lanes in _LANES}
            return EqualParts(count, replace(of_one, load=count * of_one.load), lanes)
        case _:
            return None


def _as_json(bounds: Bounds) -> dict[str, object]:
    return {
        "bound": {"load": bounds.bound.load, "limits": bounds.bound.limits},
        "temporal": {"load": bounds.temporal.load},
        **(_equal_parts_as_json(bounds.equal_parts) if bounds.equal_parts else {}),
        "models": {
            model.name: {
                "area_percent": model.area_percent,
                "share": model.share,
                "price_percent": model.price_percent,
                "runs": [asdict(run) for run in model.runs],
            }
            for model in bounds.bound.models
        },
    }


def _equal_parts_as_json(equal_parts: EqualParts) -> dict[str, object]:
    return {
        "static_partitions": asdict(equal_parts.static_partitions),
        "lanes": {str(lanes): {"load": load} for lanes, load in equal_parts.lanes.items()},
    }


def _write(scenario: Scenario, bounds: Bounds, out: TextIO) -> None:
    write_table(
        ("", "LOAD", ""),
        [
            ("fluid bound", bounds.bound.load, f"limited by {', '.join(bounds.bound.limits)}"),
            ("temporal", bounds.temporal.load, ""),
            *(_equal_parts_rows(bounds.equal_parts, len(scenario.gpus)) if bounds.equal_parts else ()),
        ],
        out,
    )
    if not bounds.equal_parts:
        out.write("\nstatic partitions and lanes are left out: the GPUs are of more than one product\n")
    out.write("\n")
    _write_models(scenario, bounds.bound, out)


def _equal_parts_rows(equal_parts: EqualParts, gpus: int) -> Iterator[tuple[str, float, str]]:
    left_out = _left_out(equal_parts, gpus)
    partitions = " ".join(filter(None, (_partitions(equal_parts), left_out)))
    yield "static partitions", equal_parts.static_partitions.load, partitions
    for lanes, load in equal_parts.lanes.items():
        yield counted(lanes, "lane"), load, left_out


def _partitions(equal_parts: EqualParts) -> str:
    if not equal_parts.count:
        return ""
    partitions = equal_parts.static_partitions.gpu_percents.items()
    return (
        ", ".join(f"{name} {gpu}" for name, gpu in partitions)
        or "not all models find room at their profiles' GPU%s"
    )


def _left_out(equal_parts: EqualParts, gpus: int) -> str:
    """Whether GPUs are, since their memory does not hold every model."""
    if equal_parts.count == gpus:
        return ""
    if not equal_parts.count:
        return "no GPU's memory holds every model"
    return f"(on {equal_parts.count} of {gpus} GPUs: no other one's memory holds every model)"


def _write_models(scenario: Scenario, bound: FluidBound, out: TextIO) -> None:
    asked = {model.name: model for model in scenario.models}
    titles = ("MODEL", "RATE (/s)", "SLO (ms)", "RUNS (GPU% x BATCH, ms, /s)", "GPU AREA (%)", "SHARE (%)")
    write_table(
        (*titles, "PRICE (GPU%)"),
        [
            (
                model.name,
                asked[model.name].rate_rps,
                asked[model.name].slo_ms,
                ", ".join(
                    f"{run.gpu_percent} x {run.batch}, {run.latency_ms:.3g}, {run.runs_per_s:.3g}"
                    for run in model.runs
                ),
                model.area_percent,
                100 * model.share,
                model.price_percent,
            )
            for model in bound.models
        ],
        out,
    )
