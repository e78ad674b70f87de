"""Latency surfaces: how long a batch takes at a GPU%, from measured points on any grid."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray

from kneescale.core.errors import InvalidInputError
from kneescale.core.units import WHOLE_GPU_PERCENT

#: Batch latency in ms at each of a surface's GPU%s, for one batch size.
_Row = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement: a batch of `batch` items at `gpu_percent` took `latency_ms`."""

    gpu_percent: int
    batch: int
    latency_ms: float

    def __post_init__(self) -> None:
        """Raise InvalidInputError on what no measurement can be."""
        if not 1 <= self.gpu_percent <= WHOLE_GPU_PERCENT:
            raise InvalidInputError(f"GPU% must be 1 to 100, not {self.gpu_percent}")
        if self.batch < 1:
            raise InvalidInputError(f"batch must be at least 1, not {self.batch}")
        if not (isfinite(self.latency_ms) and self.latency_ms > 0):
            raise InvalidInputError(f"latency must be above 0 ms, not {self.latency_ms}")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A latency, and how sure it is.

    `low_ms` to `high_ms` is what the points leave possible if more GPU and more items behave: at most in
    proportion, and never the wrong way. Points that contradict that, or each other, widen it.
    `is_extrapolated`: beyond the smallest or largest GPU% or batch that was measured.
    """

    latency_ms: float
    low_ms: float
    high_ms: float
    is_extrapolated: bool


@dataclass(frozen=True, slots=True)
class LatencySurface:
    """f(p, b) in ms: never rising with GPU%, never falling with batch size.

    Made by `from_points`. `points` are the measurements as they came, ordered by (batch, GPU%).
    """

    points: tuple[Point, ...]
    gpu_percents: tuple[int, ...]
    batches: tuple[int, ...]
    _rows: tuple[_Row, ...] = field(repr=False)

    @classmethod
    def from_points(cls, points: Iterable[Point]) -> "LatencySurface":
        """The surface through `points`, which may be noisy and need not fill their grid.

        Noise is resolved upwards: f(p, b) is the largest latency seen with at least p and at most b. A guess
        for a hole raises no measurement: it is at most the smallest one with at most p and at least b.
        Raises InvalidInputError on no points, or one given twice.
        """
        ordered = tuple(sorted(points, key=lambda point: (point.batch, point.gpu_percent)))
        _check(ordered)
        gpu_percents = tuple(sorted({point.gpu_percent for point in ordered}))
        batches = tuple(sorted({point.batch for point in ordered}))
        curves = [_curve(ordered, batch, gpu_percents) for batch in batches]
        rows = _lowered_to_measurements(tuple(_upper_envelope(curves)), ordered, gpu_percents, batches)
        return cls(ordered, gpu_percents, batches, rows)

    def latency_ms(self, gpu_percent: int, batch: int) -> float:
        """f(p, b), between the points linear in batch and in 1/p.

        Beyond them: below the smallest GPU% in proportion to 1/p, above the largest as at the largest;
        below the smallest batch as at the smallest, above the largest in proportion to the batch.
        """
        largest = self.batches[-1]
        if batch >= largest:
            return _at(self.gpu_percents, self._rows[-1], gpu_percent) * batch / largest
        upper = bisect_left(self.batches, batch)
        above = _at(self.gpu_percents, self._rows[upper], gpu_percent)
        if upper == 0 or self.batches[upper] == batch:
            return above
        below = _at(self.gpu_percents, self._rows[upper - 1], gpu_percent)
        share = (batch - self.batches[upper - 1]) / (self.batches[upper] - self.batches[upper - 1])
        return below + share * (above - below)

    def latencies_ms(self, gpu_percents: Sequence[int], batches: Sequence[int]) -> NDArray[np.float64]:
        """`latency_ms` of a whole grid at once: a row for each batch, a column for each GPU%."""
        percents, items = np.asarray(gpu_percents, dtype=float), np.asarray(batches, dtype=float)
        known, largest = np.asarray(self.batches, dtype=float), self.batches[-1]
        # Over -1/p, because np.interp wants rising positions; both ends of it are flat.
        rows = np.array(
            [np.interp(-1 / percents, -1 / np.array(self.gpu_percents), row) for row in self._rows]
        )
        rows *= np.maximum(1, self.gpu_percents[0] / percents)
        inside = np.clip(items, known[0], largest)
        upper = np.searchsorted(known, inside)
        lower = np.maximum(upper - 1, 0)
        share = (inside - known[lower]) / np.maximum(known[upper] - known[lower], 1)
        between: NDArray[np.float64] = rows[lower] + share[:, None] * (rows[upper] - rows[lower])
        return between * np.maximum(1, items / largest)[:, None]

    def estimate(self, gpu_percent: int, batch: int) -> Estimate:
        """f(p, b) with what the measured points say of its error."""
        latency_ms = self.latency_ms(gpu_percent, batch)
        scaled = [
            (point.latency_ms, point.gpu_percent / gpu_percent, batch / point.batch) for point in self.points
        ]
        at_least = max(point_ms * min(1, gpu) * min(1, items) for point_ms, gpu, items in scaled)
        at_most = min(point_ms * max(1, gpu) * max(1, items) for point_ms, gpu, items in scaled)
        possible_ms = (latency_ms, at_least, at_most)
        return Estimate(latency_ms, min(possible_ms), max(possible_ms), not self._spans(gpu_percent, batch))

    def _spans(self, gpu_percent: int, batch: int) -> bool:
        return (
            self.gpu_percents[0] <= gpu_percent <= self.gpu_percents[-1]
            and self.batches[0] <= batch <= self.batches[-1]
        )

    def restricted_to(self, lanes: Iterable[int], max_batch: int) -> "LatencySurface":
        """This surface evaluated at `lanes` and batches 1, 2, 4, ... `max_batch`: what a schedule carries."""
        return LatencySurface.from_points(
            Point(lane, batch, self.latency_ms(lane, batch))
            for lane in sorted(set(lanes))
            for batch in doubling_batches(max_batch)
        )

    def times(self, factor: float) -> "LatencySurface":
        """This surface with every latency `factor` (above 0) times as long."""
        return LatencySurface.from_points(
            Point(point.gpu_percent, point.batch, factor * point.latency_ms) for point in self.points
        )

    def beside_others(self, factor: float) -> "LatencySurface":
        """This surface with every latency on a part of the GPU `factor` (at least 1) times as long."""
        if factor == 1:
            return self
        # On the whole GPU nothing else runs, be it that none of the points is there.
        alone = [
            Point(WHOLE_GPU_PERCENT, batch, self.latency_ms(WHOLE_GPU_PERCENT, batch))
            for batch in self.batches
        ]
        beside = (
            replace(point, latency_ms=factor * point.latency_ms)
            for point in self.points
            if point.gpu_percent < WHOLE_GPU_PERCENT
        )
        return LatencySurface.from_points((*beside, *alone))


def doubling_batches(max_batch: int) -> tuple[int, ...]:
    """1, 2, 4, ... up to and with `max_batch`."""
    doublings = [1 << exponent for exponent in range(max_batch.bit_length()) if 1 << exponent < max_batch]
    return (*doublings, max_batch)


def _check(ordered: Sequence[Point]) -> None:
    if not ordered:
        raise InvalidInputError("a latency surface needs at least one point")
    for first, second in pairwise(ordered):
        if (first.gpu_percent, first.batch) == (second.gpu_percent, second.batch):
            raise InvalidInputError(f"GPU% {first.gpu_percent} with batch {first.batch} is given twice")


def _curve(ordered: Sequence[Point], batch: int, gpu_percents: Sequence[int]) -> _Row:
    """The latency of one batch size at every GPU% of the surface; the holes are interpolated."""
    measured = [point for point in ordered if point.batch == batch]
    measured_percents = [point.gpu_percent for point in measured]
    falling = _running_max_from_right([point.latency_ms for point in measured])
    return tuple(_at(measured_percents, falling, percent) for percent in gpu_percents)


def _upper_envelope(curves: Sequence[_Row]) -> Iterable[_Row]:
    """Each curve raised to the ones of smaller batches; each curve falls with GPU% already."""
    return accumulate(curves, lambda below, row: tuple(map(max, below, row)))


def _lowered_to_measurements(
    rows: Sequence[_Row], ordered: Sequence[Point], gpu_percents: Sequence[int], batches: Sequence[int]
) -> tuple[_Row, ...]:
    """The rows where no guess for a hole is above what is measured with less GPU and more items.

    Both bounds fall with GPU% and rise with the batch, and so does what is kept between them.
    """
    at_least = np.zeros((len(batches), len(gpu_percents)))
    at_most = np.full_like(at_least, inf)
    for point in ordered:
        place = batches.index(point.batch), gpu_percents.index(point.gpu_percent)
        at_least[place] = at_most[place] = point.latency_ms
    at_least = np.maximum.accumulate(np.maximum.accumulate(at_least, axis=0)[:, ::-1], axis=1)[:, ::-1]
    at_most = np.minimum.accumulate(np.minimum.accumulate(at_most[::-1], axis=0)[::-1], axis=1)
    # Measurements that contradict each other cross the bounds; there the slower one counts.
    return tuple(map(tuple, np.minimum(rows, np.maximum(at_least, at_most)).tolist()))


def _running_max_from_right(values: Sequence[float]) -> _Row:
    return tuple(accumulate(reversed(values), max))[::-1]


def _at(gpu_percents: Sequence[int], row: Sequence[float], gpu_percent: int) -> float:
    """The row's value at `gpu_percent`: work divided over SMs, so straight lines over 1/p."""
    upper = bisect_left(gpu_percents, gpu_percent)
    if upper == len(gpu_percents):
        return row[-1]
    if gpu_percents[upper] == gpu_percent:
        return row[upper]
    if upper == 0:
        return row[0] * gpu_percents[0] / gpu_percent
    low, high = gpu_percents[upper - 1], gpu_percents[upper]
    share = (1 / low - 1 / gpu_percent) / (1 / low - 1 / high)
    return row[upper - 1] + share * (row[upper] - row[upper - 1])
