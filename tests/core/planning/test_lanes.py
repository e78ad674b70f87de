from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kneescale.core.errors import InfeasibleError
from kneescale.core.planning.fluid import GpuPool, Workload, fluid_bound
from kneescale.core.planning.lane_queueing import Pool
from kneescale.core.planning.lanes import (
    carried_load,
    carries,
    demands_in_proportion,
    paper_lanes,
    proposed_pools,
)
from kneescale.core.surfaces.surface import LatencySurface, Point
from tests.core.planning.catalog_workloads import PERCENTS, SURFACES, workload


def proposed(
    workloads: Sequence[Workload], lanes: int, kept: Mapping[str, Pool] = MappingProxyType({})
) -> list[dict[str, Pool]]:
    """By name."""
    demands = demands_in_proportion(workloads, "")
    return [
        {demand.name: pool for demand, pool in zip(demands, pools, strict=True)}
        for pools in proposed_pools(demands, lanes, kept)
    ]


def likeliest(workloads: Sequence[Workload], lanes: int) -> dict[str, Pool]:
    return proposed(workloads, lanes)[0]


names = st.lists(st.sampled_from(sorted(SURFACES)), min_size=1, max_size=4, unique=True)


@given(names, st.integers(1, 4), st.floats(5, 60), st.floats(1, 5))
@settings(max_examples=25)
@example(["vgg19"], 3, 20, 1.1)
def test_every_model_has_its_lanes_and_one_of_them_is_in_time(
    chosen: list[str], lanes: int, area_percent: float, slo_factor: float
) -> None:
    """With any SLO that the fastest run keeps, be it too near for planned runs, which leave a part of it."""
    workloads = [
        replace(workload(name, area_percent), limit_ms=slo_factor * SURFACES[name].latency_ms(100, 1))
        for name in chosen
    ]
    for pools in proposed(workloads, lanes):
        assert list(pools) == chosen
        for of_one in workloads:
            pool = pools[of_one.name]
            assert len(pool) == lanes
            assert set(pool) <= set(PERCENTS)
            assert SURFACES[of_one.name].latency_ms(max(pool), 1) <= of_one.limit_ms


def test_more_lanes_carry_more_of_the_bound() -> None:
    workloads = [workload(name, 100 / 3) for name in ("alexnet", "mobilenet_v2", "resnet50")]

    def load(lanes: int) -> float:
        pools = likeliest(workloads, lanes)
        laned = [
            Workload(one.name, one.rate_rps, one.limit_ms, one.surfaces, lanes=_counted(pools[one.name]))
            for one in workloads
        ]
        return fluid_bound(laned, [GpuPool("", 1)]).load

    one, three = load(1), load(3)
    assert one < three <= fluid_bound(workloads, [GpuPool("", 1)]).load


def _counted(pool: tuple[int, ...]) -> dict[int, float]:
    return {percent: pool.count(percent) for percent in pool}


def test_lanes_too_slow_for_the_slo_are_not_chosen_for_being_cheap() -> None:
    """10 and 30 GPU% cost a third of the area of 60, but take longer than the SLO."""
    surface = LatencySurface.from_points(
        Point(percent, batch, latency_ms)
        for percent, latency_ms in ((10, 60), (30, 50), (60, 20), (100, 20))
        for batch in (1, 4)
    )
    assert likeliest([Workload("a", 50, 40, {"": surface})], 3) == {"a": (60, 60, 60)}


def test_lanes_that_the_rate_does_not_need_are_cheap_and_not_narrow() -> None:
    """10 GPU% ends single items in time, at three times the area that they take in batches at 40."""
    surface = LatencySurface.from_points(
        Point(percent, batch, latency_ms)
        for percent, latencies_ms in ((10, (35, 140)), (40, (10, 12)), (100, (8, 9)))
        for batch, latency_ms in zip((1, 4), latencies_ms, strict=True)
    )
    rest = LatencySurface.from_points([Point(10, 1, 20), Point(10, 4, 60)])
    workloads = [Workload("a", 20, 40, {"": surface}), Workload("rest", 500, 200, {"": rest})]
    assert likeliest(workloads, 3)["a"] == (40, 40, 40)


def test_who_cannot_wait_for_long_runs_gets_lanes_that_fit_beside_them() -> None:
    """Wide runs are cheap for `quick`; those of `slow` hold half of the GPU for longer than it can wait."""
    quick = LatencySurface.from_points(
        Point(percent, batch, latency_ms)
        for percent, latencies_ms in ((20, (4, 8)), (90, (0.8, 1.6)))
        for batch, latency_ms in zip((1, 4), latencies_ms, strict=True)
    )
    slow = LatencySurface.from_points([Point(20, 1, 50), Point(90, 1, 50)])
    hurried = Workload("quick", 500, 10, {"": quick})
    assert 90 in likeliest([hurried], 3)["quick"]
    assert likeliest([hurried, Workload("slow", 50, 100, {"": slow})], 3)["quick"] == (20, 20, 20)


def test_what_is_proposed_differs() -> None:
    mix = [workload(name, 25) for name in ("alexnet", "mobilenet_v2", "resnet50", "vgg19")]
    pools = [tuple(sorted(each.items())) for each in proposed(mix, 3)]
    assert 1 < len(pools) == len(set(pools))


def test_a_model_that_is_hardly_ever_asked_has_its_lanes_too() -> None:
    rates = {"alexnet": 1e-6, "resnet50": 1e7}
    workloads = [Workload(name, rate, 100, {"": SURFACES[name]}) for name, rate in rates.items()]
    assert len(likeliest(workloads, 3)["alexnet"]) == 3


def test_pools_that_are_kept_are_what_they_were_and_others_are_chosen_beside_them() -> None:
    workloads = [workload(name, 30) for name in ("alexnet", "resnet50")]
    for pools in proposed(workloads, 3, {"alexnet": (15, 80)}):
        assert pools["alexnet"] == (15, 80)
        assert len(pools["resnet50"]) == 3


@given(names, st.integers(1, 4), st.floats(5, 60))
@settings(max_examples=15)
def test_the_carried_load_is_the_largest_that_is_carried(
    chosen: list[str], lanes: int, area_percent: float
) -> None:
    workloads = [workload(name, area_percent) for name in chosen]
    pools = likeliest(workloads, lanes)
    load = carried_load(workloads, "", pools)
    bound = fluid_bound(workloads, [GpuPool("", 1)]).load
    assert load == 0 or carries([_at(load, each) for each in workloads], "", pools)
    assert not carries([_at(load + bound / 32, each) for each in workloads], "", pools)


def _at(load: float, one: Workload) -> Workload:
    return replace(one, rate_rps=load * one.rate_rps)


def test_pools_that_take_all_of_the_area_leave_none_for_chance() -> None:
    """A hundred items per second that each hold the GPU for 8 ms take 80 % of it, 120 take 96 %."""
    surface = LatencySurface.from_points([Point(100, 1, 8)])
    pools = {"a": (100, 100)}
    assert carries([Workload("a", 100, 10_000, {"": surface})], "", pools)
    assert not carries([Workload("a", 120, 10_000, {"": surface})], "", pools)


@given(st.sampled_from(sorted(SURFACES)), st.floats(1, 300), st.floats(2, 5))
def test_the_paper_has_one_lane_at_the_most_efficient_gpu_percent(
    name: str, rate_rps: float, slo_factor: float
) -> None:
    surface = SURFACES[name]
    slo_ms = slo_factor * surface.latency_ms(40, 8)
    runs = [(percent, batch) for percent in PERCENTS for batch in range(1, 9)]

    def is_allowed(percent: int, batch: int) -> bool:
        latency_ms = surface.latency_ms(percent, batch)
        return latency_ms <= slo_ms / 2 and latency_ms + (batch - 1) * 1000 / rate_rps <= slo_ms

    def efficacy(percent: int, batch: int) -> float:
        return batch / (surface.latency_ms(percent, batch) ** 2 * percent)

    best = max(efficacy(*run) for run in runs if is_allowed(*run))
    (chosen,) = paper_lanes([Workload(name, rate_rps, slo_ms, {"": surface})], "")[name]
    of_chosen = [efficacy(chosen, batch) for batch in range(1, 9) if is_allowed(chosen, batch)]
    assert max(of_chosen) == pytest.approx(best)


def test_a_model_that_cannot_be_in_time_is_named() -> None:
    late = Workload("resnet50", 10, 5, {"": SURFACES["resnet50"]})
    with pytest.raises(InfeasibleError, match=r"^model resnet50: no run ends in 5 ms$"):
        likeliest([late], 3)
