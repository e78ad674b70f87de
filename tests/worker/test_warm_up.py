"""Which sizes are warm when a worker serves, on a clock that only runs of batches move."""

from collections.abc import Callable

from kneescale_worker.client_lane import ClientLane
from kneescale_worker.green_contexts import GreenContextLanes
from kneescale_worker.lanes import Lanes
from kneescale_worker.mps_contexts import MpsContextLanes
from kneescale_worker.warm_up import warm_up_runs
from tests.worker.fake_driver import FakeDriver

_SMS = 80


def _warmed(lanes: Lanes, max_batch: int, takes_s: Callable[[int, int], float]) -> list[tuple[int, int]]:
    """The runs of a warm-up on a GPU where each takes so long."""
    lanes.open()
    runs: list[tuple[int, int]] = []
    for gpu_percent, batch in warm_up_runs(lanes, max_batch, lambda: sum(takes_s(*run) for run in runs)):
        runs.append((gpu_percent, batch))
    return runs


def _in_no_time(*_: int) -> float:
    return 0.0


def test_with_time_all_sizes_are_warm_and_doubling_ones_on_every_lane() -> None:
    runs = _warmed(GreenContextLanes(FakeDriver(_SMS, 2), (20, 100)), 8, _in_no_time)
    assert sorted(batch for lane, batch in runs if lane == 100) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [batch for lane, batch in runs if lane == 20] == [1, 2, 4, 8]


def test_each_context_of_a_pool_has_every_size_once() -> None:
    runs = _warmed(MpsContextLanes(FakeDriver(_SMS), (20, 20, 50)), 4, _in_no_time)
    assert sorted(runs) == [(20, size) for size in (1, 1, 2, 2, 3, 3, 4, 4)] + [(50, n) for n in (1, 2, 3, 4)]


def test_a_slow_lane_warms_up_doubling_sizes_and_then_small_ones_while_there_is_time() -> None:
    # As a ConvNeXt-Large on 10 GPU% of an H100: all 128 sizes take 142 s, these 4.5 s.
    runs = _warmed(ClientLane(FakeDriver(_SMS, cap=8), 10, _SMS), 128, lambda _, n: 0.024 + 0.0168 * n)
    batches = [batch for _, batch in runs]
    assert batches[:8] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert batches[8:12] == [3, 5, 6, 7]
    assert 20 < len(batches) < 35


def test_doubling_sizes_are_warm_however_long_that_takes() -> None:
    runs = _warmed(ClientLane(FakeDriver(_SMS, cap=8), 10, _SMS), 128, lambda *_: 60.0)
    assert runs == [(10, batch) for batch in (1, 2, 4, 8, 16, 32, 64, 128)]
