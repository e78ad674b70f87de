"""Lanes whose SMs no other model has."""

from collections.abc import Iterable
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from kneescale.core.planning.fluid import Workload
from kneescale.core.planning.lanes import carries
from kneescale.core.planning.reservations import reserved_lane, reserved_lanes
from kneescale.core.surfaces.catalog import catalog

PERCENTS = tuple(range(10, 101, 10))
SURFACES = {model.name: model.surface(PERCENTS, (1, 2, 4, 8)) for model in catalog()}

rates = st.floats(1, 200)
models = st.sampled_from(sorted(SURFACES))


def workload(name: str, rate_rps: float) -> Workload:
    surface = SURFACES[name]
    return Workload(name, rate_rps, 3 * surface.latency_ms(40, 8), {"": surface})


def on_one_gpu(lanes: Iterable[int]) -> bool:
    return sum(lanes) <= 100


@given(models, rates)
@settings(max_examples=40)
def test_the_lane_carries_the_rate_and_no_smaller_one_does(name: str, rate_rps: float) -> None:
    one = workload(name, rate_rps)
    lane = reserved_lane(one, "", PERCENTS)
    assert lane == 100 or carries([one], "", {name: (lane,)})
    assert not any(carries([one], "", {name: (less,)}) for less in PERCENTS if less < lane)


@given(models, rates, st.floats(0.01, 1))
@example("densenet201", 30, 1 / 3)
def test_a_smaller_rate_needs_no_larger_lane(name: str, rate_rps: float, part: float) -> None:
    whole, less = (reserved_lane(workload(name, rate), "", PERCENTS) for rate in (rate_rps, part * rate_rps))
    assert less <= whole


@given(st.lists(models, min_size=1, max_size=4, unique=True), rates)
@settings(max_examples=25)
def test_where_not_all_rates_fit_all_get_lanes_for_the_same_part_of_them(
    names: list[str], rate_rps: float
) -> None:
    workloads = [workload(name, rate_rps) for name in names]
    lanes = reserved_lanes(workloads, "", PERCENTS, on_one_gpu)
    whole = {each.name: reserved_lane(each, "", PERCENTS) for each in workloads}
    if on_one_gpu(whole.values()):
        assert lanes == whole
        return
    least = [reserved_lane(replace(each, rate_rps=1e-3), "", PERCENTS) for each in workloads]
    assert on_one_gpu(lanes.values()) or not on_one_gpu(least)
    assert all(lanes[name] <= whole[name] for name in names)
