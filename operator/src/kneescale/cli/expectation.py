"""What to expect of a plan: its GPUs, simulated for some seconds under the product's own dispatcher."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from kneescale.cli.pool import run_all
from kneescale.sim.fleet import SimulatedGpu, fleet_with, serve
from kneescale.sim.outcome import ModelOutcome, Served, outcome_on, served_on
from kneescale.sim.scenario import Scenario, ScenarioGpu
from kneescale.sim.systems import SYSTEMS
from kneescale.sim.trial import Trial

#: A plan of more GPUs would take minutes.
MOST_GPUS = 16
DURATION_S = 12.0
WARMUP_S = 2.0


def expect(
    scenario: Scenario, product: str, gpus: int, placement: Mapping[str, Sequence[int]]
) -> Mapping[str, ModelOutcome]:
    """What becomes of each model on so many GPUs of the product; nothing where they are too many."""
    if gpus > MOST_GPUS:
        return {}
    planned = replace(scenario, gpus=tuple(ScenarioGpu(str(number), product) for number in range(gpus)))
    placed = {model: [str(number) for number in on] for model, on in placement.items()}
    fleet = fleet_with(planned, placed, Trial(scenario.arrivals, DURATION_S, WARMUP_S))
    served = run_all({gpu.name: partial(_serve, gpu) for gpu in fleet})
    return outcome_on(list(served.values())).models


def _serve(gpu: SimulatedGpu) -> list[Served]:
    (record,) = serve([gpu], SYSTEMS["dstack"][0].system, load=1.0)
    return served_on(record)
