"""`kneescale plan`: how many GPUs a scenario's models need, and how each is placed and run."""

import argparse
from typing import TextIO

from kneescale.cli.command import (
    Subcommands,
    add_output_argument,
    add_scenario_argument,
    new_parser,
    write_json,
)
from kneescale.cli.expectation import COUNTED_S, MOST_GPUS
from kneescale.cli.fleet_plan import plan_fleet
from kneescale.cli.fleet_search import ATTAINMENT, PLANNED_LOADS_PERMILLE
from kneescale.cli.lanes import add_lanes_argument
from kneescale.cli.plan_output import as_json, write_plan
from kneescale.cli.scenario_file import faults_of, read_scenario

_LOADS = PLANNED_LOADS_PERMILLE

_HELP = f"""\
Reads a scenario and says how many GPUs of one product its models need, and where each model goes.
With a recorded trace that is for its busiest {COUNTED_S:g} s, with a rate that changes for its peak.

  GPU%, batch  the run with the least GPU area per item among those that end, gather time at a replica's rate
               included, within the SLO: what is cheapest for the set, and what the fluid bound is made of
  GPU area     the part of a GPU (GPU% x time) that the model's whole rate takes in such runs
  GPUs         the fewest that hold every model when none is loaded above {_LOADS[0] / 10:g} % of its area,
               which leaves room for bursts; large models have replicas. Where a model, as simulated, still
               has less than {100 * ATTAINMENT:g} % of its requests in time, they are loaded less, down to
               {_LOADS[-1] / 10:g} %; where that does not do either, the plan says so.
               Each has the least memory that the scenario lists of the product and every model fits in, or
               else the datasheet's
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
    add_lanes_argument(parser)
    add_output_argument(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, out: TextIO) -> None:
    """Write the plan.

    Raises InvalidInputError where the scenario is wrong, has no surfaces on the product or does not say how
    much memory one has, InfeasibleError where a model has no run in time, or its memory is more than a GPU's.
    """
    scenario = read_scenario(arguments.scenario, arguments.product)
    with faults_of(arguments.scenario):
        plan = plan_fleet(scenario, arguments.product or scenario.gpus[0].product, arguments.lanes)
    if arguments.output == "json":
        write_json(as_json(plan), out)
    else:
        write_plan(plan, out)
