import pytest

from kneescale.core.errors import InvalidInputError
from kneescale.core.surfaces.surface import LatencySurface, Point, doubling_batches


def test_measured_points_are_met_exactly() -> None:
    surface = LatencySurface.from_points([Point(50, 1, 4.0), Point(100, 1, 3.0), Point(50, 8, 20.0)])
    assert surface.latency_ms(50, 1) == 4.0
    assert surface.latency_ms(100, 1) == 3.0
    assert surface.latency_ms(50, 8) == 20.0
    assert (surface.gpu_percents, surface.batches) == ((50, 100), (1, 8))


def test_between_gpu_percents_work_divided_over_sms_is_met_exactly() -> None:
    surface = LatencySurface.from_points(Point(percent, 1, 2 + 300 / percent) for percent in (10, 100))
    assert surface.latency_ms(30, 1) == pytest.approx(2 + 300 / 30)


def test_between_batches_is_linear() -> None:
    surface = LatencySurface.from_points([Point(100, 2, 4.0), Point(100, 6, 8.0)])
    assert surface.latency_ms(100, 3) == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("gpu_percent", "batch", "expected_ms"),
    [
        pytest.param(10, 4, 32.0, id="below the smallest GPU% in proportion to 1/p"),
        pytest.param(100, 4, 6.0, id="above the largest GPU% no better"),
        pytest.param(80, 1, 6.0, id="below the smallest batch no better"),
        pytest.param(80, 16, 24.0, id="above the largest batch in proportion"),
    ],
)
def test_beyond_the_points(gpu_percent: int, batch: int, expected_ms: float) -> None:
    surface = LatencySurface.from_points([Point(40, 4, 8.0), Point(80, 4, 6.0)])
    assert surface.latency_ms(gpu_percent, batch) == pytest.approx(expected_ms)


def test_noise_is_resolved_upwards() -> None:
    surface = LatencySurface.from_points([Point(50, 1, 4.0), Point(100, 1, 5.0), Point(50, 2, 3.0)])
    assert surface.latency_ms(50, 1) == 5.0
    assert surface.latency_ms(50, 2) == 5.0


def test_a_hole_is_filled_along_its_batch() -> None:
    surface = LatencySurface.from_points([Point(50, 1, 4.0), Point(100, 1, 3.0), Point(100, 2, 5.0)])
    assert surface.latency_ms(50, 2) == pytest.approx(10.0)


def test_a_guess_for_a_hole_overrides_no_measurement() -> None:
    surface = LatencySurface.from_points([Point(100, 1, 20.0), Point(20, 8, 30.0), Point(100, 8, 22.0)])
    assert surface.latency_ms(20, 8) == 30.0
    assert surface.latency_ms(20, 1) == 30.0


def test_a_restricted_surface_has_every_lane_and_doubling_batch() -> None:
    surface = LatencySurface.from_points([Point(50, 1, 4.0), Point(100, 8, 20.0)]).restricted_to(
        (100, 20), 12
    )
    assert surface.gpu_percents == (20, 100)
    assert surface.batches == (1, 2, 4, 8, 12)
    assert len(surface.points) == 10


@pytest.mark.parametrize(
    ("max_batch", "batches"), [(1, (1,)), (2, (1, 2)), (8, (1, 2, 4, 8)), (12, (1, 2, 4, 8, 12))]
)
def test_doubling_batches(max_batch: int, batches: tuple[int, ...]) -> None:
    assert doubling_batches(max_batch) == batches


@pytest.mark.parametrize(
    ("gpu_percent", "batch", "latency_ms", "message"),
    [
        (0, 1, 1.0, "GPU% must be 1 to 100, not 0"),
        (101, 1, 1.0, "GPU% must be 1 to 100, not 101"),
        (50, 0, 1.0, "batch must be at least 1, not 0"),
        (50, 1, 0.0, "latency must be above 0 ms, not 0.0"),
        (50, 1, float("nan"), "latency must be above 0 ms, not nan"),
    ],
)
def test_wrong_points_are_refused(gpu_percent: int, batch: int, latency_ms: float, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Point(gpu_percent, batch, latency_ms)


def test_a_surface_needs_points_each_given_once() -> None:
    with pytest.raises(InvalidInputError, match="at least one point"):
        LatencySurface.from_points([])
    with pytest.raises(InvalidInputError, match="GPU% 50 with batch 1 is given twice"):
        LatencySurface.from_points([Point(50, 1, 1.0), Point(50, 1, 2.0)])


@pytest.mark.parametrize(
    ("gpu_percent", "batch", "low_ms", "high_ms", "is_extrapolated"),
    [
        pytest.param(40, 4, 8.0, 8.0, False, id="measured"),
        pytest.param(60, 4, 6.0, 8.0, False, id="between the points at most as far as they are apart"),
        pytest.param(20, 4, 8.0, 16.0, True, id="less GPU at worst in proportion"),
        pytest.param(100, 4, 4.8, 6.0, True, id="more GPU at best in proportion"),
        pytest.param(40, 8, 8.0, 16.0, True, id="more items at worst in proportion"),
        pytest.param(40, 1, 2.0, 8.0, True, id="fewer items at best in proportion"),
    ],
)
def test_an_estimate_says_what_the_points_leave_possible(
    gpu_percent: int, batch: int, low_ms: float, high_ms: float, is_extrapolated: bool
) -> None:
    surface = LatencySurface.from_points([Point(40, 4, 8.0), Point(80, 4, 6.0)])
    estimate = surface.estimate(gpu_percent, batch)
    assert (estimate.low_ms, estimate.high_ms) == pytest.approx((low_ms, high_ms))
    assert estimate.is_extrapolated is is_extrapolated


def test_points_that_contradict_each_other_are_an_error() -> None:
    surface = LatencySurface.from_points([Point(50, 1, 4.0), Point(100, 1, 5.0)])
    estimate = surface.estimate(50, 1)
    assert (estimate.latency_ms, estimate.low_ms, estimate.high_ms) == (5.0, 4.0, 5.0)


def test_beside_others_only_what_runs_on_a_part_of_the_gpu_takes_longer() -> None:
    """Whether or not the whole GPU, where nothing is beside it, was measured."""
    of_part = LatencySurface.from_points([Point(25, 1, 8.0), Point(50, 1, 6.0), Point(50, 4, 20.0)])
    beside = of_part.beside_others(1.5)
    assert [beside.latency_ms(*run) for run in ((25, 1), (50, 1), (50, 4))] == [12, 9, 30]
    assert [beside.latency_ms(100, batch) for batch in (1, 4)] == [6, 20]
    of_all = LatencySurface.from_points([*of_part.points, Point(100, 1, 5.0)])
    assert [of_all.beside_others(1.5).latency_ms(100, batch) for batch in (1, 4)] == [5, 20]
    assert of_part.beside_others(1) is of_part
