"""The fluid bound: figures by hand, against a greedy optimum, and above any schedule that was packed."""

from collections.abc import Mapping
from itertools import count
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kneescale.core.errors import InfeasibleError, InvalidInputError
from kneescale.core.planning.fluid import (
    GpuPool,
    Workload,
    fastest_batch,
    fluid_bound,
    least_area_per_item,
    temporal_bound,
)
from kneescale.core.surfaces.catalog import catalog
from kneescale.core.surfaces.surface import LatencySurface, Point

ONE_GPU = [GpuPool("", 1)]

#: A knee at 50 GPU%: a batch of 4 takes 20 ms there, so 0.25 GPU% x s an item; batches of 1 take 0.4 and 0.8.
FLAT = LatencySurface.from_points(
    [Point(50, 1, 8), Point(100, 1, 8), Point(50, 4, 20), Point(100, 4, 20)],
)


def workload(name: str = "flat", rate_rps: float = 100, limit_ms: float = 50, **extra: object) -> Workload:
    return Workload(name, rate_rps, limit_ms, {"": FLAT}, **extra)  # type: ignore[arg-type]


def test_the_cheapest_run_in_time_sets_the_bound() -> None:
    bound = fluid_bound([workload()], ONE_GPU)
    assert bound.load == pytest.approx(100 / (100 * 0.25))
    (model,) = bound.models
    (run,) = model.runs
    assert (run.gpu_percent, run.batch, run.latency_ms) == (50, 4, 20)
    assert run.runs_per_s == pytest.approx(100)
    assert (model.area_percent, model.share, model.price_percent) == pytest.approx((100, 1, 0.25))
    assert bound.limits == ("GPU area",)


def test_a_run_that_ends_too_late_is_none() -> None:
    assert fluid_bound([workload(limit_ms=10)], ONE_GPU).load == pytest.approx(100 / (100 * 0.4))
    with pytest.raises(
        InfeasibleError, match=r"^model flat: no run on these GPUs ends in 7 ms; the fastest takes 8 ms$"
    ):
        fluid_bound([workload(limit_ms=7)], ONE_GPU)


def test_shares_follow_rates_and_add_up() -> None:
    bound = fluid_bound([workload("a", 30), workload("b", 90)], ONE_GPU)
    assert [model.share for model in bound.models] == pytest.approx([0.25, 0.75])
    assert bound.load == pytest.approx(100 / (120 * 0.25))


@pytest.mark.parametrize(("rate_rps", "gpus"), [(1e-6, 1), (1e6, 1), (1, 1000)])
def test_the_bound_is_as_exact_where_rates_and_fleets_are_small_or_large(rate_rps: float, gpus: int) -> None:
    """The solver's tolerances are absolute."""
    for model in catalog():
        surface = model.surface()
        limit_ms = 2 * surface.latency_ms(100, 1)
        bound = fluid_bound([Workload(model.name, rate_rps, limit_ms, {"": surface})], [GpuPool("", gpus)])
        area_percent = bound.load * rate_rps * least_area_per_item(surface, limit_ms)
        assert area_percent == pytest.approx(100 * gpus, rel=1e-6), model.name


def test_temporal_sharing_pays_for_whole_gpus() -> None:
    assert temporal_bound([workload()], ONE_GPU).load == pytest.approx(100 / (100 * 0.5))


def test_lanes_bound_the_runs_at_once() -> None:
    one_lane = fluid_bound([workload(lanes={50: 1})], ONE_GPU)
    assert one_lane.load == pytest.approx(4 / 0.020 / 100)
    assert one_lane.limits == ("flat's lanes of 50 GPU%",)
    assert fluid_bound([workload(lanes={50: 1})], [GpuPool("", 2)]).load == pytest.approx(2 * one_lane.load)


def test_each_model_runs_where_it_is_cheaper() -> None:
    slow = LatencySurface.from_points(
        Point(point.gpu_percent, point.batch, 2 * point.latency_ms) for point in FLAT.points
    )
    pools = [GpuPool("V100", 1), GpuPool("T4", 1)]
    first = Workload("a", 100, 50, {"V100": FLAT, "T4": slow})
    second = Workload("b", 100, 50, {"V100": FLAT})
    bound = fluid_bound([first, second], pools)
    assert {run.product for run in bound.models[1].runs} == {"V100"}
    # 100 GPU% of each pool: L * 100 * 0.25 for b and the rest of a on the V100, 0.5 an item on the T4.
    assert bound.load == pytest.approx((100 / 0.25 + 100 / 0.5) / 200)
    assert bound.limits == ("GPU area on V100", "GPU area on T4")


def test_memory_bounds_the_workers() -> None:
    two = [workload("a", memory_gib=6), workload("b", memory_gib=10)]
    assert fluid_bound(two, [GpuPool("", 1, 16)]).load == pytest.approx(2)
    # a's one worker leaves memory for 1.4 of b's, and so 140 GPU% of the 25 that b's rate takes.
    tight = fluid_bound([workload("a", 10, memory_gib=6), workload("b", memory_gib=10)], [GpuPool("", 2, 10)])
    assert tight.load == pytest.approx(140 / 25)
    assert tight.limits == ("b's workers", "GPU memory")


def test_memory_that_cannot_do_is_said() -> None:
    two = [workload("a", memory_gib=6), workload("b", memory_gib=10)]
    with pytest.raises(
        InfeasibleError, match=r"^model b: needs 10 GiB of GPU memory; no GPU has more than 8$"
    ):
        fluid_bound(two, [GpuPool("", 4, 8)])
    with pytest.raises(InfeasibleError, match=r"^the models need 16 GiB of GPU memory; there are 12$"):
        fluid_bound(two, [GpuPool("", 1, 12)])


def test_two_models_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="model flat is given twice"):
        fluid_bound([workload(), workload()], ONE_GPU)


PERCENTS = (20, 40, 60, 100)
latencies = st.floats(1, 30)
surfaces = st.builds(
    lambda values: LatencySurface.from_points(
        Point(percent, batch, value)
        for (percent, batch), value in zip(((p, b) for p in PERCENTS for b in (1, 4)), values, strict=True)
    ),
    st.lists(latencies, min_size=8, max_size=8),
)
lanes = st.dictionaries(st.sampled_from(PERCENTS), st.integers(1, 3), min_size=1)


@st.composite
def laned_workloads(draw: st.DrawFn) -> list[Workload]:
    # A limit no latency exceeds: every lane can be used.
    return [
        Workload(f"m{number}", draw(st.floats(1, 200)), 1000, {"": draw(surfaces)}, draw(lanes))
        for number in range(draw(st.integers(1, 3)))
    ]


def least_area(workload: Workload, rate_rps: float) -> float:
    """GPU% that `rate_rps` takes on the model's lanes, the cheapest filled first; inf if they are too few."""
    surface, area = workload.surfaces[""], 0.0
    costs: list[tuple[float, float]] = []
    for percent, number in (workload.lanes or {}).items():
        batch = fastest_batch(surface, workload.limit_ms, percent) or 1
        seconds_per_item = surface.latency_ms(percent, batch) / batch / 1000
        costs.append((percent * seconds_per_item, number / seconds_per_item))
    for cost, most_rps in sorted(costs):
        area += cost * min(rate_rps, most_rps)
        rate_rps = max(0.0, rate_rps - most_rps)
    return area if rate_rps <= 1e-9 else float("inf")


@given(laned_workloads())
@settings(max_examples=60)
def test_no_load_is_larger_than_the_greedy_fill_of_lanes_allows(workloads: list[Workload]) -> None:
    load = fluid_bound(workloads, ONE_GPU).load

    def area(load: float) -> float:
        return sum(least_area(of_one, load * of_one.rate_rps) for of_one in workloads)

    assert area(load * (1 - 1e-6)) <= 100
    assert area(load * (1 + 1e-6)) > 100 * (1 - 1e-6)


@st.composite
def packed(draw: st.DrawFn) -> tuple[list[LatencySurface], list[tuple[int, int, int]]]:
    of_models = draw(st.lists(surfaces, min_size=1, max_size=3))
    run = st.tuples(
        st.integers(0, len(of_models) - 1), st.sampled_from(PERCENTS), st.sampled_from((1, 2, 3, 4))
    )
    return of_models, draw(st.lists(run, min_size=1, max_size=25))


@given(packed())
def test_no_schedule_is_above_the_bound(
    schedule: tuple[list[LatencySurface], list[tuple[int, int, int]]],
) -> None:
    """Runs packed first fit on a GPU, at the mean rates that they serve: they cannot be above load 1."""
    of_models, runs = schedule
    served: dict[int, int] = {}
    busy: list[int] = []
    for model, percent, batch in runs:
        length = ceil(of_models[model].latency_ms(percent, batch))
        start = next(
            start for start in count() if all(held + percent <= 100 for held in busy[start : start + length])
        )
        busy.extend([0] * (start + length - len(busy)))
        for instant in range(start, start + length):
            busy[instant] += percent
        served[model] = served.get(model, 0) + batch
    rates: Mapping[int, float] = {model: 1000 * items / len(busy) for model, items in served.items()}
    workloads = [Workload(str(model), rate, 1000, {"": of_models[model]}) for model, rate in rates.items()]
    assert fluid_bound(workloads, ONE_GPU).load >= 1 - 1e-9
