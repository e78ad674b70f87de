"""Drift: how long batches take, beside what their latency surface says.

A surface is measured once; clocks, drivers, heat and neighbours change later. So each batch's time is
compared with its prediction, by *region*: a GPU%, and the batches of about one size. Where they part for
good, the surface is corrected by the median of measured over predicted.
"""

from dataclasses import dataclass
from math import exp, log
from typing import Final

from kneescale.core.surfaces.surface import LatencySurface, Point

#: The median is found by steps up or down, of this part at first and ever smaller to the other (stochastic
#: approximation; Robbins and Monro, 1951): one run that took for ever counts no more than one a little late.
FIRST_STEP: Final = 0.1
LAST_STEP: Final = 0.005

#: So many runs are evidence; with fewer, a region is as the whole surface.
LEAST_RUNS: Final = 20

#: What is measured is believed within these bounds. A batch of which some requests were given up is over
#: early, and says nothing of the GPU.
LEAST_RATIO: Final = 0.5
MOST_RATIO: Final = 4.0

#: A correction is made where it changes a latency by this part, beside what the median may be off by (so many
#: of its steps), and not before so many runs are over since the last: all costs of runs are worked out anew
#: for it (1 ms of a core with 4 lanes and batches of up to 16).
WORTH_CORRECTING: Final = 0.1
UNSURE_STEPS: Final = 2
RUNS_BETWEEN_CORRECTIONS: Final = 50

#: GPU%, and the batch rounded up to a power of two, as its exponent.
_Region = tuple[int, int]


@dataclass(slots=True)
class _Median:
    """The running median of a ratio, as its logarithm."""

    log_ratio: float = 0.0
    runs: int = 0

    @property
    def step(self) -> float:
        """How far the next run moves it."""
        return max(LAST_STEP, 1 / (1 / FIRST_STEP + self.runs))

    def observe(self, log_ratio: float) -> None:
        moved = self.log_ratio + (self.step if log_ratio > self.log_ratio else -self.step)
        self.runs += 1
        self.log_ratio = min(log(MOST_RATIO), max(log(LEAST_RATIO), moved))


class Drift:
    """Measured over predicted batch times of one partition on one surface."""

    def __init__(self) -> None:
        self._whole = _Median()
        self._regions: dict[_Region, _Median] = {}
        #: What the last correction was made with.
        self._applied: dict[_Region, float] = {}
        self._applied_to_rest = 0.0
        self._runs_since = 0

    def observe(self, gpu_percent: int, batch: int, predicted_ns: int, took_ns: int) -> bool:
        """Learn from a run; whether the surface is to be corrected anew. Both times are above 0."""
        log_ratio = log(took_ns / predicted_ns)
        region = _region(gpu_percent, batch)
        self._whole.observe(log_ratio)
        if region not in self._regions:
            self._regions[region] = _Median(self._whole.log_ratio)
        median = self._regions[region]
        median.observe(log_ratio)
        self._runs_since += 1
        if self._runs_since < RUNS_BETWEEN_CORRECTIONS:
            return False
        moved = self._log_ratio(region) - self._applied.get(region, self._applied_to_rest)
        return abs(moved) > log(1 + WORTH_CORRECTING) + UNSURE_STEPS * median.step

    @property
    def ratio(self) -> float | None:
        """Measured over predicted over all regions; None while there is too little evidence."""
        return exp(self._whole.log_ratio) if self._whole.runs >= LEAST_RUNS else None

    def corrected(self, surface: LatencySurface) -> LatencySurface:
        """The surface as the runs so far say that it is."""
        self._runs_since = 0
        self._applied = {region: self._log_ratio(region) for region in self._regions}
        self._applied_to_rest = self._log_ratio_of_rest()
        if not any(self._applied.values()) and not self._applied_to_rest:
            return surface
        return LatencySurface.from_points(
            Point(
                point.gpu_percent,
                point.batch,
                point.latency_ms * exp(self._log_ratio(_region(point.gpu_percent, point.batch))),
            )
            for point in surface.points
        )

    def _log_ratio(self, region: _Region) -> float:
        median = self._regions.get(region)
        return median.log_ratio if median and median.runs >= LEAST_RUNS else self._log_ratio_of_rest()

    def _log_ratio_of_rest(self) -> float:
        return self._whole.log_ratio if self._whole.runs >= LEAST_RUNS else 0.0


def _region(gpu_percent: int, batch: int) -> _Region:
    return gpu_percent, (batch - 1).bit_length()
