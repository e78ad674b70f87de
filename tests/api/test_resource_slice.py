"""Devices as agents publish them."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest

from kneescale.api.resource_slice import GpuDevice, PublishedSlice, parse_resource_slice
from kneescale.core.backends import Backend
from kneescale.core.errors import InvalidInputError
from kneescale.core.tiers import Tier

SLICE = {
    "metadata": {"name": "node1-x"},
    "spec": {
        "driver": "gpu.kneescale.dev",
        "nodeName": "node1",
        "devices": [
            {
                "name": "gpu0",
                "attributes": {
                    "uuid": {"string": "EMU-node1-0"},
                    "productName": {"string": "V100-SXM2-16GB"},
                    "backend": {"string": "emulated"},
                    "tier": {"string": "green-contexts"},
                    "lanePercentStep": {"int": 25},
                },
                "capacity": {"memory": {"value": "16Gi"}, "clients": {"value": "48"}},
            }
        ],
    },
}


def published(obj: Mapping[str, Any]) -> PublishedSlice:
    parsed = parse_resource_slice(obj)
    assert parsed
    return parsed


def test_a_device() -> None:
    (device,) = published(SLICE).devices()
    assert device == GpuDevice(
        node="node1",
        name="gpu0",
        uuid="EMU-node1-0",
        product_name="V100-SXM2-16GB",
        backend=Backend.EMULATED,
        tier=Tier.GREEN_CONTEXTS,
        lane_percent_step=25,
        memory_bytes=16 << 30,
        clients=48,
    )
    assert device.lanes == (25, 50, 75, 100)
    assert device.kind == "emulated V100-SXM2-16GB"


def test_another_drivers_devices_are_not_ours() -> None:
    assert parse_resource_slice({"metadata": {"name": "x"}, "spec": {"driver": "gpu.example.org"}}) is None


@pytest.mark.parametrize(
    ("group", "name", "value", "error"),
    [
        ("attributes", "uuid", None, "device node1/gpu0 has no attribute uuid of type string"),
        ("attributes", "lanePercentStep", {"int": 0}, "lanePercentStep must be between 1 and 100, not 0"),
        (
            "attributes",
            "backend",
            {"string": "tpu"},
            "backend must be one of cpu, emulated, cuda-mps, not 'tpu'",
        ),
        ("capacity", "memory", None, "device node1/gpu0 has no capacity memory"),
        ("capacity", "memory", {"value": "lots"}, "'lots' is no quantity"),
        ("capacity", "clients", {"value": "0"}, "clients must be at least 1, not 0"),
    ],
)
def test_a_device_that_lacks_something_is_refused(group: str, name: str, value: object, error: str) -> None:
    broken = deepcopy(SLICE)
    members = broken["spec"]["devices"][0][group]  # type: ignore[index]
    if value is None:
        del members[name]
    else:
        members[name] = value
    read = published(broken)
    assert read.node == "node1"
    with pytest.raises(InvalidInputError, match=error):
        read.devices()


def test_a_slice_without_a_node_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="nodeName"):
        parse_resource_slice({"metadata": {"name": "x"}, "spec": {"driver": "gpu.kneescale.dev"}})


def test_a_tainted_device_says_what_ails_it() -> None:
    sick = deepcopy(SLICE)
    sick["spec"]["devices"][0]["taints"] = [  # type: ignore[index]
        {"key": "example.org/other", "value": "x", "effect": "NoSchedule"},
        {"key": "gpu.kneescale.dev/sick", "value": "XidError", "effect": "NoSchedule"},
    ]
    assert [device.sickness for device in published(sick).devices()] == ["XidError"]
