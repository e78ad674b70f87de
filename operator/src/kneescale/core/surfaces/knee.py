"""The knee: the GPU% past which more GPU hardly makes a batch faster."""

import numpy as np
from scipy.optimize import isotonic_regression

from kneescale.core.surfaces.surface import LatencySurface, Point

#: A step of this many GPU% that saves less than this share of the latency is past the knee. D-STACK
#: (arXiv 2304.13541) finds the knee with the latency's first derivative; the two numbers are ours. With them
#: a latency in proportion to 1/p, of which every SM has its use, has no knee.
KNEE_STEP_PERCENT = 10
KNEE_SAVING = 0.10
#: Such a latency saves just that from 90 to 100 GPU%: rounding, to whole microseconds too, must not decide.
_ROUNDING = 0.001


def efficacy(gpu_percent: int, batch: int, latency_ms: float) -> float:
    """Throughput per latency per GPU%: b / (f^2 * p), D-STACK's objective (arXiv 2304.13541)."""
    return batch / (latency_ms**2 * gpu_percent)


def find_knee(surface: LatencySurface, batch: int | None = None) -> int | None:
    """The smallest of the surface's GPU%s past which no step of 10 GPU% saves 10 % of the latency.

    For batches of `batch` items, by default the largest measured. None where the latency falls to the end of
    what was measured, or no step of 10 GPU% is within that.
    """
    batch = batch or surface.batches[-1]
    curve = _least_squares_curve(surface, batch)
    knee = None
    for percent in reversed(surface.gpu_percents):
        further = percent + KNEE_STEP_PERCENT
        if further > surface.gpu_percents[-1]:
            continue
        here, there = curve.latency_ms(percent, batch), curve.latency_ms(further, batch)
        if here - there >= (KNEE_SAVING - _ROUNDING) * here:
            break
        knee = percent
    return knee


def find_efficacy_knee(surface: LatencySurface) -> int | None:
    """The surface's GPU% of the highest efficacy, b / (f^2 * p) (D-STACK, arXiv 2304.13541).

    For batches of the largest size measured. None where that is the largest GPU%: more still pays, as far as
    was measured.
    """
    batch = surface.batches[-1]
    curve = _least_squares_curve(surface, batch)
    best = max(
        surface.gpu_percents,
        key=lambda percent: efficacy(percent, batch, curve.latency_ms(percent, batch)),
    )
    return None if best == surface.gpu_percents[-1] else best


def _least_squares_curve(surface: LatencySurface, batch: int) -> LatencySurface:
    """One batch's latency over GPU%, never rising, as near to its points as can be.

    The surface itself resolves noise upwards, and so makes a step down behind every outlier: a false knee.
    """
    measured = {point.gpu_percent: point.latency_ms for point in surface.points if point.batch == batch}
    latencies_ms = [
        measured.get(percent) or surface.latency_ms(percent, batch) for percent in surface.gpu_percents
    ]
    falling = np.exp(isotonic_regression(np.log(latencies_ms), increasing=False).x)
    return LatencySurface.from_points(
        Point(percent, batch, float(latency_ms))
        for percent, latency_ms in zip(surface.gpu_percents, falling, strict=True)
    )
