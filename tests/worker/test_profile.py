from hypothesis import given
from hypothesis import strategies as st

from kneescale_worker.profile import lanes_to_measure


def test_lanes_get_sparser_towards_the_whole_gpu() -> None:
    assert lanes_to_measure(range(10, 101, 10)) == [10, 20, 30, 40, 50, 60, 80, 100]
    assert lanes_to_measure([100]) == [100]
    assert lanes_to_measure([50, 100]) == [50, 100]


@given(st.sets(st.integers(1, 100), min_size=1))
def test_the_smallest_and_the_largest_lane_are_always_measured(lanes: set[int]) -> None:
    measured = lanes_to_measure(sorted(lanes))
    assert set(measured) <= lanes
    assert (measured[0], measured[-1]) == (min(lanes), max(lanes))
    # Few enough that the result fits the 4096 bytes of a termination message.
    assert len(measured) <= 25
