"""Which sizes are warm when a worker serves, on a clock that only runs of batches move."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.surfaces.surface import doubling_batches
from kneescale_worker.client_lane import ClientLane
from kneescale_worker.green_contexts import GreenContextLanes
from kneescale_worker.lanes import Lanes
from kneescale_worker.mps_contexts import MpsContextLanes
from kneescale_worker.warm_up import size_to_run, sizes_between, warm_up_runs
from tests.worker.fake_driver import FakeDriver

_SMS = 80


def _warmed(
    lanes: Lanes, max_batch: int, takes_s: Callable[[int, int], float], *, every_lane: bool = True
) -> list[tuple[int, int]]:
    """The runs of a warm-up on a GPU where each takes so long."""
    lanes.open()
    runs: list[tuple[int, int]] = []
    for gpu_percent, batch in warm_up_runs(
        lanes, max_batch, every_lane=every_lane, now_s=lambda: sum(takes_s(*run) for run in runs)
    ):
        runs.append((gpu_percent, batch))
    return runs


def _in_no_time(*_: int) -> float:
    return 0.0


def test_with_time_all_sizes_are_warm_and_doubling_ones_on_every_lane() -> None:
    runs = _warmed(GreenContextLanes(FakeDriver(_SMS, 2), (20, 100)), 8, _in_no_time)
    assert sorted(batch for lane, batch in runs if lane == 100) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [batch for lane, batch in runs if lane == 20] == [1, 2, 4, 8]


def test_who_comes_after_the_first_runs_each_size_once() -> None:
    lanes = GreenContextLanes(FakeDriver(_SMS, 2), (20, 100))
    runs = _warmed(lanes, 8, _in_no_time, every_lane=False)
    assert sorted(runs) == [(100, size) for size in (1, 2, 3, 4, 5, 6, 7, 8)]


def test_each_context_of_a_pool_has_every_size_once() -> None:
    runs = _warmed(MpsContextLanes(FakeDriver(_SMS), (20, 20, 50)), 4, _in_no_time)
    assert sorted(runs) == [(20, size) for size in (1, 1, 2, 2, 3, 3, 4, 4)] + [(50, n) for n in (1, 2, 3, 4)]


def test_a_slow_lane_warms_up_doubling_sizes_and_then_others_while_there_is_time() -> None:
    # As a ConvNeXt-Large on 10 GPU% of an H100: all 128 sizes take 142 s, these 4.5 s.
    runs = _warmed(ClientLane(FakeDriver(_SMS, cap=8), 10, _SMS), 128, lambda _, n: 0.024 + 0.0168 * n)
    batches = [batch for _, batch in runs]
    assert batches[:8] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert batches[8:11] == [96, 48, 24]
    assert len(batches) == 16


def test_doubling_sizes_are_warm_however_long_that_takes() -> None:
    runs = _warmed(ClientLane(FakeDriver(_SMS, cap=8), 10, _SMS), 128, lambda *_: 60.0)
    assert runs == [(10, batch) for batch in (1, 2, 4, 8, 16, 32, 64, 128)]


@given(st.integers(1, 200))
def test_all_sizes_come_up(max_batch: int) -> None:
    between = list(sizes_between(max_batch))
    assert sorted((*between, *doubling_batches(max_batch))) == list(range(1, max_batch + 1))


@given(st.integers(3, 200), st.data())
def test_each_further_size_is_where_padding_is_worst(max_batch: int, data: st.DataObject) -> None:
    between = list(sizes_between(max_batch))
    count = data.draw(st.integers(0, len(between)))
    warm = sorted((*doubling_batches(max_batch), *between[:count]))
    padded = {items: size_to_run(items, warm) / items for items in range(1, max_batch + 1)}
    worst = max(padded.values())
    assert min(padded.values()) >= 1
    if count < len(between):
        below, above = _gap_of(between[count], warm)
        assert above / (below + 1) == pytest.approx(worst)


def test_items_run_at_the_next_warm_size() -> None:
    assert [size_to_run(items, (1, 2, 4, 8)) for items in (1, 3, 4, 5)] == [1, 4, 4, 8]


def test_where_nothing_is_warm_items_run_as_they_are() -> None:
    assert size_to_run(3, ()) == 3


def _gap_of(size: int, warm: list[int]) -> tuple[int, int]:
    """The warm sizes next to it."""
    return max(one for one in warm if one < size), min(one for one in warm if one > size)
