"""When requests arrive: integer nanoseconds, in order."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kneescale.core.units import NS_PER_S

Times = NDArray[np.int64]

#: Our choice of a bursty client: a fifth of the time at three times the calm rate.
PEAK_FACTOR = 3.0
BURST_S = 0.5
CALM_S = 2.0


class Requests:
    """All requests of a run, or of a part of it; `by_model` are the times of each model's."""

    def __init__(self, by_model: Sequence[Times]) -> None:
        self.by_model = tuple(by_model)

    @cached_property
    def times_by_model(self) -> Sequence[list[int]]:
        """The same in Python's numbers."""
        return [times.tolist() for times in self.by_model]

    @cached_property
    def in_order(self) -> tuple[list[int], list[int]]:
        """The times of all of them, and the number of each one's model."""
        times = np.concatenate(self.by_model)
        models = np.repeat(np.arange(len(self.by_model)), [*map(len, self.by_model)])
        order = np.argsort(times, kind="stable")
        return times[order].tolist(), models[order].tolist()


def uniform(rate_rps: float, duration_s: float, rng: np.random.Generator) -> Times:
    """Evenly spaced, from a random phase."""
    periods = np.arange(int(rate_rps * duration_s) + 1, dtype=np.float64)
    return _until(duration_s, (rng.random() + periods) / rate_rps)


def poisson(rate_rps: float, duration_s: float, rng: np.random.Generator) -> Times:
    """A Poisson process."""
    return _until(duration_s, np.sort(rng.uniform(0, duration_s, rng.poisson(rate_rps * duration_s))))


def bursty(rate_rps: float, duration_s: float, rng: np.random.Generator) -> Times:
    """A Markov-modulated Poisson process of two states, of mean rate `rate_rps`.

    In a burst requests come PEAK_FACTOR times as fast as in the calm; a burst lasts BURST_S in the mean, the
    calm between two CALM_S.
    """
    calm_rps = rate_rps * (BURST_S + CALM_S) / (PEAK_FACTOR * BURST_S + CALM_S)
    times: list[NDArray[np.float64]] = []
    start_s, in_burst = 0.0, bool(rng.random() < BURST_S / (BURST_S + CALM_S))
    while start_s < duration_s:
        length_s = rng.exponential(BURST_S if in_burst else CALM_S)
        mean = calm_rps * (PEAK_FACTOR if in_burst else 1.0) * length_s
        times.append(start_s + np.sort(rng.uniform(0, length_s, rng.poisson(mean))))
        start_s, in_burst = start_s + length_s, not in_burst
    return _until(duration_s, np.concatenate(times))


def _until(duration_s: float, times_s: NDArray[np.float64]) -> Times:
    return (times_s[times_s < duration_s] * NS_PER_S).astype(np.int64)
