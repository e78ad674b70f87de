from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.errors import InvalidInputError
from kneescale.core.surfaces.catalog import BATCHES, GPU_PERCENTS
from kneescale.core.surfaces.latency_model import Runs
from kneescale.core.surfaces.parametric import Parameters
from kneescale.core.surfaces.surface import Point
from kneescale.core.surfaces.surface_fit import fit_surface

GRID = tuple(product(GPU_PERCENTS, BATCHES))
#: Two GPU%s for each batch.
EIGHT = ((10, 1), (50, 1), (10, 2), (70, 2), (10, 4), (40, 4), (10, 8), (100, 8))

some_points = st.dictionaries(st.sampled_from(GRID), st.floats(0.1, 1e3), max_size=12).map(
    lambda by_run: [Point(*run, latency_ms) for run, latency_ms in by_run.items()]
)


def points_of(figures: Parameters, runs: tuple[tuple[int, int], ...] = EIGHT) -> list[Point]:
    return [Point(*run, figures.latency_ms(*run)) for run in runs]


@pytest.mark.parametrize(
    "figures",
    [
        pytest.param(Parameters(20, 0.5, 50, 60), id="bound by host and GPU in turn"),
        pytest.param(Parameters(60, 0.2, 20, 10), id="bound by the host"),
        pytest.param(Parameters(0.05, 2, 100, 900), id="bound by the GPU"),
    ],
)
def test_eight_points_give_the_rest_of_a_surface(figures: Parameters) -> None:
    fitted = fit_surface(points_of(figures)).latency_ms(Runs.of(GRID))
    errors = np.abs(fitted / [figures.latency_ms(*run) for run in GRID] - 1)
    assert np.median(errors) < 0.04
    assert np.quantile(errors, 0.9) < 0.12


def test_the_parameters_are_those_of_the_surface() -> None:
    parameters = fit_surface(points_of(Parameters(20, 0.5, 50, 60), GRID)).parameters
    assert parameters.host_ms == pytest.approx(20, rel=0.1)
    assert parameters.work == pytest.approx(60, rel=0.2)


def test_what_is_not_measured_is_less_sure_and_far_from_it_the_least() -> None:
    near, between, beyond = fit_surface(points_of(Parameters(20, 0.5, 50, 60))).relative_error(
        Runs.of([(10, 4), (20, 4), (5, 64)])
    )
    assert near < between < beyond


def test_without_a_point_it_is_the_population_and_hardly_sure() -> None:
    fitted = fit_surface([])
    slow, fast = fitted.latency_ms(Runs.of([(5, 8), (100, 1)]))
    assert 1 < fast < slow < 1000
    assert fitted.relative_error(Runs.of([(50, 4)]))[0] > 0.5


def test_a_run_given_twice_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="GPU% 50 with batch 1 is given twice"):
        fit_surface([Point(50, 1, 1.0), Point(50, 1, 2.0)])


def test_points_are_given_where_they_are_asked_for() -> None:
    fitted = fit_surface(points_of(Parameters(20, 0.5, 50, 60)))
    near, beyond = fitted.points([(20, 4), (20, 16)])
    assert (near.gpu_percent, near.batch, beyond.batch) == (20, 4, 16)
    assert near.latency_ms == pytest.approx(fitted.latency_ms(Runs.of([(20, 4)]))[0])
    assert near.latency_ms < beyond.latency_ms


@given(some_points)
def test_any_points_make_a_surface(points: list[Point]) -> None:
    fitted, runs = fit_surface(points), Runs.of(GRID)
    assert np.all(np.isfinite(fitted.latency_ms(runs)) & (fitted.latency_ms(runs) > 0))
    assert np.all(np.isfinite(fitted.relative_error(runs)))
