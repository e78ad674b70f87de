from itertools import product
from math import ceil

import numpy as np
import pytest

from kneescale.core.errors import InvalidInputError
from kneescale.core.surfaces.catalog import CatalogModel, catalog
from kneescale.core.surfaces.parametric import Parameters
from kneescale.core.surfaces.profiling_choice import MeasuringCost, Run, SequentialDesign
from kneescale.core.surfaces.surface import Point

GRID = tuple(product(range(10, 101, 10), (1, 2, 4, 8)))
COST = MeasuringCost(set_up_s=5, batches=100)
MODEL = Parameters(20, 0.5, 50, 60)
TOLERANCE = 0.08


class CoresInSteps:
    """Threads take whole items: eight cores take two rounds for nine of them."""

    @staticmethod
    def latency_ms(gpu_percent: int, batch: int) -> float:
        return 20.0 * ceil(batch / max(1, gpu_percent * 8 // 100))


def designed(
    count: int,
    model: Parameters | CatalogModel | CoresInSteps = MODEL,
    cost: MeasuringCost = COST,
    tolerance: float = 0.0,
    longest_ms: float = float("inf"),
) -> SequentialDesign:
    """A design after `count` measurements at most, or when it knows the grid to the tolerance."""
    design = SequentialDesign(GRID, cost, longest_ms=longest_ms)
    while len(design.points) < count and design.expected_error() > tolerance and (run := design.next_run()):
        design.add(Point(*run, model.latency_ms(*run)))
    return design


def runs_of(design: SequentialDesign) -> list[Run]:
    return [(point.gpu_percent, point.batch) for point in design.points]


def test_the_first_run_is_the_fastest() -> None:
    assert runs_of(designed(1)) == [(100, 1)]


def test_the_first_points_are_spread_over_the_grid() -> None:
    percents, batches = zip(*runs_of(designed(6)), strict=True)
    assert (min(percents) <= 20, max(percents) >= 80) == (True, True)
    assert {1, 8} <= set(batches)


def test_no_run_is_measured_twice_and_in_the_end_all_are() -> None:
    assert sorted(runs_of(designed(len(GRID) + 1))) == sorted(GRID)


def test_a_run_that_was_measured_is_refused_and_changes_nothing() -> None:
    design = designed(3)
    with pytest.raises(InvalidInputError, match="GPU% 100 with batch 1 is given twice"):
        design.add(design.points[0])
    assert len(design.points) == 3


def test_where_batches_cost_the_time_slow_runs_are_left_for_later() -> None:
    by_batches, by_set_ups = MeasuringCost(set_up_s=0, batches=100), MeasuringCost(set_up_s=100, batches=1)
    large = Parameters(5, 1, 100, 900)
    quick, careless = (designed(6, large, cost).points for cost in (by_batches, by_set_ups))
    assert sum(point.latency_ms for point in quick) < 0.9 * sum(point.latency_ms for point in careless)


def test_more_sureness_takes_more_points() -> None:
    counts = [len(designed(len(GRID), tolerance=tolerance).points) for tolerance in (0.15, 0.1, 0.06)]
    assert counts == sorted(set(counts))


def test_about_ten_points_of_a_gpu_tell_the_rest() -> None:
    models = catalog()[::4]
    designs = [designed(len(GRID), model, tolerance=TOLERANCE) for model in models]
    assert np.mean([len(design.points) for design in designs]) <= 11
    for model, design in zip(models, designs, strict=True):
        rest = design.fitted_points()
        assert len(rest) + len(design.points) == len(GRID)
        errors = [abs(p.latency_ms / model.latency_ms(p.gpu_percent, p.batch) - 1) for p in rest]
        assert np.quantile(errors, 0.9) <= 2 * TOLERANCE


def test_a_surface_that_is_not_a_gpus_is_measured_nearly_whole() -> None:
    assert len(designed(len(GRID), CoresInSteps(), tolerance=TOLERANCE).points) >= 0.9 * len(GRID)


def test_large_batches_that_take_too_long_are_left_out() -> None:
    slow = Parameters(5, 1, 100, 9000)
    design = designed(len(GRID) + 1, slow, longest_ms=2000)
    assert set(product(range(10, 101, 10), (1, 2))) <= set(runs_of(design))
    assert design.fitted_points() == []
    too_long = [run for run in GRID if run[1] > 2 and slow.latency_ms(*run) > 3000]
    assert not set(too_long) & set(runs_of(design))


def test_what_cannot_be_had_is_left_out_with_all_that_takes_as_long_and_fitted() -> None:
    design = designed(5)
    slow = max(GRID, key=lambda run: MODEL.latency_ms(*run))
    assert slow not in runs_of(design)
    middle = design.next_run()
    assert middle is not None
    design.leave_out(middle)
    limit_ms = MODEL.latency_ms(*middle)
    while run := design.next_run():
        assert MODEL.latency_ms(*run) < 1.3 * limit_ms
        design.add(Point(*run, MODEL.latency_ms(*run)))
    rest = {(point.gpu_percent, point.batch) for point in design.fitted_points()}
    assert {middle, slow} <= rest
    assert rest | set(runs_of(design)) == set(GRID)


def test_a_run_is_foretold_with_its_error() -> None:
    design = designed(8)
    run = design.next_run()
    assert run is not None
    latency_ms = MODEL.latency_ms(*run)
    assert latency_ms < design.foretold_ms(run) < 1.5 * latency_ms
