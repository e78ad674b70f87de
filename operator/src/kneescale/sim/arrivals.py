"""When requests arrive: integer nanoseconds, in order, for one model."""

import numpy as np
from numpy.typing import NDArray

from kneescale.core.units import NS_PER_S

Times = NDArray[np.int64]


def uniform(rate_rps: float, duration_s: float, rng: np.random.Generator) -> Times:
    """Evenly spaced, from a random phase."""
    periods = np.arange(int(rate_rps * duration_s) + 1, dtype=np.float64)
    return _until(duration_s, (rng.random() + periods) / rate_rps)


def poisson(rate_rps: float, duration_s: float, rng: np.random.Generator) -> Times:
    """A Poisson process."""
    return _until(duration_s, np.sort(rng.uniform(0, duration_s, rng.poisson(rate_rps * duration_s))))


def bursty(
    rate_rps: float,
    duration_s: float,
    rng: np.random.Generator,
    *,
    peak_factor: float,
    burst_s: float,
    calm_s: float,
) -> Times:
    """A Markov-modulated Poisson process of two states, of mean rate `rate_rps`.

    Bursts of `peak_factor` times the calm rate last `burst_s` in the mean, the calm between them `calm_s`.
    """
    calm_rps = rate_rps * (burst_s + calm_s) / (peak_factor * burst_s + calm_s)
    times: list[NDArray[np.float64]] = []
    start_s, in_burst = 0.0, bool(rng.random() < burst_s / (burst_s + calm_s))
    while start_s < duration_s:
        length_s = rng.exponential(burst_s if in_burst else calm_s)
        mean = calm_rps * (peak_factor if in_burst else 1.0) * length_s
        times.append(start_s + np.sort(rng.uniform(0, length_s, rng.poisson(mean))))
        start_s, in_burst = start_s + length_s, not in_burst
    return _until(duration_s, np.concatenate(times))


def _until(duration_s: float, times_s: NDArray[np.float64]) -> Times:
    return (times_s[times_s < duration_s] * NS_PER_S).astype(np.int64)
