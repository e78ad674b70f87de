"""What a pool of lanes is worth to one model."""

from math import exp

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kneescale.core.planning.lane_queueing import Demand, ModelOnLanes
from kneescale.core.surfaces.surface import LatencySurface, Point


def test_a_wide_lane_is_worth_something_to_those_that_waited() -> None:
    """Batches of eight take 40 ms on either lane, but one item alone 5 on the wide one."""
    points = [Point(10, 1, 40), Point(10, 8, 40), Point(100, 1, 5), Point(100, 8, 40)]
    model = ModelOnLanes(Demand("a", 500, 60, LatencySurface.from_points(points)))
    narrow, mixed = model.cost((10, 10, 10), load=1), model.cost((10, 10, 100), load=1)
    assert 0 < mixed.shortfall < narrow.shortfall


def test_a_request_waits_for_three_quarters_of_the_time_in_which_its_batch_gathers() -> None:
    """Of 100 ms 90 are planned with, and 10 are the run: 80 are three quarters of 5.3 gaps of 20 ms."""
    points = [Point(100, 1, 10), Point(100, 8, 10)]
    model = ModelOnLanes(Demand("a", 50, 100, LatencySurface.from_points(points)))
    assert model.cost((100,), load=1).area_percent == pytest.approx(50 / 1000 * 100 * 10 / 6)


@given(st.floats(1, 1000), st.floats(0.1, 5))
def test_just_enough_throughput_leaves_one_in_two_hundred_waiting_for_too_long(
    rate_rps: float, load: float
) -> None:
    """P(wait > t) = exp(-2 (m/r - 1) m t), with four tenths of what the SLO leaves for the lane (M/D/1)."""
    surface = LatencySurface.from_points([Point(100, 1, 20)])
    model = ModelOnLanes(Demand("a", rate_rps, 100, surface))
    shortfall = model.cost((100,), load).shortfall
    assume(shortfall > 0)
    # One lane of 20 ms is free again after 20: four tenths of 100 - 20 - 20 are left to wait for it.
    rate, patience_ms = load * rate_rps / 1000, 24
    enough = 1 / 20 + shortfall * rate
    assert exp(-2 * (enough / rate - 1) * enough * patience_ms) == pytest.approx(0.005, rel=1e-2)


@given(st.floats(1, 100))
def test_the_cheapest_lane_serves_first_and_the_dearest_the_rest(rate_rps: float) -> None:
    """10 GPU% carry 50 items per second, of which four fifths are planned with; the rest is on 100 GPU%."""
    surface = LatencySurface.from_points([Point(10, 1, 20), Point(100, 1, 10)])
    model = ModelOnLanes(Demand("a", rate_rps, 100, surface))
    cheap = min(rate_rps, 40)
    area_percent = (cheap * 10 * 20 + (rate_rps - cheap) * 100 * 10) / 1000
    assert model.cost((10, 100), load=1).area_percent == pytest.approx(area_percent)


def test_a_pool_without_a_run_in_time_is_worth_nothing() -> None:
    surface = LatencySurface.from_points([Point(10, 1, 200), Point(100, 1, 10)])
    cost = ModelOnLanes(Demand("a", 10, 100, surface)).cost((10, 10), load=1)
    assert cost.shortfall == float("inf")
