"""Which run to profile next, and when enough are: the most information for each second of profiling.

Information in Shannon's sense: by how much a measurement is expected to narrow what is left possible at each
run of the grid (MacKay, "Information-based objective functions for active data selection", 1992).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, inf, log

import numpy as np

from kneescale.core.surfaces.latency_model import Floats, Prior, Runs
from kneescale.core.surfaces.population import POPULATION
from kneescale.core.surfaces.surface import Point
from kneescale.core.surfaces.surface_fit import FittedSurface, fit_surface
from kneescale.core.units import MS_PER_S

#: So many of the grid's runs must be known well enough.
_SHARE_KNOWN = 0.9
#: Without batches of one and of two items nothing is known of the larger ones: they may take however long.
_LARGEST_NEEDED_BATCH = 2

#: GPU% and batch.
Run = tuple[int, int]


@dataclass(frozen=True, slots=True)
class MeasuringCost:
    """What measuring one run takes: the start of a worker at its GPU%, and so many batches."""

    set_up_s: float
    batches: int

    def seconds(self, latency_ms: Floats) -> Floats:
        """For each run of the given batch latency."""
        seconds: Floats = self.set_up_s + self.batches * latency_ms / MS_PER_S
        return seconds


class SequentialDesign:
    """Chooses the runs of a grid to measure one after the other, each by what those before it told.

    `next_run` says what to measure, `add` takes what came of it, or `leave_out` that nothing did;
    `expected_error` says how well the whole grid is known by then. Runs that are expected to take longer than
    `longest_ms` are left out of the grid.
    """

    def __init__(
        self, grid: Sequence[Run], cost: MeasuringCost, prior: Prior = POPULATION, longest_ms: float = inf
    ) -> None:
        self._grid = tuple(grid)
        self._cost = cost
        self._longest_ms = longest_ms
        #: Runs that are expected to take this long, or longer, cannot be had.
        self._too_long_ms = inf
        self._fitted = fit_surface((), prior)
        #: ln(measured / foretold) of each point after the first, in standard deviations.
        self._residuals: list[float] = []
        #: The measurements so far, in their order.
        self.points: list[Point] = []

    def next_run(self) -> Run | None:
        """The run that tells most about all of the grid per second of measuring; None if none is to be had.

        The first is the fastest, whatever it tells: until then nobody knows how slow the model is.
        """
        unmeasured = self._unmeasured()
        latencies_ms = self._fitted.latency_ms(Runs.of(unmeasured))
        candidates = [run for run, ms in zip(unmeasured, latencies_ms, strict=True) if ms < self._too_long_ms]
        if not candidates:
            return None
        runs = Runs.of(candidates)
        latency_ms = self._fitted.latency_ms(runs)
        if not self.points:
            return candidates[int(np.argmin(latency_ms))]
        rate = _information(self._fitted, runs, Runs.of(self._runs())) / self._cost.seconds(latency_ms)
        return candidates[int(np.argmax(rate))]

    def add(self, point: Point) -> None:
        """Take a measurement of a run.

        Raises InvalidInputError where it was measured before.
        """
        fitted = fit_surface((*self.points, point), self._fitted.prior)
        if self.points:
            self._residuals.append(_residual(self._fitted, point))
        self.points.append(point)
        self._fitted = fitted

    def leave_out(self, run: Run) -> None:
        """Give up measuring a run, and those that are expected to take as long: the device leaves no time."""
        self._too_long_ms = min(self._too_long_ms, self._latency_ms(run))

    def foretold_ms(self, run: Run) -> float:
        """What a run will hardly exceed: its latency, and the error of that as far as it is below 100 %."""
        error = float(self._fitted.relative_error(Runs.of([run]))[0])
        return self._latency_ms(run) * (1 + min(1.0, error))

    def expected_error(self) -> float:
        """The standard deviation of ln f to which nine in ten runs of the grid are known: 0.08 is 8 %.

        That of the fit, and more where it foretold the points worse than it should have: a surface that is
        none of the model's surprises it again and again, and no lucky guess makes up for that. A tolerance
        near the noise is met by no number of points.
        """
        of_fit = np.quantile(self._fitted.relative_error(Runs.of(self._runs())), _SHARE_KNOWN)
        surprise = np.sqrt(np.mean(np.square(self._residuals))) if self._residuals else 1.0
        return float(of_fit * max(1.0, surprise))

    def fitted_points(self) -> list[Point]:
        """The rest of the grid, as the measurements so far tell it."""
        return self._fitted.points(self._unmeasured())

    def slowdown(self, run: Run, measured_percent: float, served_percent: float) -> float:
        """How many times as long a run takes on `served_percent` of the SMs as on `measured_percent`."""
        on = [(measured_percent, run[1]), (served_percent, run[1])]
        measured_ms, served_ms = self._fitted.latency_ms(Runs.of(on))
        return float(served_ms / measured_ms)

    def _latency_ms(self, run: Run) -> float:
        return float(self._fitted.latency_ms(Runs.of([run]))[0])

    def _unmeasured(self) -> list[Run]:
        measured = {(point.gpu_percent, point.batch) for point in self.points}
        return [run for run in self._runs() if run not in measured]

    def _runs(self) -> list[Run]:
        """The grid, without what takes too long."""
        latencies_ms = self._fitted.latency_ms(Runs.of(self._grid))
        return [
            run
            for run, latency_ms in zip(self._grid, latencies_ms, strict=True)
            if latency_ms <= self._longest_ms or run[1] <= _LARGEST_NEEDED_BATCH
        ]


def _residual(fitted: FittedSurface, point: Point) -> float:
    """ln(measured / fitted), in the standard deviations that are expected of it, noise included."""
    run = Runs.of([(point.gpu_percent, point.batch)])
    expected = hypot(float(fitted.relative_error(run)[0]), fitted.prior.noise)
    return log(point.latency_ms / float(fitted.latency_ms(run)[0])) / expected


def _information(fitted: FittedSurface, candidates: Runs, grid: Runs) -> Floats:
    """What measuring each candidate is expected to tell about the grid's runs, in nats, summed over them."""
    noise = fitted.prior.noise**2
    shared = fitted.covariance(candidates, grid)
    of_measurement = fitted.relative_error(candidates) ** 2 + noise
    before = fitted.relative_error(grid) ** 2 + noise
    after = before - shared**2 / of_measurement[:, None]
    information: Floats = 0.5 * np.log(before / after).sum(axis=1)
    return information
