"""Which run to profile next, and when enough are: the most information for each second of profiling.

Information in Shannon's sense: by how much a measurement is expected to narrow what is left possible at each
run of the grid (MacKay, "Information-based objective functions for active data selection", 1992).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kneescale.core.surfaces.latency_model import Floats, Prior, Runs
from kneescale.core.surfaces.population import POPULATION
from kneescale.core.surfaces.surface import Point
from kneescale.core.surfaces.surface_fit import FittedSurface, fit_surface

_MS_PER_S = 1000
#: So many of the grid's runs must be known well enough.
_SHARE_KNOWN = 0.9

#: GPU% and batch.
Run = tuple[int, int]


@dataclass(frozen=True, slots=True)
class MeasuringCost:
    """What measuring one run takes: the start of a worker at its GPU%, and so many batches."""

    set_up_s: float
    batches: int

    def seconds(self, latency_ms: Floats) -> Floats:
        """For each run of the given batch latency."""
        seconds: Floats = self.set_up_s + self.batches * latency_ms / _MS_PER_S
        return seconds


def next_point(
    points: Sequence[Point], grid: Sequence[Run], cost: MeasuringCost, prior: Prior = POPULATION
) -> Run | None:
    """The run of `grid` that tells most about all of it per second of measuring; None if all are measured.

    `points` are the measurements so far; there may be none.
    """
    measured = {(point.gpu_percent, point.batch) for point in points}
    candidates = [run for run in grid if run not in measured]
    if not candidates:
        return None
    fitted, runs = fit_surface(points, prior), Runs.of(candidates)
    rate = _information(fitted, runs, Runs.of(grid)) / cost.seconds(fitted.latency_ms(runs))
    return candidates[int(np.argmax(rate))]


def is_done(
    points: Sequence[Point], grid: Sequence[Run], tolerance: float, prior: Prior = POPULATION
) -> bool:
    """Whether nine in ten runs of `grid` are known with a standard deviation of at most `tolerance`.

    0.08 is 8 %, and takes about eight points. A tolerance near the noise is met by no number of points: end
    at `next_point`'s None, too.
    """
    errors = fit_surface(points, prior).relative_error(Runs.of(grid))
    return float(np.quantile(errors, _SHARE_KNOWN)) <= tolerance


def _information(fitted: FittedSurface, candidates: Runs, grid: Runs) -> Floats:
    """What measuring each candidate is expected to tell about the grid's runs, in nats, summed over them."""
    noise = fitted.prior.noise**2
    shared = fitted.covariance(candidates, grid)
    of_measurement = fitted.relative_error(candidates) ** 2 + noise
    before = fitted.relative_error(grid) ** 2 + noise
    after = before - shared**2 / of_measurement[:, None]
    information: Floats = 0.5 * np.log(before / after).sum(axis=1)
    return information
