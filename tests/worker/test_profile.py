import json
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.surfaces.surface import Point, doubling_batches
from kneescale_worker.profile import Profile, lanes_to_measure


def test_lanes_get_sparser_towards_the_whole_gpu() -> None:
    assert lanes_to_measure(range(10, 101, 10)) == [10, 20, 30, 40, 50, 60, 80, 100]
    assert lanes_to_measure([100]) == [100]
    assert lanes_to_measure([50, 100]) == [50, 100]


@given(st.sets(st.integers(1, 100), min_size=1))
def test_the_smallest_and_the_largest_lane_are_always_measured(lanes: set[int]) -> None:
    measured = lanes_to_measure(sorted(lanes))
    assert set(measured) <= lanes
    assert (measured[0], measured[-1]) == (min(lanes), max(lanes))


def test_the_largest_profile_fits_a_termination_message() -> None:
    # 4096 bytes, by the kubelet; no batch is to take more than 2 s.
    grid = product(lanes_to_measure(range(1, 101)), doubling_batches(128))
    points = [Point(lane, batch, 2000.0) for lane, batch in grid]
    profile = Profile(points[:10], points[10:], expected_error=0.081, prediction_error=0.144)
    message = profile.message()
    assert len(json.dumps(message, separators=(",", ":"))) <= 4096
    assert message["points"][0] == (1, 1, 2_000_000)
    assert (message["expectedErrorPercent"], message["predictionErrorPercent"]) == (9, 14)


def test_a_profile_that_was_measured_whole_is_just_its_points() -> None:
    whole = Profile([Point(100, 1, 4.0)], [], expected_error=0.3, prediction_error=None)
    assert whole.message() == {"points": [(100, 1, 4000)]}
