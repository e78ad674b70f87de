"""Schedules and claims survive a restart, and a bad schedule leaves the good one in force."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kneescale.agent.assignment import Assignment
from kneescale.agent.backend import Device
from kneescale.agent.claims import parse_allocated_claim
from kneescale.agent.node_state import NodeState
from tests.agent.builders import NODE, allocated_claim, claim_uid, partition, schedule

DEVICES = tuple(Device(name, name, "V100-SXM2-16GB", 16 << 30, 48, 10) for name in ("gpu0", "gpu1"))
CLAIM = parse_allocated_claim(allocated_claim("a"), NODE)


class RecordingHost:
    """What a dispatcher host was told to do."""

    def __init__(self) -> None:
        self.assignments: list[Assignment] = []

    def assign(self, assignment: Assignment) -> None:
        self.assignments.append(assignment)

    @property
    def claims(self) -> dict[str, str]:
        """Claim uids by partition, as told last."""
        return {p.name: p.claim_uid for p in self.assignments[-1].partitions}


@pytest.fixture
def hosts() -> dict[str, RecordingHost]:
    return {"gpu0": RecordingHost(), "gpu1": RecordingHost()}


def _state(hosts: Mapping[str, RecordingHost], path: Path) -> NodeState:
    return NodeState(hosts, path / "checkpoint.json", lambda: DEVICES)


def _changed(manifest: dict[str, Any], generation: int, **spec: object) -> dict[str, Any]:
    metadata = {**manifest["metadata"], "generation": generation}
    return {**manifest, "metadata": metadata, "spec": {**manifest["spec"], **spec}}


GOOD = schedule([partition("a"), partition("b")])


def test_a_claim_meets_its_partition_in_either_order(hosts: dict[str, RecordingHost], tmp_path: Path) -> None:
    state = _state(hosts, tmp_path)
    state.set_schedules([GOOD])
    assert hosts["gpu0"].claims == {"a": "", "b": ""}
    state.add_claim(CLAIM)
    assert hosts["gpu0"].claims == {"a": claim_uid("a"), "b": ""}
    state.set_schedules([])
    assert hosts["gpu0"].claims == {}
    state.set_schedules([GOOD])
    assert hosts["gpu0"].claims == {"a": claim_uid("a"), "b": ""}
    state.remove_claim(claim_uid("a"))
    assert hosts["gpu0"].claims == {"a": "", "b": ""}


def test_a_restart_goes_on_where_it_was(hosts: dict[str, RecordingHost], tmp_path: Path) -> None:
    state = _state(hosts, tmp_path)
    state.set_schedules([GOOD])
    state.add_claim(CLAIM)
    told = hosts["gpu0"].assignments[-1]
    restarted = _state(hosts, tmp_path)
    restarted.restore()
    restarted.devices_changed()
    assert restarted.claims() == (CLAIM,)
    assert restarted.claim(CLAIM.uid) == CLAIM
    assert hosts["gpu0"].assignments[-1] == told
    assert hosts["gpu1"].assignments[-1] == Assignment()


def test_the_same_schedules_again_disturb_nobody(hosts: dict[str, RecordingHost], tmp_path: Path) -> None:
    state = _state(hosts, tmp_path)
    state.set_schedules([GOOD])
    told = len(hosts["gpu0"].assignments)
    state.set_schedules([{**GOOD, "status": {"summary": "changed by ourselves"}}])
    assert len(hosts["gpu0"].assignments) == told


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": "gpu9"}, "node node1 has no device gpu9; it has gpu0, gpu1"),
        ({"policy": "Fastest"}, "spec.policy must be one of"),
        ({"partitions": [partition("a", lanes=[10])]}, "partition a: gpuPercent must be one of lanes"),
        (
            {"partitions": [partition("b", lanes=[15, 50])]},
            "partition b asks for a lane of 15 GPU%; lanes of gpu0 are multiples of 10",
        ),
        ({"partitions": [partition("a"), partition("a")]}, "partition a is there twice"),
    ],
)
def test_a_bad_schedule_leaves_the_last_good_one_in_force(
    hosts: dict[str, RecordingHost], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    state = _state(hosts, tmp_path)
    state.set_schedules([GOOD])
    state.set_schedules([_changed(GOOD, 2, **change)])
    (known,) = state.schedules()
    assert message in known.error
    assert known.generation == 2
    assert known.applied is not None
    assert hosts["gpu0"].claims == {"a": "", "b": ""}
    restarted = _state(hosts, tmp_path)
    restarted.restore()
    restarted.devices_changed()
    assert hosts["gpu0"].claims == {"a": "", "b": ""}


def test_a_lane_that_the_claim_has_not_makes_a_bad_schedule(
    hosts: dict[str, RecordingHost], tmp_path: Path
) -> None:
    state = _state(hosts, tmp_path)
    state.set_schedules([GOOD])
    state.add_claim(CLAIM)
    state.set_schedules([_changed(GOOD, 2, partitions=[partition("a", lanes=[33, 50])])])
    (known,) = state.schedules()
    assert known.error == "partition a has a lane of 33 GPU%; its claim has 10, 20, 50, 100"
    assert hosts["gpu0"].claims == {"a": claim_uid("a"), "b": ""}


def test_a_schedule_that_was_never_good_is_known_but_not_applied(
    hosts: dict[str, RecordingHost], tmp_path: Path
) -> None:
    state = _state(hosts, tmp_path)
    state.set_schedules([_changed(GOOD, 1, device="gpu9")])
    (known,) = state.schedules()
    assert known.applied is None


def test_a_device_has_one_schedule(hosts: dict[str, RecordingHost], tmp_path: Path) -> None:
    state = _state(hosts, tmp_path)
    second = {**GOOD, "metadata": {"name": "zz-second", "generation": 1}}
    state.set_schedules([second, GOOD])
    assert {s.name: s.error for s in state.schedules()} == {
        "node1-gpu0": "",
        "zz-second": "device gpu0 has a GPUSchedule already: node1-gpu0",
    }


@pytest.mark.parametrize("name", ["a-second", "zz-second"])
@pytest.mark.parametrize("change", [{}, {"policy": "Fastest"}])
def test_a_device_stays_with_the_schedule_that_is_applied_good_or_bad_until_that_is_gone(
    hosts: dict[str, RecordingHost], tmp_path: Path, name: str, change: dict[str, Any]
) -> None:
    state = _state(hosts, tmp_path)
    state.set_schedules([GOOD])
    second = {**schedule([partition("c")]), "metadata": {"name": name, "generation": 1}}
    state.set_schedules([_changed(GOOD, 2, **change), second])
    assert [s.name for s in state.schedules() if s.applied] == ["node1-gpu0"]
    assert hosts["gpu0"].claims == {"a": "", "b": ""}
    state.set_schedules([second])
    assert hosts["gpu0"].claims == {"c": ""}


@pytest.fixture
def full_disk(tmp_path: Path) -> Path:
    """A file in the place of the checkpoint's folder: nothing can be saved until it is removed."""
    (tmp_path / "state").touch()
    return tmp_path / "state"


def test_on_a_full_disk_a_schedule_takes_effect_and_is_saved_once_there_is_room(
    hosts: dict[str, RecordingHost], full_disk: Path
) -> None:
    state = _state(hosts, full_disk)
    state.set_schedules([GOOD])
    assert hosts["gpu0"].claims == {"a": "", "b": ""}
    assert state.unsaved
    full_disk.unlink()
    state.save_again()
    assert not state.unsaved
    restarted = _state(hosts, full_disk)
    restarted.restore()
    restarted.devices_changed()
    assert hosts["gpu0"].claims == {"a": "", "b": ""}


def test_on_a_full_disk_no_claim_comes_or_goes(hosts: dict[str, RecordingHost], tmp_path: Path) -> None:
    folder = tmp_path / "state"
    state = _state(hosts, folder)
    state.add_claim(CLAIM)
    folder.rename(tmp_path / "away")
    folder.touch()
    other = parse_allocated_claim(allocated_claim("b"), NODE)
    with pytest.raises(OSError, match="state"):
        state.add_claim(other)
    with pytest.raises(OSError, match="state"):
        state.remove_claim(CLAIM.uid)
    assert state.claims() == (CLAIM,)


def test_a_schedule_waits_for_its_device_and_comes_back_with_it(
    hosts: dict[str, RecordingHost], tmp_path: Path
) -> None:
    state = _state(hosts, tmp_path)
    state.add_claim(CLAIM)
    gone = hosts.pop("gpu0")
    state.set_schedules([GOOD])
    (known,) = state.schedules()
    assert "no device gpu0; it has gpu1" in known.error
    hosts["gpu0"] = gone
    state.devices_changed()
    (known,) = state.schedules()
    assert known.error == ""
    assert gone.claims == {"a": claim_uid("a"), "b": ""}


@pytest.mark.parametrize("answer", [None, _changed(GOOD, 2, partitions=[partition("c")])])
def test_a_schedule_whose_device_is_away_from_the_start_is_not_forgotten(
    hosts: dict[str, RecordingHost], tmp_path: Path, answer: dict[str, Any] | None
) -> None:
    """The kubelet unprepares a claim meanwhile; the API server answers or not."""
    state = _state(hosts, tmp_path)
    state.set_schedules([GOOD])
    state.add_claim(CLAIM)
    without = _state({}, tmp_path)
    without.restore()
    if answer:
        without.set_schedules([answer])
    without.remove_claim(CLAIM.uid)
    restarted = _state(hosts, tmp_path)
    restarted.restore()
    restarted.devices_changed()
    assert hosts["gpu0"].claims == ({"c": ""} if answer else {"a": "", "b": ""})


def test_a_schedule_whose_device_went_says_so(hosts: dict[str, RecordingHost], tmp_path: Path) -> None:
    state = _state(hosts, tmp_path)
    state.set_schedules([GOOD])
    del hosts["gpu0"]
    state.devices_changed()
    (known,) = state.schedules()
    assert known.applied is not None
    assert "no device gpu0" in known.error
