"""A claim's CDI file holds what its containers get."""

import json
from pathlib import Path

from kneescale.agent.backend import ContainerEdits, Mount
from kneescale.agent.cdi import remove_spec, write_spec
from tests.agent.builders import claim_uid

UID = claim_uid("a")


def test_a_spec_says_which_mounts_may_be_written(tmp_path: Path) -> None:
    mounts = (Mount("/claims/a", "/run/kneescale"), Mount("/mps/pipe", "/tmp/nvidia-mps", writable=True))
    write_spec(tmp_path, UID, ContainerEdits({"A": "b"}, mounts))
    (path,) = tmp_path.glob("*.json")
    (device,) = json.loads(path.read_text())["devices"]
    edits = device["containerEdits"]
    assert edits["env"] == ["A=b"]
    assert [(mount["containerPath"], mount["options"][0]) for mount in edits["mounts"]] == [
        ("/run/kneescale", "ro"),
        ("/tmp/nvidia-mps", "rw"),
    ]
    assert all({"nosuid", "nodev", "noexec"} <= set(mount["options"]) for mount in edits["mounts"])
    remove_spec(tmp_path, UID)
    assert not list(tmp_path.iterdir())


def test_a_file_that_was_half_written_goes_with_its_claim(tmp_path: Path) -> None:
    write_spec(tmp_path, UID, ContainerEdits({"A": "b"}))
    (path,) = tmp_path.iterdir()
    path.rename(tmp_path / f".{path.name}.tmp")  # as a kill between the two steps leaves it
    remove_spec(tmp_path, UID)
    assert not list(tmp_path.iterdir())


def test_edits_add_up() -> None:
    ours = ContainerEdits({"A": "1", "B": "1"}, (Mount("/x", "/y"),))
    theirs = ContainerEdits({"B": "2"}, (), ("nvidia.com/gpu=GPU-1",))
    assert ours.plus(theirs) == ContainerEdits(
        {"A": "1", "B": "2"}, (Mount("/x", "/y"),), ("nvidia.com/gpu=GPU-1",)
    )
