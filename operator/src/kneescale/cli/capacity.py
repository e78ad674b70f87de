"""`kneescale capacity`: the largest load that each policy can carry."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TextIO

from kneescale.cli.command import Subcommands, new_parser, write_json
from kneescale.cli.limits import number
from kneescale.cli.pool import run_all
from kneescale.cli.table import write_table
from kneescale.cli.trial_arguments import (
    add_trial_arguments,
    bound_and_fleet,
    check_counted,
    systems_of,
    trial_of,
)
from kneescale.core.units import MS_PER_S
from kneescale.sim.fleet import SimulatedGpu, best_capacity
from kneescale.sim.scenario import Scenario, Trace
from kneescale.sim.systems import Variant
from kneescale.sim.trial import LEAST_SLOS, Trial

_HELP = f"""\
Searches, by bisection, the largest factor on all rates at which every model of a scenario still has its SLO
attainment, under each policy and with those of its parameters that suit the scenario best; and the fraction
of the fluid bound that this is. Dropped requests count as missed. With several GPUs, each must carry it;
models are placed for the load at which the bound fills the GPUs as far as the operator does. What comes last
may be answered after the end, up to an SLO later, which makes a load look larger, by a twentieth at most: a
trace is played again and again at loads at which it would count less than {LEAST_SLOS} times the longest SLO;
for other arrivals a run that does so is told on stderr."""

_EXAMPLES = """\
examples:
  kneescale capacity scenario.yaml --policy dstack,triton,nexus
  kneescale capacity scenario.yaml --policy all --attainment 0.95 --duration-s 20 --output json"""


def add_to(subcommands: Subcommands) -> None:
    """Add the command's parser."""
    parser = new_parser(
        subcommands,
        "capacity",
        summary="the largest load that each policy can carry",
        description=_HELP,
        examples=_EXAMPLES,
    )
    add_trial_arguments(parser)
    parser.add_argument(
        "--attainment",
        metavar="A",
        type=number(0.001, 0.99999),
        default=0.99,
        help="what every model must keep (default: %(default)g)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, out: TextIO) -> None:
    """Write the load that each policy can carry.

    Raises InvalidInputError where the scenario is wrong or none of its requests counts, InfeasibleError where
    its models cannot be placed.
    """
    scenario, trial = trial_of(arguments)
    bound, fleet = bound_and_fleet(arguments.scenario, scenario, trial)
    check_counted(fleet)
    _tell_if_short(scenario, trial)
    loads = _loads(systems_of(arguments), fleet, arguments.attainment)
    if arguments.output == "json":
        policies = {
            name: {"load": load, "fraction_of_bound": round(load / bound, 6)} for name, load in loads.items()
        }
        write_json({"bound": {"load": bound}, "policies": policies}, out)
    else:
        rows = [(name, load, load / bound) for name, load in loads.items()]
        write_table(("POLICY", "LOAD", "OF THE BOUND"), [("(fluid bound)", bound, 1.0), *rows], out)


def _tell_if_short(scenario: Scenario, trial: Trial) -> None:
    counted_s = trial.duration_s - trial.warmup_s
    longest_slo_ms = max(model.slo_ms for model in scenario.models)
    least_s = LEAST_SLOS * longest_slo_ms / MS_PER_S
    if counted_s < least_s and not isinstance(trial.arrivals, Trace):
        sys.stderr.write(
            f"kneescale: loads look larger than they are: {counted_s:g} s count, which is less than "
            f"{LEAST_SLOS} times the longest SLO: make --duration-s at least {trial.warmup_s + least_s:g}\n"
        )


def _loads(
    systems: Mapping[str, tuple[Variant, ...]], fleet: Sequence[SimulatedGpu], attainment: float
) -> dict[str, float]:
    """What each policy carries on every GPU, where each has the variant that suits its models best."""
    carried = run_all(
        {
            _label(policy, gpu): partial(best_capacity, gpu, variants, attainment)
            for policy, variants in systems.items()
            for gpu in fleet
        }
    )
    return {policy: min(carried[_label(policy, gpu)] for gpu in fleet) for policy in systems}


def _label(policy: str, gpu: SimulatedGpu) -> str:
    return f"{policy} on {gpu.name}"
