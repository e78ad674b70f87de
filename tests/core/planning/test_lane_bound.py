"""What a few lanes for each model can carry at most."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.planning.fluid import GpuPool, Workload, fluid_bound
from kneescale.core.planning.lane_bound import lane_bound
from kneescale.core.planning.static_partitions import best_static_partitions
from tests.core.planning.single_items import workload, workloads

EXACT = 1e-3


@given(workloads, st.integers(1, 3))
def test_more_lanes_carry_more_and_never_more_than_any_schedule(models: list[Workload], lanes: int) -> None:
    found = lane_bound(models, "", lanes)
    assert found <= lane_bound(models, "", lanes + 1) * (1 + EXACT)
    assert found <= fluid_bound(models, [GpuPool("", 1)]).load * (1 + EXACT)


@given(workloads)
def test_five_of_the_smallest_lanes_fill_the_gpu(models: list[Workload]) -> None:
    limit = fluid_bound(models, [GpuPool("", 1)]).load
    assert lane_bound(models, "", 5) == pytest.approx(limit, rel=EXACT)


@given(workloads)
def test_one_lane_each_carries_no_less_than_static_partitions(models: list[Workload]) -> None:
    assert lane_bound(models, "", 1) >= best_static_partitions(models, "").load * (1 - EXACT)


def test_a_single_lane_must_be_wide_to_be_fast() -> None:
    """20 GPU% carry 100 items per second, 100 GPU% twice that: each of those takes 2.5 times the area."""
    model = workload("a", 100, [10.0, 10.0, 10.0, 10.0, 5.0])
    assert lane_bound([model], "", 1) == pytest.approx(2, rel=EXACT)
    # 100 on the small lane for 20 GPU%, 160 on the other for the rest.
    assert lane_bound([model], "", 2) == pytest.approx(2.6, rel=EXACT)
    assert lane_bound([model], "", 5) == pytest.approx(5, rel=EXACT)


def test_a_model_without_a_run_in_time_carries_nothing() -> None:
    assert lane_bound([workload("a", 1, [10.0] * 5, limit_ms=1)], "", 3) == 0
