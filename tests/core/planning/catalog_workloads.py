"""Workloads of the catalogue's models, as several tests of pools of lanes use them."""

from kneescale.core.planning.fluid import Workload
from kneescale.core.surfaces.catalog import catalog

PERCENTS = tuple(range(5, 101, 5))
SURFACES = {model.name: model.surface(PERCENTS, (1, 2, 4, 8)) for model in catalog()}


def workload(name: str, area_percent: float, slo_factor: float = 3) -> Workload:
    """A model at the rate that takes about that area in batches of 8 at 40 GPU%."""
    surface = SURFACES[name]
    latency_ms = surface.latency_ms(40, 8)
    return Workload(name, area_percent / 40 * 8000 / latency_ms, slo_factor * latency_ms, {"": surface})
