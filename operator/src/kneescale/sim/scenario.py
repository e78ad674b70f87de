"""A scenario: models with their SLOs, rates and latency surfaces, the GPUs that they share, and arrivals."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from kneescale.core.planning.fluid import GpuPool, Workload
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.sim.arrivals import Times
from kneescale.sim.shapes import Shape


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

    @property
    def ends_ns(self) -> int:
        """When the last request comes."""
        return max(int(times[-1]) for times in self.times_ns.values())


@dataclass(frozen=True, slots=True)
class Shaped:
    """Requests of a Poisson process whose rate goes like the shape; a model's rate is its peak."""

    shape: Shape


Arrivals = Uniform | Poisson | Bursty | Trace | Shaped


@dataclass(frozen=True, slots=True)
class ScenarioGpu:
    """One GPU. An empty product is that of profiles which name none; without a size, memory is no limit."""

    name: str
    product: str
    memory_gib: float = inf


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

    def workloads(self) -> list[Workload]:
        """What the models ask for, as the fluid bound of all schedules takes it."""
        return [
            Workload(model.name, model.rate_rps, model.slo_ms, model.surfaces, memory_gib=model.memory_gib)
            for model in self.models
        ]

    def pools(self) -> list[GpuPool]:
        """The GPUs by product and memory."""
        kinds = Counter((gpu.product, gpu.memory_gib) for gpu in self.gpus)
        return [GpuPool(product, count, memory_gib) for (product, memory_gib), count in kinds.items()]
