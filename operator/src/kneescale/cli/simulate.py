"""`kneescale simulate`: what each policy makes of a scenario, or each autoscaler."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TextIO

from kneescale.cli.autoscale import HELP, add_autoscale_arguments, refuse_autoscale_arguments, run_autoscale
from kneescale.cli.command import Subcommands, add_plot_argument, check_plot, new_parser, write_json
from kneescale.cli.limits import number
from kneescale.cli.pool import run_all
from kneescale.cli.table import write_table
from kneescale.cli.trial_arguments import add_trial_arguments, bound_and_fleet, systems_of, trial_of
from kneescale.core.units import MS_PER_S
from kneescale.sim.fleet import SimulatedGpu, serve
from kneescale.sim.outcome import Outcome, outcome_of
from kneescale.sim.spans import Span, spans_of
from kneescale.sim.systems import Variant

_HELP = f"""\
Simulates a scenario, request by request, under each policy: the product's own dispatcher (dstack: the code
that the node agent runs) and other systems, each with those of its parameters that suit the scenario best
(of Triton's, of four sets for all models alike; `kneescale capacity` looks for those of each model).
The same seed gives the same arrivals to all, and the same result again.

  attainment   the share of a model's requests, dropped ones included, that were answered within its SLO; of
               a policy, the worst model's
  dropped      requests refused, for they could not be in time
  goodput      requests a second answered within the SLO
  P50, P99     how long those that were answered took
  utilization  the part of all GPUs, also the idle ones, that the answers would take at their cheapest: useful
               work
  fairness     Jain's index of what each model had of what weighted fair GPUs owe it
  bound        the load, as a factor on all rates, that no schedule can exceed (`kneescale bound`)

{HELP}"""

_EXAMPLES = """\
examples:
  kneescale simulate scenario.yaml
  kneescale simulate scenario.yaml --policy dstack,triton,nexus --load 1.2 --duration-s 30
  kneescale simulate scenario.yaml --policy dstack,temporal --duration-s 10 --plot timeline.png
  kneescale simulate scenario.yaml --policy all --output json
  kneescale simulate day.yaml --autoscale --duration-s 600 --warmup-s 20 --plot day.png
  kneescale simulate day.yaml --autoscale --autoscaler kneescale,hpa-cpu --start-s 30"""


_LOAD = (0.001, 1e6)

#: A picture shows so many of the longest SLOs in detail.
SESSIONS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Best:
    """What a policy made of a scenario, and the parameters that it did it with.

    `spans` is what ran on each GPU, where a picture of it was asked for.
    """

    parameters: str
    outcome: Outcome
    spans: tuple[Sequence[Span], ...]


def add_to(subcommands: Subcommands) -> None:
    """Add the command's parser."""
    parser = new_parser(
        subcommands,
        "simulate",
        summary="what each policy makes of a scenario",
        description=_HELP,
        examples=_EXAMPLES,
    )
    add_trial_arguments(parser)
    parser.add_argument(
        "--load", metavar="X", type=number(*_LOAD), default=1.0, help="factor on all rates (default: 1)"
    )
    add_plot_argument(parser, "draw what ran when")
    add_autoscale_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, out: TextIO) -> None:
    """Write what became of each model under each policy.

    Raises InvalidInputError where the scenario is wrong, InfeasibleError where its models cannot be placed.
    """
    check_plot(arguments)
    if arguments.autoscale:
        run_autoscale(arguments, out)
        return
    refuse_autoscale_arguments(arguments)
    scenario, trial = trial_of(arguments)
    bound, fleet = bound_and_fleet(arguments.scenario, scenario, trial, arguments.load)
    systems = systems_of(arguments)
    check_plot(arguments, rows=len(systems) * len(fleet))
    try_variant = partial(_tried, fleet, len(scenario.gpus), arguments.load, arguments.plot is not None)
    outcomes = run_all({name: partial(_best, try_variant, variants) for name, variants in systems.items()})
    if arguments.output == "json":
        policies = {name: _as_json(best) for name, best in outcomes.items()}
        write_json({"bound": {"load": bound}, "policies": policies}, out)
    else:
        out.write(f"load {arguments.load:g} of at most {bound:.4g}\n\n")
        _write(outcomes, out)
    if arguments.plot:
        _draw(outcomes, fleet, arguments)


def _best(try_variant: Callable[[Variant], Best], variants: Sequence[Variant]) -> Best:
    """The policy with the parameters that give the worst model the most."""
    # Where no request was sent the first is as good as any.
    return max(map(try_variant, variants), key=lambda best: best.outcome.attainment or 0)


def _tried(
    fleet: Sequence[SimulatedGpu], gpus: int, load: float, wants_spans: bool, variant: Variant
) -> Best:
    records = serve(fleet, variant.system, load)
    spans = tuple(map(spans_of, records)) if wants_spans else ()
    return Best(variant.parameters, outcome_of(records, gpus), spans)


def _draw(outcomes: Mapping[str, Best], fleet: Sequence[SimulatedGpu], arguments: argparse.Namespace) -> None:
    from kneescale.cli.timeline import Panel, draw_timeline

    panels = [
        Panel(f"{policy} on {gpu.name}", spans, 0, gpu.trial.at(arguments.load).duration_s)
        for policy, best in outcomes.items()
        for gpu, spans in zip(fleet, best.spans, strict=True)
    ]
    longest_slo_ms = max(tenant.slo_ms for gpu in fleet for tenant in gpu.tenants)
    detail_s = SESSIONS_SHOWN * longest_slo_ms / MS_PER_S
    title = f"GPU% in use at load {arguments.load:g}, simulated"
    draw_timeline(panels, title, detail_s, arguments.plot)


def _as_json(best: Best) -> Mapping[str, object]:
    outcome = best.outcome
    return {
        "attainment": outcome.attainment,
        "utilization": outcome.utilization,
        "fairness": outcome.fairness,
        "dropped": outcome.dropped,
        "parameters": best.parameters,
        "models": {
            name: {
                "sent": model.sent,
                "goodput_rps": model.goodput_rps,
                "attainment": model.attainment,
                "p50_ms": model.p50_ms,
                "p99_ms": model.p99_ms,
                "mean_batch": model.mean_batch,
            }
            for name, model in outcome.models.items()
        },
    }


def _write(outcomes: Mapping[str, Best], out: TextIO) -> None:
    write_table(
        ("POLICY", "ATTAINMENT", "UTILIZATION", "FAIRNESS", "DROPPED", "PARAMETERS"),
        [
            (name, o.attainment, o.utilization, o.fairness, o.dropped, best.parameters)
            for name, best in outcomes.items()
            if (o := best.outcome)
        ],
        out,
    )
    out.write("\n")
    write_table(
        ("POLICY", "MODEL", "SENT", "GOODPUT (/s)", "ATTAINMENT", "P50 (ms)", "P99 (ms)", "MEAN BATCH"),
        [
            (policy, name, m.sent, m.goodput_rps, m.attainment, m.p50_ms, m.p99_ms, m.mean_batch)
            for policy, best in outcomes.items()
            for name, m in best.outcome.models.items()
        ],
        out,
    )
