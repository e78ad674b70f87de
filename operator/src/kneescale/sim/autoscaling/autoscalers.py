"""The autoscalers that can be compared, by name, each with the parameters to choose from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from kneescale.sim.autoscaling.autoscaler import Autoscaler
from kneescale.sim.autoscaling.figures import Figures, figures_of
from kneescale.sim.autoscaling.kneescale import Kneescale
from kneescale.sim.autoscaling.oracle import Oracle
from kneescale.sim.autoscaling.run import run_autoscaler
from kneescale.sim.autoscaling.scene import Scene
from kneescale.sim.baselines.autoscalers.hpa import Hpa, busy, request_rate
from kneescale.sim.baselines.autoscalers.knative import Knative

#: What every autoscaler should reach apart from the seconds after a step; then the less it takes the better.
GOOD_ATTAINMENT = 0.99
_TARGETS = (0.5, 0.7)
_BATCHES = (1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Choice:
    """An autoscaler with its parameters fixed; `parameters` says which, for people."""

    parameters: str
    make: Callable[[Scene], Autoscaler]


ORACLE = "oracle"
AUTOSCALERS: Mapping[str, tuple[Choice, ...]] = {
    "kneescale": (Choice("", Kneescale),),
    "hpa-cpu": tuple(
        Choice(f"target {target:.0%}", partial(Hpa, metric=busy, target=target)) for target in _TARGETS
    ),
    "hpa-rate": tuple(
        Choice(f"target {target:.0%}", partial(Hpa, metric=request_rate, target=target))
        for target in _TARGETS
    ),
    "knative": tuple(
        Choice(f"target {target:g} batches", partial(Knative, target=target)) for target in _BATCHES
    ),
    ORACLE: (Choice("", Oracle),),
}


@dataclass(frozen=True, slots=True)
class Tried:
    """What an autoscaler made of a scene, and the parameters that it did it with."""

    parameters: str
    figures: Figures

    @property
    def merit(self) -> tuple[float, float]:
        """More is better: attainment as far as it is asked for, then little of the GPUs."""
        return min(GOOD_ATTAINMENT, self.figures.otherwise), -self.figures.reserved_gpus


def try_choice(choice: Choice, scene: Scene) -> Tried:
    """Run it."""
    return Tried(choice.parameters, figures_of(run_autoscaler(choice.make(scene), scene), scene))
