"""Devices are stable in name and uuid, and fit what a ResourceSlice may hold."""

import os

import pytest

from kneescale.agent.cpu import CpuBackend
from kneescale.agent.emulated import EmulatedBackend
from kneescale.core.errors import InvalidInputError

LONG_NODE = "a-node-with-a-name-that-is-longer-than-an-attribute-may-be." * 3


def test_the_cpu_device_is_the_cores_that_we_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {7, 2, 3})
    backend = CpuBackend("node1")
    (device,) = backend.devices()
    assert (device.name, device.uuid, device.lane_percent_step) == ("cpu0", "CPU-node1", 33)
    assert device.product_name.startswith("CPU-3x-")
    assert device.memory_bytes > 0
    assert backend.container_edits(device).env == {"KNEESCALE_CORES": "2,3,7"}


def test_one_core_has_one_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert CpuBackend("node1").devices()[0].lane_percent_step == 100


def test_emulated_gpus_are_numbered() -> None:
    devices = EmulatedBackend("node1", 2, "V100-SXM2-16GB").devices()
    assert [(device.name, device.uuid) for device in devices] == [
        ("gpu0", "EMU-node1-0"),
        ("gpu1", "EMU-node1-1"),
    ]
    assert devices[0].memory_bytes == 16 * 1024**3
    assert devices[0].sm_count == 80


def test_nothing_is_made_up_about_an_unknown_product() -> None:
    with pytest.raises(InvalidInputError, match="must be one of V100-SXM2-16GB, not 'B300'"):
        EmulatedBackend("node1", 2, "B300")


def test_long_node_names_still_give_distinct_uuids_that_fit() -> None:
    uuids = {device.uuid for device in EmulatedBackend(LONG_NODE, 2, "V100-SXM2-16GB").devices()}
    uuids |= {device.uuid for device in EmulatedBackend(LONG_NODE + "x", 2, "V100-SXM2-16GB").devices()}
    assert len(uuids) == 4
    assert all(len(uuid) <= 64 for uuid in uuids)
