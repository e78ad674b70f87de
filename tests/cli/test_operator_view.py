"""How the GPUs that the operator takes are looked for."""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import pytest

from kneescale.cli import operator_view as module
from kneescale.cli.operator_view import MOST_TIMES, operator_view
from kneescale.core.planning.fluid import GpuPool, Workload
from kneescale.core.planning.placement import Demand
from kneescale.core.surfaces.surface import LatencySurface, Point

POOL = GpuPool("V100", 1, 16)
#: Single items that take a whole GPU for 10 ms each.
WHOLE = LatencySurface.from_points((Point(100, 1, 10),))


def workloads(number: int, rate_rps: float, memory_gib: float = 0) -> list[Workload]:
    return [
        Workload(f"m{index}", rate_rps, 50, {"V100": WHOLE}, memory_gib=memory_gib) for index in range(number)
    ]


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of GPUs on which the models are placed, in order."""
    numbers, places = list[int](), module._places

    def noted(demands: Sequence[Demand], pool: GpuPool, clients_each: int, gpus: int) -> bool:
        numbers.append(gpus)
        return places(demands, pool, clients_each, gpus)

    monkeypatch.setattr(module, "_places", noted)
    return numbers


def test_no_fewer_are_tried_than_hold_the_area(tried: list[int]) -> None:
    # 40 times 0.8 of a GPU, of which the operator fills 0.85 each.
    view = operator_view(workloads(40, 80), POOL, gpus=30, clients_each=1)
    assert tried[0] == ceil(40 * 0.8 / 0.85)
    assert view.gpus is not None
    assert view.gpus <= 40


def test_what_only_many_more_hold_takes_few_tries(tried: list[int]) -> None:
    # Two of them never fit into the memory of one, and hardly any area is asked for.
    assert operator_view(workloads(60, 5, memory_gib=9), POOL, gpus=20, clients_each=1).gpus == 60
    assert len(tried) <= 13


def test_where_most_do_not_either_it_is_none(tried: list[int]) -> None:
    assert operator_view(workloads(60, 5, memory_gib=9), POOL, gpus=14, clients_each=1).gpus is None
    assert max(tried) == MOST_TIMES * 14
    assert len(tried) <= 8


def test_a_model_larger_than_the_pools_memory_is_placed_nowhere(tried: list[int]) -> None:
    (one,) = workloads(1, 5)
    assert operator_view([replace(one, memory_gib=17)], POOL, gpus=1, clients_each=1).gpus is None
    assert tried == [1, 2, 3, 4]


def test_of_hundreds_not_each_number_is_tried(tried: list[int]) -> None:
    # The fewest are 600.
    view = operator_view(workloads(600, 5, memory_gib=9), POOL, gpus=590, clients_each=1)
    assert (tried, view.gpus) == ([590, 596, 602], 602)
