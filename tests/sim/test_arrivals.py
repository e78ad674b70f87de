from collections.abc import Callable

import numpy as np
import pytest

from kneescale.core.units import NS_PER_MS, NS_PER_S
from kneescale.sim.arrivals import Times, bursty, poisson, uniform

Pattern = Callable[[float, float, np.random.Generator], Times]
PATTERNS: list[Pattern] = [uniform, poisson, bursty]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_arrivals_come_in_order_at_the_rate_that_was_asked_for(pattern: Pattern) -> None:
    times = pattern(200.0, 500.0, np.random.default_rng(1))
    assert times.dtype == np.int64
    assert np.all(np.diff(times) >= 0)
    assert times[0] >= 0
    assert times[-1] < 500 * NS_PER_S
    assert len(times) == pytest.approx(200 * 500, rel=0.05)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_same_randomness_gives_the_same_arrivals(pattern: Pattern) -> None:
    first, second = (pattern(50.0, 10.0, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, second)


def test_uniform_arrivals_are_evenly_spaced() -> None:
    gaps = np.diff(uniform(250.0, 4.0, np.random.default_rng(1)))
    assert np.all(abs(gaps - 4 * NS_PER_MS) <= 1)


def test_poisson_counts_vary_as_much_as_their_mean_and_bursts_more() -> None:
    def dispersion(pattern: Pattern) -> float:
        times = pattern(100.0, 400.0, np.random.default_rng(1))
        counts = np.bincount(times // NS_PER_S, minlength=400)[:400]
        return float(counts.var() / counts.mean())

    assert dispersion(poisson) == pytest.approx(1, abs=0.25)
    assert dispersion(bursty) > 5
