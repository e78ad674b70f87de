"""Terms and dispatchers that several tests use."""

from kneescale.core.dispatching.dispatcher import Dispatcher, PartitionTerms
from kneescale.core.dispatching.policies import policy_named
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.core.units import ms_to_ns
from kneescale.core.wire import Role
from tests.core.sample_surfaces import LANES, small_surface


def serving(
    *,
    slo_ms: float = 50,
    weight: int = 1,
    gpu_percent: int | None = None,
    batch: int = 8,
    lanes: tuple[int, ...] = LANES,
    surface: LatencySurface | None = None,
) -> PartitionTerms:
    """Terms of a partition that serves; its surface is the small model's unless given."""
    return PartitionTerms(
        role=Role.SERVE,
        slo_ns=ms_to_ns(slo_ms),
        weight=weight,
        gpu_percent=gpu_percent or lanes[0],
        batch=batch,
        lanes=lanes,
        surface=surface or small_surface(lanes),
    )


def profiling() -> PartitionTerms:
    """Terms of a partition that profiles."""
    return PartitionTerms(Role.PROFILE, ms_to_ns(100), 1, 100, 16, LANES, None)


def dispatcher(policy: str = "SpatioTemporal", lead_ns: int = 0, /, **terms: PartitionTerms) -> Dispatcher:
    """A dispatcher with these partitions, the worker of each connected, at time 0."""
    made = Dispatcher(policy_named(policy), lead_ns)
    made.configure(terms)
    for name in terms:
        made.joined(name, 0)
    return made
