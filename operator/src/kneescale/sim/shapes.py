"""Rates that change over a run: their shapes, and requests that come at such a rate."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kneescale.core.units import NS_PER_S
from kneescale.sim.arrivals import Times, poisson

#: The day's course is drawn with so many corners.
_HOURS = 24


@dataclass(frozen=True, slots=True)
class Shape:
    """How a rate goes: (part of the run, part of the peak rate) of each corner, straight lines between.

    Two corners at the same time are a step.
    """

    corners: tuple[tuple[float, float], ...]

    def at(self, parts: NDArray[np.float64]) -> NDArray[np.float64]:
        """The part of the peak at those parts of the run; at a step what comes after it."""
        times, heights = zip(*self.corners, strict=True)
        factors: NDArray[np.float64] = np.interp(parts, times, heights)
        return factors

    def surges(self) -> list[float]:
        """The parts of the run at which the rate jumps up."""
        return [
            at
            for (before, low), (at, high) in zip(self.corners, self.corners[1:], strict=False)
            if at == before and high > low
        ]


def sampled(shape: Shape, peak_rps: float, duration_s: float, rng: np.random.Generator) -> Times:
    """A Poisson process of that rate.

    By thinning (Lewis and Shedler, "Simulation of nonhomogeneous Poisson processes by thinning", 1979).
    """
    times = poisson(peak_rps, duration_s, rng)
    kept = rng.random(len(times)) < shape.at(times / (duration_s * NS_PER_S))
    return times[kept]


def _day() -> Shape:
    """One day from midnight on: a raised cosine, with a fifth of the noon's rate at night."""
    parts = np.arange(_HOURS + 1) / _HOURS
    heights = 0.6 - 0.4 * np.cos(2 * np.pi * parts)
    return Shape(tuple(zip(parts.tolist(), heights.tolist(), strict=True)))


#: By the name that a scenario calls them.
SHAPES: Mapping[str, Shape] = {
    "step": Shape(((0, 0.25), (1 / 3, 0.25), (1 / 3, 1), (2 / 3, 1), (2 / 3, 0.25), (1, 0.25))),
    "ramp": Shape(((0, 0.25), (1 / 6, 0.25), (1 / 2, 1), (2 / 3, 1), (1, 0.25))),
    "daily": _day(),
    "spike": Shape(((0, 0.25), (1 / 2, 0.25), (1 / 2, 1), (11 / 20, 1), (11 / 20, 0.25), (1, 0.25))),
}
