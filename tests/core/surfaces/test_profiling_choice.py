from itertools import product

import pytest

from kneescale.core.surfaces.parametric import Parameters
from kneescale.core.surfaces.profiling_choice import MeasuringCost, Run, is_done, next_point
from kneescale.core.surfaces.surface import Point

GRID = tuple(product(range(10, 101, 10), (1, 2, 4, 8)))
COST = MeasuringCost(set_up_s=5, batches=100)
MODEL = Parameters(20, 0.5, 50, 60)


def profile(count: int, cost: MeasuringCost = COST, model: Parameters = MODEL) -> list[Point]:
    points: list[Point] = []
    while len(points) < count and (run := next_point(points, GRID, cost)):
        points.append(Point(*run, model.latency_ms(*run)))
    return points


def runs_of(points: list[Point]) -> list[Run]:
    return [(point.gpu_percent, point.batch) for point in points]


def test_the_first_points_are_spread_over_the_grid() -> None:
    percents, batches = zip(*runs_of(profile(6)), strict=True)
    assert (min(percents) <= 20, max(percents) >= 80) == (True, True)
    assert {1, 8} <= set(batches)


def test_no_run_is_measured_twice_and_in_the_end_all_are() -> None:
    assert sorted(runs_of(profile(len(GRID) + 1))) == sorted(GRID)


def test_where_batches_cost_the_time_slow_runs_are_left_for_later() -> None:
    by_batches, by_set_ups = MeasuringCost(set_up_s=0, batches=100), MeasuringCost(set_up_s=100, batches=1)
    large = Parameters(5, 1, 100, 900)
    quick, careless = (profile(6, cost, large) for cost in (by_batches, by_set_ups))
    assert sum(point.latency_ms for point in quick) < 0.9 * sum(point.latency_ms for point in careless)


@pytest.mark.parametrize("tolerance", [0.15, 0.08])
def test_profiling_is_done_well_before_all_is_measured(tolerance: float) -> None:
    done = [is_done(profile(count), GRID, tolerance) for count in range(1, 20)]
    assert done[0] is False
    assert done[-1] is True
    assert done == sorted(done)


def test_more_sureness_takes_more_points() -> None:
    counts = [
        next(count for count in range(40) if is_done(profile(count), GRID, tolerance))
        for tolerance in (0.15, 0.1, 0.06)
    ]
    assert counts == sorted(set(counts))
