"""Latency surfaces as API objects carry them, from and to those that the core computes with."""

from collections.abc import Iterable

from kneescale.api.vocabulary import LONGEST_LATENCY_US, SurfacePoint
from kneescale.core.surfaces.surface import LatencySurface, Point
from kneescale.core.units import US_PER_MS


def surface_of(points: Iterable[SurfacePoint]) -> LatencySurface:
    """The surface through these points. Raises InvalidInputError where they are none of a surface."""
    return LatencySurface.from_points(
        Point(point.gpu_percent, point.batch, point.latency_microseconds / US_PER_MS) for point in points
    )


def points_of(surface: LatencySurface) -> tuple[SurfacePoint, ...]:
    """The points that a surface was made of."""
    return tuple(SurfacePoint(point.gpu_percent, point.batch, _in_us(point)) for point in surface.points)


def _in_us(point: Point) -> int:
    """A point's latency; beyond what was measured, one may be longer than an API object may say."""
    return min(LONGEST_LATENCY_US, round(point.latency_ms * US_PER_MS))
