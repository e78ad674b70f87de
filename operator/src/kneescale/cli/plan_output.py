"""What is written of a plan: a summary and tables, or JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from math import floor
from typing import TextIO

from kneescale.cli.fleet_plan import Plan
from kneescale.cli.fleet_search import ATTAINMENT, PLANNED_LOADS_PERMILLE
from kneescale.cli.operator_view import MOST_TIMES
from kneescale.cli.table import write_table
from kneescale.core.planning.placement import DEFAULT_AREA_LIMIT_PERMILLE
from kneescale.core.units import PERMILLE
from kneescale.plan.words import counted

#: Of models that miss or are refused the summary has so many; the table and JSON have all.
_SHOWN = 4


def as_json(plan: Plan) -> dict[str, object]:
    """Everything of it, as JSON has it."""
    return {
        "product": plan.product,
        "gpus_needed": len(plan.gpus),
        "bound": {"gpus": plan.bound, "gpus_any_schedule": plan.bound_any_schedule},
        "planned_load": plan.load_permille / PERMILLE,
        "utilization": plan.utilization,
        "simulated_gpus": plan.simulated_gpus,
        "attainment_asked": ATTAINMENT,
        "missed": plan.missed,
        "of_trace_s": plan.of_trace_s,
        "operator": asdict(plan.operator),
        "gpus": [asdict(gpu) for gpu in plan.gpus],
        "models": {name: asdict(model) for name, model in plan.models.items()},
    }


def write_plan(plan: Plan, out: TextIO) -> None:
    """Write it for people."""
    out.writelines(f"{line}\n" for line in _summary(plan))
    out.write("\n")
    _write_models(plan, out)
    out.write("\n")
    write_table(
        ("GPU", "AREA (%)", "MODELS"),
        [(number, 100 * gpu.utilization, ", ".join(gpu.models)) for number, gpu in enumerate(plan.gpus)],
        out,
    )


def _write_models(plan: Plan, out: TextIO) -> None:
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


def _summary(plan: Plan) -> Iterator[str]:
    gpus = counted(len(plan.gpus), f"{plan.product} GPU" if plan.product else "GPU")
    usual = f"{PLANNED_LOADS_PERMILLE[0] / 10:g} %"
    yield (
        f"{gpus} {'would still miss SLOs' if plan.missed else 'needed'}, "
        f"{100 * plan.utilization:.3g} % of {'its' if len(plan.gpus) == 1 else 'their'} area in use; "
        f"no fewer than {plan.bound} by the fluid bound at {usual}, {plan.bound_any_schedule} at any load"
    )
    if plan.missed:
        worst_first = sorted(plan.missed.items(), key=lambda missed: missed[1])
        misses = _some([f"{name} ({floor(1e4 * attained) / 100:g} %)" for name, attained in worst_first])
        least = f"{PLANNED_LOADS_PERMILLE[-1] / 10:g} %"
        asked = f"{100 * ATTAINMENT:g} %"
        yield f"even with no GPU loaded above {least}, fewer than {asked} are in time of {misses}"
    elif plan.load_permille < PLANNED_LOADS_PERMILLE[0]:
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
