"""A scenario: models with their SLOs, rates and latency surfaces, the GPUs that they share, and arrivals."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kneescale.core.surface import LatencySurface
from kneescale.sim.arrivals import Times


@dataclass(frozen=True, slots=True)
class Uniform:
    """Requests evenly spaced."""


@dataclass(frozen=True, slots=True)
class Poisson:
    """Requests of a Poisson process."""


@dataclass(frozen=True, slots=True)
class Bursty:
    """Requests of a Markov-modulated Poisson process: bursts, and calm between them."""


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Requests as they were recorded: when each model's came, in ns from the start, in order."""

    times_ns: Mapping[str, Times]


Arrivals = Uniform | Poisson | Bursty | Trace


@dataclass(frozen=True, slots=True)
class ScenarioGpu:
    """One GPU. An empty product is that of profiles which name none; without memory it is not a limit."""

    name: str
    product: str
    memory_gib: float | None = None


@dataclass(frozen=True, slots=True)
class ScenarioModel:
    """One model, all of its rate, and its latency surface on the scenario's first GPU.

    `surfaces` has the surface on each GPU product that the profiles know, also those that no GPU here is of.
    """

    name: str
    slo_ms: float
    rate_rps: float
    weight: int
    surface: LatencySurface
    surfaces: Mapping[str, LatencySurface] = field(repr=False)
    #: What one worker's weights and activations take of a GPU's memory; 0 where it is not said.
    memory_gib: float = 0.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """Models on GPUs. Every model has a surface on each GPU's product; names are unique."""

    models: tuple[ScenarioModel, ...]
    gpus: tuple[ScenarioGpu, ...]
    arrivals: Arrivals
