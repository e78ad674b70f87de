"""Allocated claims are read strictly, and their folders belong to the worker."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from kneescale.agent import cdi, checkpoint
from kneescale.agent.backend import ContainerEdits, Device, Mount
from kneescale.agent.checkpoint import Checkpoint
from kneescale.agent.claims import ClaimFolders, PreparedClaim, check_lanes, parse_allocated_claim
from kneescale.core.errors import InvalidInputError
from tests.agent.builders import LANES, NODE, allocated_claim, schedule

DEVICE = Device("gpu0", "EMU-0", "V100-SXM2-16GB", 16 * 1024**3, 48, 10)


def _without_config(manifest: dict[str, Any]) -> dict[str, Any]:
    manifest["status"]["allocation"]["devices"]["config"] = []
    return manifest


def test_a_claim_says_device_partition_and_lanes() -> None:
    claim = parse_allocated_claim(allocated_claim("lite0-1"), NODE)
    assert (claim.device, claim.partition, claim.lanes, claim.request) == ("gpu0", "lite0-1", LANES, "gpu")
    assert claim.share_id == "5e1f1d0e-2c9f-4a43-9f5e-3a3f3c1f0a11"


def test_a_claim_holds_what_it_consumes_of_the_device() -> None:
    manifest = allocated_claim("a")
    claim = parse_allocated_claim(manifest, NODE)
    assert (claim.memory_bytes, claim.clients) == (0, 1)
    (result,) = manifest["status"]["allocation"]["devices"]["results"]
    result["consumedCapacity"] = {"memory": "6Gi", "clients": "3"}
    claim = parse_allocated_claim(manifest, NODE)
    assert (claim.memory_bytes, claim.clients) == (6 * 1024**3, 3)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (
            allocated_claim("a", driver="other.example.com"),
            "must be allocated one device of gpu.kneesc",
        ),
        (allocated_claim("a", pool="node2"), "is allocated on node node2, this is node node1"),
        (_without_config(allocated_claim("a")), "must have one config for driver"),
        (allocated_claim("a", lanes=[0]), r"config.lanes\[0\] must be between 1 and 100, not 0"),
        (allocated_claim("a", lanes=[]), "config.lanes must have 1 to 100 items"),
        ({"metadata": {"namespace": "d", "name": "a", "uid": "../../etc"}}, "metadata.uid must match"),
        ({"metadata": {"namespace": "d", "name": "a", "uid": "0a"}}, "must be allocated one device"),
    ],
)
def test_any_other_claim_is_refused_in_plain_words(manifest: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        parse_allocated_claim(manifest, NODE)


def test_a_pool_has_a_lane_more_than_once(tmp_path: Path) -> None:
    claim = parse_allocated_claim(allocated_claim("a", lanes=[40, 10, 40]), NODE)
    edits = ClaimFolders(tmp_path, os.getuid()).container_edits(claim, "emulated", DEVICE)
    assert edits.env["KNEESCALE_LANES"] == "10,40,40"


def test_lanes_must_be_the_devices() -> None:
    check_lanes("a", LANES, DEVICE)
    with pytest.raises(InvalidInputError, match="a lane of 33 GPU%; lanes of gpu0 are multiples of 10"):
        check_lanes("a", [10, 33], DEVICE)


def test_nobody_but_the_worker_gets_into_the_folder_and_not_even_it_changes_it(tmp_path: Path) -> None:
    folders = ClaimFolders(tmp_path, os.getuid())
    folders.create("0a")
    folders.create("0a")
    folder = folders.socket_path("0a").parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o710
    assert (folder.stat().st_uid, folder.stat().st_gid) == (os.geteuid(), os.getuid())
    folders.remove("0a")
    folders.remove("0a")
    assert not folder.exists()


def test_a_folder_goes_although_the_dispatcher_takes_its_socket_away_at_that_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = ClaimFolders(tmp_path, os.getuid())
    folders.create("0a")
    folders.socket_path("0a").touch()
    unlink = os.unlink

    def unlink_after_the_dispatcher(path: str | Path, *, dir_fd: int | None = None) -> None:
        unlink(path, dir_fd=dir_fd)
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink_after_the_dispatcher)
    folders.remove("0a")
    assert not folders.socket_path("0a").parent.exists()


def test_the_cdi_spec_carries_variables_and_mount(tmp_path: Path) -> None:
    edits = ContainerEdits({"KNEESCALE_LANES": "10,20"}, (Mount("/host", "/run/kneescale"),))
    cdi.write_spec(tmp_path, "0a", edits)
    cdi.write_spec(tmp_path, "0a", edits)
    (path,) = tmp_path.iterdir()
    spec = json.loads(path.read_text())
    assert spec["cdiVersion"] == "0.6.0"
    (device,) = spec["devices"]
    assert cdi.device_id("0a") == f"{spec['kind']}={device['name']}" == "gpu.kneescale.dev/claim=0a"
    assert device["containerEdits"]["env"] == ["KNEESCALE_LANES=10,20"]
    (mount,) = device["containerEdits"]["mounts"]
    assert (mount["hostPath"], mount["containerPath"]) == ("/host", "/run/kneescale")
    assert "ro" in mount["options"]
    cdi.remove_spec(tmp_path, "0a")
    cdi.remove_spec(tmp_path, "0a")
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state" / "checkpoint.json"
    assert checkpoint.load(path) == Checkpoint()
    claim = parse_allocated_claim(allocated_claim("lite0-1"), NODE)
    saved = Checkpoint((claim,), (schedule([]),))
    checkpoint.save(path, saved)
    assert checkpoint.load(path) == saved
    assert json.loads(path.read_text())["version"] == max(WRITTEN)
    assert [entry.name for entry in path.parent.iterdir()] == ["checkpoint.json"]


#: A checkpoint as each version of the agent wrote it, kept as text: nothing that is renamed changes it.
WRITTEN = {
    1: """{"version": 1, "claims": [{"uid": "0a", "namespace": "default", "name": "lite0-1", "request": "gpu",
    "device": "gpu0", "partition": "lite0-1", "lanes": [10, 20], "shareId": "5e1f"}],
    "schedules": [{"metadata": {"name": "node1-gpu0", "generation": 7}, "spec": {}}]}""",
    2: """{"version": 2, "claims": [{"uid": "0a", "namespace": "default", "name": "lite0-1", "request": "gpu",
    "device": "gpu0", "partition": "lite0-1", "lanes": [10, 20], "shareId": "5e1f", "memoryBytes": 1073741824,
    "clients": 3}], "schedules": [{"metadata": {"name": "node1-gpu0", "generation": 7}, "spec": {}}]}""",
}
#: Memory and clients of its claim, as far as each version kept them.
KEPT = {1: (0, 1), 2: (1 << 30, 3)}


@pytest.mark.parametrize("version", WRITTEN)
def test_a_checkpoint_of_every_version_is_read(tmp_path: Path, version: int) -> None:
    path = tmp_path / "checkpoint.json"
    path.write_text(WRITTEN[version])
    loaded = checkpoint.load(path)
    claim = PreparedClaim(
        "0a", "default", "lite0-1", "gpu", "gpu0", "lite0-1", (10, 20), "5e1f", *KEPT[version]
    )
    assert loaded.claims == (claim,)
    assert [schedule["metadata"]["name"] for schedule in loaded.schedules] == ["node1-gpu0"]


def test_a_checkpoint_of_a_newer_agent_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.json"
    newer = json.dumps({"version": max(WRITTEN) + 1, "claims": {}, "pools": []})
    path.write_text(newer)
    with pytest.raises(InvalidInputError, match=r"written by a newer agent.*run the newer agent again"):
        checkpoint.load(path)
    assert path.read_text() == newer


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"version": 1}', '{"version": 1, "claims": [{}], "schedules": []}']
)
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "checkpoint.json"
    path.write_text(text)
    with pytest.raises(InvalidInputError, match=r"checkpoint\.json"):
        checkpoint.load(path)
