"""Traffic for the autoscaling scenario, by name, and what an oracle that knew it would reserve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kneescale.core.surfaces.catalog import lookup
from kneescale.core.surfaces.surface import LatencySurface, doubling_batches
from kneescale.core.units import NS_PER_S
from kneescale.sim.autoscaling.autoscalers import AUTOSCALERS, ORACLE, try_choice
from kneescale.sim.autoscaling.scene import Scene
from kneescale.sim.scenario import Arrivals, Bursty, Scenario, ScenarioGpu, ScenarioModel, Shaped, Trace
from kneescale.sim.shapes import SHAPES, Shape
from kneescale.sim.trial import Trial

SEED = 20230413
#: What the emulated GPUs of the demo are, and the lanes and batches that their profiles have.
PRODUCT, LANES, MAX_BATCH = "V100-SXM2-16GB", range(10, 101, 10), 8
_GPUS = 4


@dataclass(frozen=True, slots=True)
class Traffic:
    """How requests come: at a model's peak rate at most, for so long.

    `changes_s`: when the rate jumps.
    """

    arrivals: Arrivals
    duration_s: float
    changes_s: tuple[float, ...] = ()

    def times_s(self, number: int, model: str, peak_rps: float) -> NDArray[np.float64]:
        """When the requests of the model with that number and name are due."""
        trial = Trial(self.arrivals, self.duration_s, seed=(SEED,))
        return trial.times(number, model, peak_rps) / NS_PER_S


def _shaped(shape: Shape, duration_s: float) -> Traffic:
    corners = zip(shape.corners, shape.corners[1:], strict=False)
    jumps = tuple(at * duration_s for (at, low), (then, high) in corners if at == then and low != high)
    return Traffic(Shaped(shape), duration_s, jumps)


#: Calm for 25 s, a step to four times that for 60 s, and 85 s more: what is provided for falls 45 s after
#: the need.
_SHORT_STEP = Shape(((0, 0.25), (25 / 170, 0.25), (25 / 170, 1), (85 / 170, 1), (85 / 170, 0.25), (1, 0.25)))
_SHORT_STEP_S, _OTHERS_S = 170.0, 300.0

STEP, BURSTY = "step", "bursty"
#: The names of traffic.
NAMES = (STEP, "ramp", "daily", "spike", BURSTY)


def traffic_named(name: str, duration_s: float | None = None) -> Traffic:
    """As it is simulated for docs/results.md, in that time.

    `name` is one of NAMES. By default a step takes 170 s, and all else 300.
    """
    if name == STEP and duration_s is None:
        return _shaped(_SHORT_STEP, _SHORT_STEP_S)
    duration_s = duration_s or _OTHERS_S
    return Traffic(Bursty(), duration_s) if name == BURSTY else _shaped(SHAPES[name], duration_s)


def surface_of(model: str) -> LatencySurface:
    """The surface by which the emulated GPUs run the demo's model of that name."""
    return lookup(model.replace("-", "_"), PRODUCT).surface(LANES, doubling_batches(MAX_BATCH))


def oracle_gpus(
    slos_ms: Mapping[str, float], times_s: Mapping[str, NDArray[np.float64]], duration_s: float, items: int
) -> float:
    """How many GPUs the simulator's oracle reserves in the mean, for requests of `items` at these times."""
    times_ns = {model: _each_item(times, items) for model, times in times_s.items()}
    models = tuple(
        _scenario_model(model, slo_ms, len(times_ns[model]) / duration_s) for model, slo_ms in slos_ms.items()
    )
    trace = Trace(times_ns)
    gpus = tuple(ScenarioGpu(f"gpu{number}", PRODUCT) for number in range(_GPUS))
    scene = Scene(Scenario(models, gpus, trace), Trial(trace, duration_s, warmup_s=0.0))
    return try_choice(AUTOSCALERS[ORACLE][0], scene).figures.reserved_gpus


def _scenario_model(model: str, slo_ms: float, rate_ips: float) -> ScenarioModel:
    surface = surface_of(model)
    return ScenarioModel(model, slo_ms, rate_ips, 1, surface, {PRODUCT: surface})


def _each_item(times_s: Sequence[float] | NDArray[np.float64], items: int) -> NDArray[np.int64]:
    return np.repeat((np.asarray(times_s) * NS_PER_S).astype(np.int64), items)
