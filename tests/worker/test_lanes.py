"""Lanes of all three tiers on a fake driver: nothing here has seen a GPU."""

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.tiers import Tier
from kneescale_worker import cuda_lanes
from kneescale_worker.client_lane import ClientLane
from kneescale_worker.errors import ExecutorError, LoadError
from kneescale_worker.green_contexts import GreenContextLanes
from kneescale_worker.lanes import Lanes, check_sms, sms_for
from kneescale_worker.mps_contexts import MpsContextLanes
from kneescale_worker.settings import parse_settings
from kneescale_worker.sm_partition import LARGEST_CHUNK_SMS
from kneescale_worker.sm_places import PlaceBoard, places
from tests.worker.fake_driver import FakeDriver

_H100, _V100 = 132, 80
_ENV = {
    "KNEESCALE_MODEL_NAME": "resnet50",
    "KNEESCALE_MODEL_URI": "oci://models/resnet50",
    "KNEESCALE_MODEL_FORMAT": "TorchScript",
    "KNEESCALE_MAX_BATCH": "16",
    "KNEESCALE_SOCKET": "/run/kneescale/dispatcher.sock",
    "KNEESCALE_BACKEND": "cuda-mps",
    "KNEESCALE_PRODUCT": "H100-SXM5-80GB",
    "KNEESCALE_SM_COUNT": str(_H100),
    "KNEESCALE_LANES": "100",
}
_TENS = tuple(range(10, 101, 10))


def _opened(lanes: Lanes) -> Lanes:
    lanes.open()
    return lanes


def test_green_lanes_have_whole_groups_and_the_whole_gpu_all_sms() -> None:
    sms = _opened(GreenContextLanes(FakeDriver(_H100), _TENS)).sms
    # A tenth of 132 SMs is 13.2, in groups of 8: 16.
    assert (sms[10], sms[50], sms[90], sms[100]) == (16, 72, 120, 132)


def test_batches_on_one_green_lane_run_side_by_side_on_sms_of_their_own() -> None:
    driver = FakeDriver(_V100, unit=2)
    lanes = _opened(GreenContextLanes(driver, (20, 50)))
    with ExitStack() as running:
        streams = [running.enter_context(lanes.use(percent)).stream for percent in (50, 20, 20)]
        groups = [group for stream in streams for group in driver.green[stream]]
        assert len(groups) == len(set(groups)) == 36


def test_a_green_lane_never_waits_even_when_all_sms_are_in_use() -> None:
    lanes = _opened(GreenContextLanes(FakeDriver(_V100, unit=2), (100,)))
    with lanes.use(100) as first, lanes.use(100) as second:
        assert first == second


def test_mps_contexts_are_current_while_a_batch_runs_and_each_has_a_home() -> None:
    driver = FakeDriver(_V100)
    lanes = _opened(MpsContextLanes(driver, (20, 20, 50)))
    assert lanes.homes == 3
    assert dict(lanes.sms) == {20: 16, 50: 40}
    with lanes.use(20) as first:
        assert len(driver.current) == 1
        with lanes.use(20) as second:
            assert first.home != second.home
    assert driver.current == []


def test_a_process_that_is_a_lane_sees_its_cap() -> None:
    driver = FakeDriver(_V100, cap=16)
    lanes = _opened(ClientLane(driver, 20, _V100))
    assert dict(lanes.sms) == {20: 16}
    with lanes.use(20) as lane:
        assert (lane.home, lane.stream) == (0, 1)


def test_a_process_in_an_sm_partition_sees_its_chunks() -> None:
    # Of 132 SMs, 40 GPU% are 52.8: seven chunks of eight.
    lanes = _opened(ClientLane(FakeDriver(132, cap=56), 40, 132, LARGEST_CHUNK_SMS))
    assert dict(lanes.sms) == {40: 56}
    with pytest.raises(LoadError, match="lane of 40 GPU% has 132 SMs of 132"):
        ClientLane(FakeDriver(132), 40, 132, LARGEST_CHUNK_SMS).open()


def test_a_lane_whose_sms_are_others_than_asked_for_is_an_error() -> None:
    with pytest.raises(LoadError, match=r"lane of 50 GPU% has 80 SMs of 80; it should have 40\.0"):
        ClientLane(FakeDriver(_V100), 50, _V100).open()
    with pytest.raises(LoadError, match=r"lane of 90 GPU% has 20 SMs of 80"):
        check_sms(90, 20, _V100, 8)


@pytest.mark.parametrize("tier", [Tier.MPS_PROCESSES, Tier.MPS_CONTEXTS, Tier.GREEN_CONTEXTS])
def test_without_an_mps_daemon_there_are_no_lanes(tier: Tier, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = parse_settings({**_ENV, "KNEESCALE_TIER": tier})
    monkeypatch.setattr(cuda_lanes, "LibCuda", lambda: FakeDriver(_H100))
    cuda_lanes.make_lanes(settings).open()
    monkeypatch.setattr(cuda_lanes, "LibCuda", lambda: FakeDriver(_H100, mps=False))
    with pytest.raises(LoadError, match="no MPS daemon answers"):
        cuda_lanes.make_lanes(settings)


@pytest.mark.parametrize("fails", ["split", "green"])
def test_a_driver_that_cannot_says_so(fails: str) -> None:
    with pytest.raises(LoadError, match=f"{fails} failed: CUDA_ERROR_NOT_SUPPORTED"):
        GreenContextLanes(FakeDriver(_V100, fails=fails), _TENS).open()


@pytest.mark.parametrize("lanes", [GreenContextLanes, MpsContextLanes])
def test_a_lane_that_is_not_there_is_an_error(lanes: type[GreenContextLanes] | type[MpsContextLanes]) -> None:
    opened = _opened(lanes(FakeDriver(_V100), (20,)))
    with pytest.raises(ExecutorError, match="there is no lane of 30 GPU%"), opened.use(30):
        pass


@given(st.integers(1, 100), st.integers(8, 200), st.sampled_from([1, 2, 8]))
def test_rounding_up_to_the_unit_is_never_taken_for_a_wrong_size(
    gpu_percent: int, sm_count: int, unit: int
) -> None:
    groups = min(sm_count // unit, -(-sms_for(gpu_percent, sm_count) // unit))
    check_sms(gpu_percent, groups * unit, sm_count, unit)


@given(st.integers(1, 64), st.data())
def test_places_of_a_lane_are_side_by_side_and_as_many_as_fit(groups: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, groups))
    made = places(groups, size)
    members = [group for place in made for group in place]
    assert len(made) == groups // size
    assert len(set(members)) == len(members)
    assert set(members) <= set(range(groups))


@given(st.lists(st.sampled_from([1, 2, 4]), max_size=12))
def test_equal_sized_lanes_share_no_group_while_one_is_free(sizes: list[int]) -> None:
    board, taken = PlaceBoard(16), set[int]()
    for size in sizes:
        candidates = places(16, size)
        place = candidates[board.occupy(candidates)]
        if any(taken.isdisjoint(candidate) for candidate in candidates):
            assert taken.isdisjoint(place)
        taken |= set(place)
