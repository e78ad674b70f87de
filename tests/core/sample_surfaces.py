"""Surfaces that several tests use."""

from kneescale.core.surfaces.parametric import Parameters
from kneescale.core.surfaces.surface import LatencySurface, doubling_batches

LANES = tuple(range(10, 101, 10))

#: 2 ms whatever the GPU%, or 1 ms and 20 ms x GPU% for each item.
SMALL = Parameters(host_ms=2, serial_ms=0, fixed_work=100, work=20)


def small_surface(lanes: tuple[int, ...] = LANES) -> LatencySurface:
    """A model of a few milliseconds with a knee."""
    return SMALL.surface(lanes, doubling_batches(16))
