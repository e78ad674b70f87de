"""What `simulate` and `capacity` ask of a simulated run."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from kneescale.cli.command import add_output_argument, add_scenario_argument
from kneescale.cli.lanes import PRODUCT, add_lanes_argument, has_lanes, variants_on, with_copies
from kneescale.cli.limits import number, whole
from kneescale.cli.scenario_file import faults_of, read_scenario
from kneescale.core.errors import InvalidInputError
from kneescale.core.planning.fluid import fluid_bound
from kneescale.core.planning.placement import DEFAULT_AREA_LIMIT_PERMILLE
from kneescale.core.units import NS_PER_S, PERMILLE
from kneescale.sim.fleet import SimulatedGpu, fleet_of
from kneescale.sim.product import FREE
from kneescale.sim.scenario import Scenario, Trace
from kneescale.sim.systems import ABLATIONS, SYSTEMS, Variant
from kneescale.sim.trial import Trial

_DEFAULT_DURATION_S = 60.0
_WARMUP_S = 5.0
#: The part of a run that its warm-up takes at most, where none is asked for.
_WARMUP_SHARE = 0.25

#: A trace is over so long after its last request, which is to count: at any load this is seen in a float.
_LAST_REQUEST_S = 1e-6

#: A run of so many requests takes minutes and gigabytes.
_MAX_REQUESTS = 5e7
#: Eleven days.
MAX_TIME_S = 1e6
_MAX_NOISE = 10
_MAX_SEED = (1 << 32) - 1


def add_trial_arguments(parser: argparse.ArgumentParser) -> None:
    """Add them."""
    add_scenario_argument(parser)
    parser.add_argument(
        "--policy",
        metavar="P,...",
        type=_policies,
        default=[PRODUCT],
        help=f"which to compare, or all (default: {PRODUCT}): {', '.join(SYSTEMS)}",
    )
    add_lanes_argument(parser)
    parser.add_argument(
        "--duration-s",
        metavar="T",
        type=number(0.001, MAX_TIME_S),
        help="simulated time (default: 60, or a trace's length); of a trace, at its own rate",
    )
    parser.add_argument(
        "--warmup-s",
        metavar="T",
        type=number(0, MAX_TIME_S),
        help=f"requests that come before do not count (default: {_WARMUP_S:g}, at most a quarter of the run)",
    )
    parser.add_argument(
        "--seed", metavar="N", type=whole(0, _MAX_SEED), default=1, help="of all randomness (default: 1)"
    )
    parser.add_argument(
        "--noise",
        metavar="S",
        type=number(0, _MAX_NOISE),
        default=0.0,
        help="standard deviation of batch times, as a part of them (default: 0)",
    )
    add_output_argument(parser)


def is_usual_policy(arguments: argparse.Namespace) -> bool:
    """Whether nothing was asked for but the product's dispatcher as it is."""
    return bool(arguments.policy == [PRODUCT] and arguments.lanes == FREE)


def systems_of(arguments: argparse.Namespace) -> dict[str, tuple[Variant, ...]]:
    """The policies asked for, by name; of the product's own, with lanes as asked for.

    Raises InvalidInputError where lanes are asked for and no policy takes them.
    """
    lanes, policies = arguments.lanes, arguments.policy
    if lanes != FREE and not any(map(has_lanes, policies)):
        raise InvalidInputError(f"--lanes goes with --policy {PRODUCT}, {', '.join(ABLATIONS)}")
    return {name: variants_on(lanes, name) if has_lanes(name) else SYSTEMS[name] for name in policies}


def bound_and_fleet(
    path: Path, scenario: Scenario, trial: Trial, load: float | None = None
) -> tuple[float, tuple[SimulatedGpu, ...]]:
    """The load that no schedule of the scenario exceeds, and its GPUs with their models.

    The models are placed for `load`; where that is yet to be found, for as much of the bound as the operator
    fills GPUs to. Raises InvalidInputError where `load`, by default the bound, makes too many requests;
    InfeasibleError where the models cannot be placed; both name the scenario's file.
    """
    with faults_of(path):
        bound = fluid_bound(scenario.workloads(), scenario.pools()).load
        check_requests(scenario, trial, bound if load is None else load)
        placed_for = bound * DEFAULT_AREA_LIMIT_PERMILLE / PERMILLE if load is None else load
        return bound, fleet_of(scenario, trial, placed_for)


def trial_of(arguments: argparse.Namespace) -> tuple[Scenario, Trial]:
    """The scenario, with the memory of a worker of the lanes asked for, and the run of it.

    Raises InvalidInputError where the scenario is wrong, or nothing would be left after the warm-up.
    """
    scenario = with_copies(read_scenario(arguments.scenario), arguments.lanes)
    duration_s = arguments.duration_s or _length_s(scenario)
    warmup_s = arguments.warmup_s
    if warmup_s is None:
        warmup_s = min(_WARMUP_S, _WARMUP_SHARE * duration_s)
    if warmup_s >= duration_s:
        raise InvalidInputError(
            f"--warmup-s {warmup_s:g} leaves nothing of {duration_s:g} s: make it shorter"
        )
    return scenario, Trial(scenario.arrivals, duration_s, warmup_s, (arguments.seed,), arguments.noise)


def check_requests(scenario: Scenario, trial: Trial, load: float) -> None:
    """Raise InvalidInputError where a run at that load would be of more requests than can be simulated."""
    requests = load * trial.duration_s * sum(model.rate_rps for model in scenario.models)
    if requests > _MAX_REQUESTS and not isinstance(scenario.arrivals, Trace):
        raise InvalidInputError(
            f"{requests:.3g} requests, in {trial.duration_s:g} s at load {load:.3g}, "
            f"are too many to simulate: at most {_MAX_REQUESTS:g}"
        )


def check_counted(fleet: Sequence[SimulatedGpu]) -> None:
    """Raise InvalidInputError where no request of a trace counts on any GPU: any load would be carried."""
    if not any(_counts(gpu.trial) for gpu in fleet):
        trial = fleet[0].trial
        raise InvalidInputError(
            f"no request of the trace comes from {trial.warmup_s:g} to {trial.duration_s:g} s: "
            "make --warmup-s shorter or --duration-s longer"
        )


def _counts(trial: Trial) -> bool:
    if not isinstance(trial.arrivals, Trace):
        return True
    from_ns, until_ns = trial.warmup_s * NS_PER_S, trial.duration_s * NS_PER_S
    return any(((times >= from_ns) & (times < until_ns)).any() for times in trial.arrivals.times_ns.values())


def _policies(text: str) -> Sequence[str]:
    if text == "all":
        return list(SYSTEMS)
    names = text.split(",")
    for name in names:
        if name not in SYSTEMS:
            raise argparse.ArgumentTypeError(f"no policy {name!r}: use all, or some of {', '.join(SYSTEMS)}")
    return list(dict.fromkeys(names))


def _length_s(scenario: Scenario) -> float:
    if not isinstance(scenario.arrivals, Trace):
        return _DEFAULT_DURATION_S
    return scenario.arrivals.ends_ns / NS_PER_S + _LAST_REQUEST_S
