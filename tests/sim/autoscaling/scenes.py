"""Small scenes for tests of autoscalers."""

from kneescale.sim.autoscaling.scene import Scene
from kneescale.sim.scenario import Arrivals, Poisson, Scenario, ScenarioGpu, ScenarioModel
from kneescale.sim.trial import Trial
from tests.sim.serving import flat

START_S = 4


def scene(
    rate_rps: float = 20,
    arrivals: Arrivals | None = None,
    *,
    duration_s: float = 60,
    gpus: int = 3,
    seed: int = 1,
) -> Scene:
    """One model of single items that each take a whole GPU for 20 ms, with an SLO of 200 ms."""
    surface = flat(20, 1)
    model = ScenarioModel("a", 200, rate_rps, 1, surface, {"": surface})
    arrivals = arrivals or Poisson()
    on = tuple(ScenarioGpu(f"gpu{number}", "") for number in range(gpus))
    trial = Trial(arrivals, duration_s, 10, (seed,))
    return Scene(Scenario((model,), on, arrivals), trial, start_s=START_S)
