"""Any measurements, however noisy and patchy, make a surface that a scheduler can rely on."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.dispatching.run_costs import PRICE_OF_TIME, Option, RunCosts
from kneescale.core.surfaces.surface import LatencySurface, Point

SLO_NS = 50_000_000
PERCENTS, BATCHES = range(1, 101, 9), range(1, 41, 3)

points = st.dictionaries(
    st.tuples(st.integers(1, 100), st.integers(1, 32)), st.floats(0.1, 1e4), min_size=1, max_size=25
)
surfaces = points.map(
    lambda by_run: LatencySurface.from_points(
        Point(percent, size, ms) for (percent, size), ms in by_run.items()
    )
)
#: Equal curves may differ in the last bits after they were interpolated.
SLACK = 1 + 1e-9


@given(surfaces)
def test_more_gpu_is_never_slower_and_more_items_never_faster(surface: LatencySurface) -> None:
    for batch in BATCHES:
        row = [surface.latency_ms(percent, batch) for percent in PERCENTS]
        assert all(less >= more / SLACK for less, more in pairwise(row))
    for percent in PERCENTS:
        column = [surface.latency_ms(percent, batch) for batch in BATCHES]
        assert all(fewer <= more * SLACK for fewer, more in pairwise(column))


@given(surfaces)
def test_no_measurement_is_undercut(surface: LatencySurface) -> None:
    for point in surface.points:
        assert surface.latency_ms(point.gpu_percent, point.batch) >= point.latency_ms / SLACK


@given(surfaces)
def test_a_measurement_that_no_other_contradicts_is_met(surface: LatencySurface) -> None:
    for point in surface.points:
        slowest_ms = max(
            other.latency_ms
            for other in surface.points
            if other.gpu_percent >= point.gpu_percent and other.batch <= point.batch
        )
        if slowest_ms == point.latency_ms:
            assert surface.latency_ms(point.gpu_percent, point.batch) == pytest.approx(slowest_ms)


@given(surfaces)
def test_less_gpu_never_costs_more_than_in_proportion_beyond_the_points(surface: LatencySurface) -> None:
    smallest = surface.gpu_percents[0]
    for percent in range(1, smallest):
        expected_ms = surface.latency_ms(smallest, 1) * smallest / percent
        assert abs(surface.latency_ms(percent, 1) - expected_ms) <= 1e-9 * expected_ms


@given(surfaces)
def test_a_grid_is_the_same_as_its_runs(surface: LatencySurface) -> None:
    runs = [[surface.latency_ms(percent, batch) for percent in PERCENTS] for batch in BATCHES]
    assert surface.latencies_ms(PERCENTS, BATCHES) == pytest.approx(np.array(runs))


@given(surfaces, st.integers(1, 100), st.integers(1, 40))
def test_an_estimate_holds_its_latency(surface: LatencySurface, percent: int, batch: int) -> None:
    estimate = surface.estimate(percent, batch)
    assert estimate.low_ms <= estimate.latency_ms == surface.latency_ms(percent, batch) <= estimate.high_ms


@given(surfaces, st.integers(1, 40), st.integers(0, 10**10), st.integers(1, 100))
def test_the_cheapest_run_is_the_cheapest(
    surface: LatencySurface, items: int, within_ns: int, free_percent: int
) -> None:
    lanes = range(5, 101, 5)
    costs = RunCosts(surface, lanes, SLO_NS)
    runs = [
        lane
        * costs.latency_ns(lane, batch)
        / batch
        * (1 + PRICE_OF_TIME * costs.latency_ns(lane, batch) / SLO_NS)
        for lane in lanes
        if lane <= free_percent
        for batch in range(1, min(items, costs.max_batch) + 1)
        if costs.latency_ns(lane, batch) <= within_ns
    ]
    options = costs.options[min(items, costs.max_batch)]
    in_order = [option for option in options if option.gpu_percent <= free_percent]
    option = next((option for option in in_order if option.latency_ns <= within_ns), None)
    assert (option is None) == (not runs)
    if option:
        assert option.latency_ns == costs.latency_ns(option.gpu_percent, option.batch) <= within_ns
        assert option.batch <= items
        assert option.price == min(runs)


@given(surfaces, st.integers(1, 12), st.booleans())
def test_only_runs_that_no_other_makes_useless_are_left(
    surface: LatencySurface, items: int, is_pool: bool
) -> None:
    lanes = (10, 40, 100)
    costs = RunCosts(surface, lanes, SLO_NS, is_pool=is_pool)
    items = min(items, costs.max_batch)

    def run(lane: int, batch: int) -> Option:
        latency_ns = costs.latency_ns(lane, batch)
        price = lane * latency_ns / batch * (1 + PRICE_OF_TIME * latency_ns / SLO_NS)
        return Option(price, lane, batch, latency_ns)

    def makes_useless(other: Option, run: Option) -> bool:
        is_of_use = other.gpu_percent == run.gpu_percent if is_pool else other.gpu_percent <= run.gpu_percent
        return is_of_use and other < run and other.latency_ns <= run.latency_ns

    runs = [run(lane, batch) for lane in lanes for batch in range(1, items + 1)]
    left = [run for run in runs if not any(makes_useless(other, run) for other in runs)]
    assert costs.options[items] == tuple(sorted(left))
