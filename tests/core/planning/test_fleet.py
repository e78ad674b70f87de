import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.errors import InfeasibleError
from kneescale.core.planning.configuration import Configuration
from kneescale.core.planning.fleet import Fleet, Replicable, gpus_at_least, size_fleet
from kneescale.core.planning.fluid import GpuPool, Workload
from kneescale.core.planning.placement import Demand
from kneescale.core.surfaces.surface import LatencySurface, Point

GIB = 1 << 30
POOL = GpuPool("V100", 1, 16)

#: One item takes 10 ms of 10 GPU%: 0.1 GPU% x s.
SURFACE = LatencySurface.from_points([Point(10, 1, 10), Point(100, 1, 10)])


def demand(name: str, area_permille: int, memory_gib: float = 1) -> Demand:
    configuration = Configuration(10, 1, 10, 1.0, area_permille)
    return Demand(name, {"V100": configuration}, round(memory_gib * GIB), 1, 1)


def workload(name: str, area_percent: float, memory_gib: float = 1) -> Workload:
    return Workload(name, 10 * area_percent, 50, {"V100": SURFACE}, memory_gib=memory_gib)


def always(of_one: Demand) -> Replicable:
    """The same in any number of replicas."""
    return lambda replicas: of_one


def sized(*demands: Demand, at_least: int = 1) -> Fleet:
    return size_fleet(list(map(always, demands)), POOL, area_limit_permille=800, at_least=at_least)


def test_models_share_a_gpu_while_they_fit() -> None:
    assert sized(demand("a", 500), demand("b", 300)) == Fleet(1, {"a": (0,), "b": (0,)})
    assert sized(demand("a", 500), demand("b", 301), at_least=2).gpus == 2


def test_memory_is_a_limit_too() -> None:
    fleet = sized(demand("a", 100, 10), demand("b", 100, 10), at_least=2)
    assert fleet.models() == [("a",), ("b",)]
    with pytest.raises(InfeasibleError, match=r"^model a: needs 17\.0 GiB of GPU memory; a GPU has 16$"):
        sized(demand("a", 100, 17))


def test_a_large_model_gets_replicas() -> None:
    assert sized(demand("a", 2000), at_least=3) == Fleet(3, {"a": (0, 1, 2)})


def test_replicas_with_less_of_the_rate_may_need_more_area() -> None:
    """In one replica its batches gather in time, in two they are half as large."""
    areas_permille = {1: 1000, 2: 2000}
    fleet = size_fleet(
        [lambda replicas: demand("a", areas_permille.get(replicas, 2200))],
        POOL,
        area_limit_permille=800,
        at_least=1,
    )
    assert fleet == Fleet(3, {"a": (0, 1, 2)})


def test_a_worker_of_several_lanes_is_as_many_clients() -> None:
    models = [demand(str(number), 1, 0.1) for number in range(17)]
    workloads = [workload(one.model, 0.1, 0.1) for one in models]
    assert gpus_at_least(workloads, POOL, 1.0, clients_each=3) == 2
    fleet = size_fleet(list(map(always, models)), POOL, area_limit_permille=800, at_least=1, clients_each=3)
    assert sorted(map(len, fleet.models())) == [1, 16]


def test_models_that_would_waste_their_gpus_are_split() -> None:
    """Three of 530 permille need a GPU each while whole; of 1590 in all, two GPUs hold 1600 in halves."""
    fleet = sized(*(demand(name, 530) for name in "abc"), at_least=2)
    assert fleet.gpus == 2
    assert {len(gpus) for gpus in fleet.placement.values()} == {2}


@pytest.mark.parametrize(
    ("workloads", "utilization", "gpus"),
    [
        ([workload("a", 60), workload("b", 40)], 1.0, 1),
        ([workload("a", 60), workload("b", 41)], 1.0, 2),
        ([workload("a", 60), workload("b", 40)], 0.8, 2),
        ([workload(str(number), 1, memory_gib=4) for number in range(9)], 1.0, 3),
        ([workload("a", 400, memory_gib=16), workload("b", 1, memory_gib=16)], 1.0, 5),
        ([workload(str(number), 1, memory_gib=0.1) for number in range(49)], 1.0, 2),
    ],
)
def test_the_bound_is_by_area_memory_and_clients(
    workloads: list[Workload], utilization: float, gpus: int
) -> None:
    assert gpus_at_least(workloads, POOL, utilization) == gpus


@given(st.lists(st.tuples(st.integers(1, 2500), st.floats(0.1, 16)), min_size=1, max_size=12))
def test_every_fleet_keeps_its_limits_and_is_no_smaller_than_the_bound(
    drawn: list[tuple[int, float]],
) -> None:
    demands = [demand(str(number), *one) for number, one in enumerate(drawn)]
    bound = gpus_at_least(
        [workload(str(n), area / 10, gib) for n, (area, gib) in enumerate(drawn)], POOL, 0.8
    )
    fleet = sized(*demands, at_least=bound)
    assert fleet.gpus >= bound
    by_name = {one.model: one for one in demands}
    for names in fleet.models():
        assert sum(by_name[name].memory_bytes for name in names) <= 16 * GIB
        area = sum(
            by_name[name].configurations["V100"].area_permille / len(fleet.placement[name]) for name in names
        )
        assert area <= 800
