"""`kneescale simulate --autoscale`: what each autoscaler makes of a scenario."""

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from math import isfinite
from typing import TextIO

from kneescale.cli.command import write_json
from kneescale.cli.limits import number
from kneescale.cli.pool import run_all
from kneescale.cli.scenario_file import faults_of
from kneescale.cli.table import write_table
from kneescale.cli.trial_arguments import MAX_TIME_S, check_requests, is_usual_policy, trial_of
from kneescale.core.errors import InvalidInputError
from kneescale.core.units import NS_PER_S
from kneescale.sim.autoscaling.autoscalers import AUTOSCALERS, ORACLE, Choice, Tried, try_choice
from kneescale.sim.autoscaling.figures import BUCKET_S
from kneescale.sim.autoscaling.scene import DEFAULT_START_S, Scene

#: Autoscalers by name, each with the parameters that suit the scene best.
Outcomes = Mapping[str, Tried]

HELP = """\
With --autoscale it simulates autoscalers instead, second by second: the product's own (kneescale: the code
that the operator runs, on reports as agents send them), Kubernetes' HPA on busy time (hpa-cpu) and on
requests per second (hpa-rate), Knative's on requests in flight (knative), and one that knows the rates to
come and whose workers start at once (oracle). Replicas of the HPAs and Knative have a fixed GPU% each.

  after step   the attainment of requests that came within 15 s of a step up
  otherwise    that of all others (both of the worst model)
  reserved     how many GPUs what was planned takes, in the mean; used: what was granted of them
  x oracle     the reserved ones over the oracle's
  turns        the most changes of direction, within any minute, of what a model is provided for"""


def add_autoscale_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only autoscalers ask for."""
    group = parser.add_argument_group("autoscalers")
    group.add_argument("--autoscale", action="store_true", help="compare autoscalers, not policies")
    group.add_argument(
        "--autoscaler",
        metavar="A,...",
        type=_autoscalers,
        help=f"which to compare (default: all): {', '.join(AUTOSCALERS)}",
    )
    group.add_argument(
        "--start-s",
        metavar="T",
        type=number(0, MAX_TIME_S),
        help=f"how long a new worker takes to start (default: {DEFAULT_START_S:g})",
    )


def refuse_autoscale_arguments(arguments: argparse.Namespace) -> None:
    """Raise InvalidInputError where one of them was given, though no autoscaler is asked for."""
    if arguments.autoscaler is not None:
        raise InvalidInputError("--autoscaler goes with --autoscale only")
    if arguments.start_s is not None:
        raise InvalidInputError("--start-s goes with --autoscale only")


def run_autoscale(arguments: argparse.Namespace, out: TextIO) -> None:
    """Write what became of each model under each autoscaler.

    Raises InvalidInputError where the scenario is wrong, InfeasibleError where its models cannot be placed.
    """
    if not is_usual_policy(arguments):
        raise InvalidInputError("--policy and --lanes go without --autoscale; choose with --autoscaler")
    scenario, trial = trial_of(arguments)
    start_s = DEFAULT_START_S if arguments.start_s is None else arguments.start_s
    scene = Scene(scenario, trial, arguments.load, start_s)
    _check_length(scene)
    with faults_of(arguments.scenario):
        check_requests(scenario, trial, arguments.load)
        _check_counted(scene)
        outcomes = compare(arguments.autoscaler or list(AUTOSCALERS), scene)
    if arguments.output == "json":
        write_json(_as_json(outcomes, scene), out)
    else:
        _write(outcomes, out)
    if arguments.plot:
        # matplotlib takes a second to import, and only pictures need it.
        from kneescale.cli.autoscale_picture import draw_autoscalers

        draw_autoscalers(outcomes, scene, arguments.plot)


def _check_length(scene: Scene) -> None:
    duration_s = scene.trial.at(scene.load).duration_s
    if duration_s < 2 * BUCKET_S:
        raise InvalidInputError(
            f"a run of {duration_s:g} s is too short to scale anything in: at least {2 * BUCKET_S} s"
        )


def _check_counted(scene: Scene) -> None:
    if not any((times >= scene.warmup_s * NS_PER_S).any() for times in scene.arrivals):
        raise InvalidInputError(
            f"no request comes from {scene.warmup_s:g} to {scene.trial.at(scene.load).duration_s:g} s: "
            "make --warmup-s shorter"
        )


def compare(names: Sequence[str], scene: Scene) -> Outcomes:
    """Each autoscaler with the parameters that suit the scene best."""
    return compare_all({"": (names, scene)})[""]


def compare_all(asked: Mapping[str, tuple[Sequence[str], Scene]]) -> dict[str, Outcomes]:
    """The same for several scenes at once, by name: the autoscalers asked about, and the scene."""
    tried = run_all(
        {
            _label(title, name, choice): partial(try_choice, choice, scene)
            for title, (names, scene) in asked.items()
            for name in names
            for choice in AUTOSCALERS[name]
        }
    )
    return {
        title: {
            name: max(
                (tried[_label(title, name, choice)] for choice in AUTOSCALERS[name]),
                key=lambda each: each.merit,
            )
            for name in names
        }
        for title, (names, _) in asked.items()
    }


def _label(title: str, name: str, choice: Choice) -> str:
    return f"{title} {name} {choice.parameters}".strip()


def over_oracle(outcomes: Outcomes, name: str) -> float | None:
    """How many times the oracle's GPUs an autoscaler reserves; None where the oracle was not asked."""
    if ORACLE not in outcomes:
        return None
    return outcomes[name].figures.reserved_gpus / outcomes[ORACLE].figures.reserved_gpus


def _as_json(outcomes: Outcomes, scene: Scene) -> Mapping[str, object]:
    return {
        "rates_rps": {
            model.name: rates.tolist() for model, rates in zip(scene.models, scene.rates_rps, strict=True)
        },
        "autoscalers": {name: _one_as_json(outcomes, name) for name in outcomes},
    }


def _one_as_json(outcomes: Outcomes, name: str) -> Mapping[str, object]:
    figures = outcomes[name].figures
    over_time = figures.over_time
    return {
        "parameters": outcomes[name].parameters,
        "attainment": figures.attainment,
        "attainment_after_step": figures.after_step,
        "attainment_otherwise": figures.otherwise,
        "reserved_gpus": figures.reserved_gpus,
        "used_gpus": figures.used_gpus,
        "over_oracle": over_oracle(outcomes, name),
        "turns_per_minute": figures.turns,
        "models": {
            model: {
                "sent": of_one.sent,
                "attainment": of_one.attainment,
                "attainment_after_step": of_one.after_step,
                "attainment_otherwise": of_one.otherwise,
            }
            for model, of_one in figures.models.items()
        },
        "over_time": {
            "replicas": over_time.replicas,
            "reserved_gpus": over_time.reserved_gpus,
            "used_gpus": over_time.used_gpus,
            f"p99_of_slo_by_{BUCKET_S}_s": [
                ratio if isfinite(ratio) else None for ratio in over_time.p99_of_slo
            ],
        },
    }


def _write(outcomes: Outcomes, out: TextIO) -> None:
    titles = ("AUTOSCALER", "ATTAINMENT", "AFTER STEP", "OTHERWISE", "RESERVED (GPUs)", "USED (GPUs)")
    write_table(
        (*titles, "X ORACLE", "TURNS", "REPLICAS", "PARAMETERS"),
        [
            (
                *(name, f.attainment, f.after_step, f.otherwise, f.reserved_gpus, f.used_gpus),
                *(over_oracle(outcomes, name), f.turns, _span(f.over_time.replicas), tried.parameters),
            )
            for name, tried in outcomes.items()
            if (f := tried.figures)
        ],
        out,
    )


def _span(replicas: Sequence[int]) -> str:
    return f"{min(replicas)}-{max(replicas)}"


def _autoscalers(text: str) -> Sequence[str]:
    names = text.split(",")
    for name in names:
        if name not in AUTOSCALERS:
            raise argparse.ArgumentTypeError(f"no autoscaler {name!r}: use some of {', '.join(AUTOSCALERS)}")
    return list(dict.fromkeys(names))
