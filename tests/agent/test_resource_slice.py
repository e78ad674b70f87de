"""The ResourceSlice is created once, corrected when touched, and left alone otherwise."""

import json
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from kneescale.agent.cluster_api import ClusterError
from kneescale.agent.emulated import EmulatedBackend
from kneescale.agent.resource_slice import SlicePublisher
from kneescale.api.resource_slice import GpuDevice, parse_resource_slice
from kneescale.core.tiers import Tier
from tests.agent.builders import NODE
from tests.agent.fake_cluster_api import FakeClusterApi
from tests.waiting import wait_until

NAME = f"{NODE}-gpu.kneescale.dev"


@pytest.fixture
def api() -> FakeClusterApi:
    return FakeClusterApi()


@pytest.fixture
def publisher(api: FakeClusterApi, tmp_path: Path) -> SlicePublisher:
    return SlicePublisher(api, NODE, EmulatedBackend(NODE, 2, "V100-SXM2-16GB", tmp_path))


def published_by(api: FakeClusterApi) -> tuple[GpuDevice, ...]:
    published = parse_resource_slice(api.slices[NAME])
    assert published
    return published.devices()


def test_a_slice_says_what_the_operator_reads(api: FakeClusterApi, publisher: SlicePublisher) -> None:
    publisher.publish()
    first, second = published_by(api)
    assert (first.name, first.uuid, second.uuid) == ("gpu0", "EMU-node1-0", "EMU-node1-1")
    assert (first.memory_bytes, first.clients, first.tier) == (16 * 1024**3, 48, Tier.GREEN_CONTEXTS)
    assert first.lanes == tuple(range(10, 101, 10))
    (owner,) = api.slices[NAME]["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Node", NODE, "node-uid")


def test_devices_are_shared_and_consumed(api: FakeClusterApi, publisher: SlicePublisher) -> None:
    publisher.publish()
    device: dict[str, Any] = api.slices[NAME]["spec"]["devices"][0]
    assert device["allowMultipleAllocations"] is True
    assert device["capacity"]["memory"] == {
        "value": "16Gi",
        "requestPolicy": {"default": "1Gi", "validRange": {"min": "1Mi", "step": "1Mi"}},
    }


def test_a_true_slice_is_left_alone(api: FakeClusterApi, publisher: SlicePublisher) -> None:
    publisher.publish()
    publisher.publish()
    assert api.writes == ["create"]


@pytest.mark.parametrize("fault", ["XidError", "removed"])
def test_what_the_api_server_adds_or_leaves_out_is_no_difference(
    api: FakeClusterApi, publisher: SlicePublisher, tmp_path: Path, fault: str
) -> None:
    (tmp_path / "emulated-faults.json").write_text(json.dumps({"gpu0": fault, "gpu1": fault}))
    publisher.publish()
    publisher.publish()
    assert api.writes == ["create"]


def test_a_slice_that_somebody_edited_is_corrected_as_a_new_generation(
    api: FakeClusterApi, publisher: SlicePublisher
) -> None:
    publisher.publish()
    api.slices[NAME]["spec"]["devices"].pop()
    publisher.publish()
    spec = api.slices[NAME]["spec"]
    assert (len(spec["devices"]), spec["pool"]["generation"]) == (2, 2)


def test_a_pool_that_lacks_slices_since_somebody_edited_it_is_corrected(
    api: FakeClusterApi, publisher: SlicePublisher
) -> None:
    publisher.publish()
    api.slices[NAME]["spec"]["pool"]["resourceSliceCount"] = 2
    publisher.publish()
    assert api.slices[NAME]["spec"]["pool"] == {"name": NODE, "generation": 2, "resourceSliceCount": 1}


def test_a_slice_of_this_name_in_another_pool_is_made_anew(
    api: FakeClusterApi, publisher: SlicePublisher
) -> None:
    publisher.publish()
    api.slices[NAME]["spec"]["pool"]["name"] = "other"
    publisher.publish()
    assert api.slices[NAME]["spec"]["pool"]["name"] == NODE
    assert api.writes == ["create", "delete", "create"]


def test_a_slice_that_the_kubelet_wiped_comes_back(api: FakeClusterApi, publisher: SlicePublisher) -> None:
    publisher.publish()
    api.slices.clear()
    publisher.publish()
    assert NAME in api.slices


def test_a_device_that_falls_sick_is_tainted_and_a_removed_one_withdrawn(
    api: FakeClusterApi, publisher: SlicePublisher, tmp_path: Path
) -> None:
    stop = Event()
    thread = Thread(target=publisher.run, args=(stop,))
    thread.start()
    try:
        wait_until(lambda: NAME in api.slices, "the slice")
        (tmp_path / "emulated-faults.json").write_text('{"gpu0": "XidError", "gpu1": "removed"}')
        wait_until(lambda: len(api.slices[NAME]["spec"]["devices"]) == 1, "the withdrawal")
    finally:
        stop.set()
        thread.join(10)
    (device,) = published_by(api)
    assert (device.name, device.sickness) == ("gpu0", "XidError")


def test_only_this_drivers_other_slices_are_deleted(api: FakeClusterApi, publisher: SlicePublisher) -> None:
    publisher.publish()
    stale = {**api.slices[NAME], "metadata": {"name": "stale"}}
    api.slices["stale"] = stale
    api.slices["theirs"] = {
        "metadata": {"name": "theirs"},
        "spec": {**stale["spec"], "driver": "gpu.example.com"},
    }
    publisher.publish()
    assert set(api.slices) == {NAME, "theirs"}


def test_without_an_api_server_nothing_is_published(api: FakeClusterApi, publisher: SlicePublisher) -> None:
    api.away = True
    with pytest.raises(ClusterError):
        publisher.publish()
