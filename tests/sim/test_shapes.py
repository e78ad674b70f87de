"""Rates that change: what they are when, and requests that come accordingly."""

import numpy as np
import pytest

from kneescale.core.units import NS_PER_S
from kneescale.sim.shapes import SHAPES, Shape, sampled

SEED = 7


def test_a_step_is_low_until_it_comes_and_a_surge_only_upwards() -> None:
    step = SHAPES["step"]
    assert step.at(np.array([0.0, 0.33, 0.34, 0.66, 0.67, 1.0])).tolist() == [0.25, 0.25, 1, 1, 0.25, 0.25]
    assert step.surges() == [pytest.approx(1 / 3)]


@pytest.mark.parametrize(("name", "surges"), [("ramp", 0), ("daily", 0), ("spike", 1)])
def test_only_what_jumps_is_a_surge(name: str, surges: int) -> None:
    assert len(SHAPES[name].surges()) == surges


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_reaches_its_peak_and_never_passes_it(name: str) -> None:
    heights = SHAPES[name].at(np.linspace(0, 1, 1000))
    assert heights.max() == pytest.approx(1, abs=0.01)
    assert heights.min() >= 0.2 - 1e-9


def test_requests_come_at_the_rate_of_the_shape() -> None:
    shape = Shape(((0, 0), (0.5, 1), (0.5, 0.25), (1, 0.25)))
    times = sampled(shape, 400, 100, np.random.default_rng(SEED))
    counts, _ = np.histogram(times / NS_PER_S, [0, 25, 50, 75, 100])
    assert counts == pytest.approx([2500, 7500, 2500, 2500], rel=0.06)
    assert (np.diff(times) >= 0).all()
