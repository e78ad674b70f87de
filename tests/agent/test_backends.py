"""Devices are stable in name and uuid, and fit what a ResourceSlice may hold."""

import logging
import os
from pathlib import Path

import pytest

from kneescale.agent.backend import Share
from kneescale.agent.cpu import CpuBackend
from kneescale.agent.emulated import EmulatedBackend
from kneescale.core.errors import InvalidInputError
from kneescale.core.tiers import Tier

LONG_NODE = "a-node-with-a-name-that-is-longer-than-an-attribute-may-be." * 3


def test_the_cpu_device_is_the_cores_that_we_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {7, 2, 3})
    backend = CpuBackend("node1", Tier.GREEN_CONTEXTS)
    (device,) = backend.devices()
    assert (device.name, device.uuid, device.lane_percent_step) == ("cpu0", "CPU-node1", 33)
    assert device.product_name.startswith("CPU-3x-")
    assert device.memory_bytes > 0
    assert backend.container_edits(device, Share("a", 0, 1)).env == {"KNEESCALE_CORES": "2,3,7"}


def test_one_core_has_one_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert CpuBackend("node1", Tier.GREEN_CONTEXTS).devices()[0].lane_percent_step == 100


def test_emulated_gpus_are_numbered(tmp_path: Path) -> None:
    devices = EmulatedBackend("node1", 2, "V100-SXM2-16GB", tmp_path).devices()
    assert [(device.name, device.uuid) for device in devices] == [
        ("gpu0", "EMU-node1-0"),
        ("gpu1", "EMU-node1-1"),
    ]
    assert devices[0].memory_bytes == 16 * 1024**3
    assert devices[0].sm_count == 80


def test_nothing_is_made_up_about_an_unknown_product(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="must be one of V100-SXM2-16GB, not 'B300'"):
        EmulatedBackend("node1", 2, "B300", tmp_path)


def test_long_node_names_still_give_distinct_uuids_that_fit(tmp_path: Path) -> None:
    backends = [EmulatedBackend(name, 2, "V100-SXM2-16GB", tmp_path) for name in (LONG_NODE, LONG_NODE + "x")]
    uuids = {device.uuid for backend in backends for device in backend.devices()}
    assert len(uuids) == 4
    assert all(len(uuid) <= 64 for uuid in uuids)


@pytest.fixture
def emulated(tmp_path: Path) -> EmulatedBackend:
    return EmulatedBackend("node1", 2, "V100-SXM2-16GB", tmp_path)


def _sicknesses(backend: EmulatedBackend) -> dict[str, str]:
    return {device.name: device.sickness for device in backend.devices()}


def test_emulated_faults_come_and_go_with_their_file(emulated: EmulatedBackend, tmp_path: Path) -> None:
    assert _sicknesses(emulated) == {"gpu0": "", "gpu1": ""}
    faults = tmp_path / "emulated-faults.json"
    faults.write_text('{"gpu0": "XidError", "gpu1": "removed"}')
    assert _sicknesses(emulated) == {"gpu0": "XidError"}
    assert [trouble.reason for trouble in emulated.troubles()] == ["GpuRemoved"]
    faults.unlink()
    assert _sicknesses(emulated) == {"gpu0": "", "gpu1": ""}
    assert emulated.troubles() == ()


@pytest.mark.parametrize("text", ["{", "[]", '{"gpu0": 1}', '{"gpu0": "no word"}'])
def test_a_file_of_faults_that_makes_no_sense_is_said_once_and_harms_nothing(
    emulated: EmulatedBackend, tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "emulated-faults.json").write_text(text)
    with caplog.at_level(logging.WARNING):
        assert _sicknesses(emulated) == _sicknesses(emulated) == {"gpu0": "", "gpu1": ""}
    (record,) = caplog.records
    assert "emulated-faults.json" in record.getMessage()


def test_a_tier_can_be_forced_where_it_is_imitated(tmp_path: Path) -> None:
    backend = EmulatedBackend("node1", 1, "V100-SXM2-16GB", tmp_path, Tier.MPS_PROCESSES)
    assert [device.tier for device in backend.devices()] == [Tier.MPS_PROCESSES]
    assert CpuBackend("node1", Tier.MPS_CONTEXTS).devices()[0].tier is Tier.MPS_CONTEXTS


def test_an_emulated_gpu_in_sm_partitions_has_as_many_clients_as_chunks(tmp_path: Path) -> None:
    (device,) = EmulatedBackend("node1", 1, "V100-SXM2-16GB", tmp_path, Tier.SM_PARTITIONS).devices()
    assert (device.sm_count, device.clients) == (80, 20)
