from itertools import product

import pytest
from hypothesis import given

from kneescale.core.planning.fluid import GpuPool, Workload, fluid_bound
from kneescale.core.planning.static_partitions import best_static_partitions
from tests.core.planning.single_items import PERCENTS, workload, workloads

#: Those of the surfaces, and smaller ones.
ALLOWED = (*range(1, PERCENTS[0]), *PERCENTS)


@given(workloads)
def test_no_other_split_is_better(models: list[Workload]) -> None:
    few = models[:3]
    loads = [
        {percent: 1000 / model.surfaces[""].latency_ms(percent, 1) / model.rate_rps for percent in ALLOWED}
        for model in few
    ]
    best = max(
        min(of_one[percent] for of_one, percent in zip(loads, split, strict=True))
        for split in product(ALLOWED, repeat=len(few))
        if sum(split) <= 100
    )
    assert best_static_partitions(few, "").load == pytest.approx(best)


@given(workloads)
def test_partitions_are_below_the_bound_of_every_schedule(models: list[Workload]) -> None:
    partitions = best_static_partitions(models, "")
    assert partitions.load <= fluid_bound(models, [GpuPool("", 1)]).load * (1 + 1e-9)
    assert sum(partitions.gpu_percents.values()) <= 100


def test_models_that_find_no_room_carry_nothing() -> None:
    models = [workload(str(number), 1, [1.0] * 5, limit_ms=1) for number in range(6)]
    assert best_static_partitions(models, "").gpu_percents == {}
    assert best_static_partitions(models, "").load == 0
