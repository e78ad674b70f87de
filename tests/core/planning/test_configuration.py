import pytest

from kneescale.core.errors import InfeasibleError
from kneescale.core.planning.configuration import choose_configuration
from kneescale.core.surfaces.surface import LatencySurface, Point
from tests.core.sample_surfaces import LANES, small_surface


def test_efficacy_is_weighed_over_lanes_and_batches() -> None:
    surface = LatencySurface.from_points(
        [Point(50, 1, 4.0), Point(100, 1, 3.0), Point(50, 4, 10.0), Point(100, 4, 6.0)]
    )
    chosen = choose_configuration(surface, slo_ms=20, rate_rps=None, lanes=[50, 100], max_batch=1)
    assert (chosen.gpu_percent, chosen.batch, chosen.latency_ms) == (50, 1, 4.0)
    assert chosen.efficacy == pytest.approx(1 / (4.0**2 * 50))


def test_area_is_gpu_percent_times_time_at_the_rate() -> None:
    surface = LatencySurface.from_points([Point(40, 4, 20.0)])
    chosen = choose_configuration(surface, slo_ms=100, rate_rps=100, lanes=[40], max_batch=4, batch=4)
    assert chosen.area_permille == 200


def test_without_a_rate_a_batch_runs_once_per_slo() -> None:
    surface = LatencySurface.from_points([Point(40, 4, 20.0)])
    chosen = choose_configuration(surface, slo_ms=100, rate_rps=None, lanes=[40], max_batch=4, batch=4)
    assert chosen.area_permille == 80


def test_a_batch_that_gathers_too_slowly_is_not_chosen() -> None:
    fast = choose_configuration(small_surface(), slo_ms=50, rate_rps=10_000, lanes=LANES, max_batch=16)
    slow = choose_configuration(small_surface(), slo_ms=50, rate_rps=30, lanes=LANES, max_batch=16)
    assert fast.batch > 2
    assert slow.batch <= 2


def test_overrides_are_kept() -> None:
    chosen = choose_configuration(
        small_surface(), slo_ms=50, rate_rps=500, lanes=LANES, max_batch=16, gpu_percent=35, batch=3
    )
    assert (chosen.gpu_percent, chosen.batch) == (35, 3)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (None, "even batch 1 at 100 GPU% takes 80 ms; the SLO of 50 ms allows 25 ms a batch"),
        (2, "even batch 2 at 100 GPU% takes 160 ms; the SLO of 50 ms allows 25 ms a batch"),
    ],
)
def test_too_slow_is_said_in_numbers(batch: int | None, message: str) -> None:
    surface = LatencySurface.from_points([Point(50, 1, 90.0), Point(100, 1, 80.0)])
    with pytest.raises(InfeasibleError, match=message):
        choose_configuration(surface, slo_ms=50, rate_rps=None, lanes=[50, 100], max_batch=8, batch=batch)


def test_too_slow_names_the_whole_gpu_where_less_of_it_is_no_slower() -> None:
    surface = LatencySurface.from_points([Point(10, 1, 9.0), Point(100, 1, 9.0)])
    with pytest.raises(InfeasibleError, match="even batch 1 at 100 GPU% takes 9 ms"):
        choose_configuration(surface, slo_ms=5, rate_rps=None, lanes=[10, 100], max_batch=1)


def test_a_fixed_batch_that_gathers_too_slowly_is_said_in_numbers() -> None:
    surface = LatencySurface.from_points([Point(100, 2, 140.0)])
    message = "batch 2 at 100 GPU% takes 140 ms after 200 ms to gather it; the SLO is 300 ms: use a smaller"
    with pytest.raises(InfeasibleError, match=message):
        choose_configuration(surface, slo_ms=300, rate_rps=5, lanes=[100], max_batch=8, batch=2)
