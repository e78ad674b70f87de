import pytest

from kneescale.core.surfaces.catalog import lookup
from kneescale.core.surfaces.knee import find_efficacy_knee, find_knee
from kneescale.core.surfaces.parametric import Parameters
from kneescale.core.surfaces.surface import LatencySurface, Point
from tests.core.sample_surfaces import LANES


def test_a_host_floor_makes_a_knee() -> None:
    surface = Parameters(host_ms=10, serial_ms=0, fixed_work=400, work=0).surface(LANES, [1])
    assert find_knee(surface) == 40


def test_latency_in_proportion_to_the_sms_has_no_knee() -> None:
    surface = Parameters(host_ms=0, serial_ms=0, fixed_work=0, work=100).surface(LANES, [1, 8])
    assert find_knee(surface) is None


@pytest.mark.parametrize("work", range(100, 400, 7))
@pytest.mark.parametrize("digits", [3, 15])
def test_rounding_makes_no_knee(work: int, digits: int) -> None:
    points = [Point(percent, 1, round(work / percent, digits)) for percent in LANES]
    assert find_knee(LatencySurface.from_points(points)) is None


def test_what_was_not_measured_makes_no_knee() -> None:
    falling = [Point(percent, 1, 1000 / percent) for percent in range(10, 51, 10)]
    assert find_knee(LatencySurface.from_points(falling)) is None
    levelled = [Point(percent, 1, max(1000 / percent, 30)) for percent in range(10, 61, 10)]
    assert find_knee(LatencySurface.from_points(levelled)) == 40


def test_one_lane_has_no_knee() -> None:
    assert find_knee(LatencySurface.from_points([Point(100, 1, 5.0)])) is None


def test_a_larger_batch_has_a_later_knee() -> None:
    surface = lookup("resnet50", "V100-SXM2-16GB").surface(LANES, [1, 8])
    small, large = find_knee(surface, batch=1), find_knee(surface)
    assert small == 10
    assert large == 40


@pytest.mark.parametrize(("percents", "knee"), [((25, 50, 75, 100), 50), ((20, 40, 60, 80, 100), 40)])
def test_a_coarse_grid_is_enough(percents: tuple[int, ...], knee: int) -> None:
    surface = Parameters(host_ms=10, serial_ms=0, fixed_work=400, work=0).surface(percents, [1])
    assert find_knee(surface) == knee


def test_one_outlier_is_no_step() -> None:
    noisy = [Point(percent, 1, 24.0 if percent == 90 else 20 + percent % 20 / 20) for percent in LANES]
    assert find_knee(LatencySurface.from_points(noisy)) == 10


def test_a_real_step_is_not_smoothed_away() -> None:
    two_hosts = [Point(percent, 1, 20.0 if percent >= 80 else 30.0) for percent in LANES]
    assert find_knee(LatencySurface.from_points(two_hosts)) == 80


def test_a_host_floor_is_the_best_place_by_efficacy() -> None:
    surface = Parameters(host_ms=10, serial_ms=0, fixed_work=400, work=0).surface(LANES, [1])
    assert find_efficacy_knee(surface) == 40


def test_where_more_gpu_pays_to_the_end_there_is_no_best_place() -> None:
    surface = Parameters(host_ms=0, serial_ms=0, fixed_work=0, work=100).surface(LANES, [1, 8])
    assert find_efficacy_knee(surface) is None
