"""What to expect of a plan: its GPUs, simulated for some seconds under the product's own dispatcher."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from kneescale.cli.lanes import Lanes, variants_on
from kneescale.cli.pool import run_all
from kneescale.core.planning.fleet import Fleet
from kneescale.sim.fleet import SimulatedGpu, fleet_with, serve
from kneescale.sim.outcome import ModelOutcome, Served, outcome_on, served_on
from kneescale.sim.scenario import Scenario, ScenarioGpu
from kneescale.sim.trial import Trial

#: Of a plan of more GPUs so many are simulated: all would take minutes.
MOST_GPUS = 16
COUNTED_S = 10.0
#: That is four bursts, which say little of the next ones.
BURSTY_COUNTED_S = 60.0
WARMUP_S = 2.0


@dataclass(frozen=True, slots=True)
class Expectation:
    """What became of each model on the GPUs that were simulated."""

    models: Mapping[str, ModelOutcome]
    gpus: int


def expect(scenario: Scenario, trial: Trial, product: str, fleet: Fleet, lanes: Lanes) -> Expectation:
    """What becomes of the models on those GPUs of the product, or on some where they are too many."""
    planned = replace(scenario, gpus=tuple(ScenarioGpu(str(number), product) for number in range(fleet.gpus)))
    placed = {model: [str(number) for number in on] for model, on in fleet.placement.items()}
    simulated = set(map(str, _sample(fleet)))
    gpus = [gpu for gpu in fleet_with(planned, placed, trial) if gpu.name in simulated]
    served = run_all({f"GPU {gpu.name} of {fleet.gpus}": partial(_serve, gpu, lanes) for gpu in gpus})
    return Expectation(outcome_on(list(served.values())).models, len(gpus))


def _sample(fleet: Fleet) -> list[int]:
    """The GPUs to simulate: those that show the most models, and then the most replicas."""
    models = fleet.models()
    left, chosen, seen = list(range(fleet.gpus)), list[int](), set[str]()
    while left and len(chosen) < MOST_GPUS:
        best = max(left, key=lambda gpu: (len(set(models[gpu]) - seen), len(models[gpu])))
        left.remove(best)
        chosen.append(best)
        seen.update(models[best])
    return chosen


def _serve(gpu: SimulatedGpu, lanes: Lanes) -> list[Served]:
    (record,) = serve([gpu], variants_on(lanes)[0].system, load=1.0)
    return served_on(record)
