"""What an admin is told of a model, from the objects of a cluster."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kneescale.cli.main import main
from kneescale.plan.what_if import outcome_now
from tests.plan.cluster import emulated_world, model
from tests.plan.cluster_life import settle
from tests.plan.world import World


@pytest.fixture
def world() -> World:
    world = emulated_world(gpus=1)
    world.create(model("resnet50", scaling={"minReplicas": 1, "maxReplicas": 2}))
    settle(world)
    return world


@pytest.fixture
def objects(world: World, tmp_path: Path) -> Path:
    file = tmp_path / "objects.json"
    file.write_text(json.dumps({"kind": "List", "items": list(world.objects.values())}))
    return file


Explain = Callable[..., str]


@pytest.fixture
def explain(objects: Path, capsys: pytest.CaptureFixture[str]) -> Explain:
    def run(*arguments: str, expected: int = 0) -> str:
        status = main(["explain", *arguments, "--objects", str(objects)])
        seen = capsys.readouterr()
        assert status == expected
        return seen.err if expected else seen.out

    return run


def test_it_says_what_was_asked_decided_and_why(explain: Explain) -> None:
    told = explain("resnet50")
    assert "99 % of requests within 100 ms, at least 50 items/s to be provided for; 1 to 2 replicas" in told
    assert "knee at 40 GPU%" in told
    assert "highest efficacy" in told
    assert "node1/gpu0" in told
    for condition in ("Accepted", "Profiled", "Placed", "Ready", "SLOMet", "Scaled"):
        assert condition in told


def test_one_replica_is_no_plural(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world.create(model("resnet18", scaling={"minReplicas": 1, "maxReplicas": 1}))
    file = tmp_path / "objects.json"
    file.write_text(json.dumps({"kind": "List", "items": list(world.objects.values())}))
    assert main(["explain", "resnet18", "--objects", str(file)]) == 0
    assert "; 1 replica\n" in capsys.readouterr().out


def test_it_asks_the_plan_what_would_change_it(explain: Explain) -> None:
    found = json.loads(explain("resnet50", "--output", "json"))
    by_change = {each["change"]: each for each in found["whatIf"]}
    assert found["now"]["placed"] == "Placed"
    assert by_change["twice the traffic (100 items/s)"]["batch"] > found["now"]["batch"]
    assert by_change["twice the SLO (200 ms)"]["batch"] > found["now"]["batch"]
    assert by_change["maxReplicas 3"]["replicas"] == 1


def test_workers_that_serve_stay_where_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = emulated_world(gpus=1)
    # There is no room for two of it.
    world.create(model("resnet50", gpu={"memory": "9Gi"}))
    settle(world)
    file = tmp_path / "objects.json"
    file.write_text(json.dumps({"kind": "List", "items": list(world.objects.values())}))
    assert main(["explain", "resnet50", "--output", "json", "--objects", str(file)]) == 0
    now = json.loads(capsys.readouterr().out)["now"]
    by_the_operator = outcome_now(world.observe(), ("default", "resnet50"), world.settings)
    assert (now["placed"], now["message"]) == ("Placed", by_the_operator.message)


def test_it_says_when_one_more_gpu_would_do(world: World, objects: Path, explain: Explain) -> None:
    world.edit("InferenceModel", "resnet50", lambda spec: spec.update(expectedRequestsPerSecond=2500))
    settle(world)
    objects.write_text(json.dumps({"kind": "List", "items": list(world.objects.values())}))
    found = json.loads(explain("resnet50", "--output", "json"))
    assert found["now"]["placed"] == "InsufficientGPU"
    by_change = {each["change"]: each for each in found["whatIf"]}
    more = by_change["one more emulated V100-SXM2-16GB"]
    assert (more["placed"], more["replicas"]) == ("Placed", 2)


def test_a_model_that_is_not_there_is_one_line(explain: Explain) -> None:
    told = explain("resnet51", expected=2)
    assert told == "kneescale: there is no InferenceModel default/resnet51; there is default/resnet50\n"


@pytest.mark.parametrize("content", ["{", "[]", '{"kind": "Pod"}', "[" * 100_000, '{"items": null}'])
def test_what_kubectl_did_not_write_is_one_line(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wrong.json"
    file.write_text(content)
    assert main(["explain", "resnet50", "--objects", str(file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"kneescale: {file}")


@pytest.mark.parametrize(
    ("item", "fault"),
    [
        (None, "is not an object with a kind"),
        ("x", "is not an object with a kind"),
        ({"kind": [1]}, "is not an object with a kind"),
        ({"kind": "Pod"}, "(Pod) has no metadata with a name"),
        ({"kind": "InferenceModel"}, "(InferenceModel) has no metadata with a name"),
        ({"kind": "Pod", "metadata": []}, "(Pod) has no metadata with a name"),
        ({"kind": "Pod", "metadata": {"name": 5}}, "(Pod) has no metadata with a name"),
        ({"kind": "Pod", "metadata": {"name": "p", "labels": [1]}}, "(Pod p): labels must be an object"),
    ],
)
def test_an_item_that_is_no_object_is_one_line(
    item: object, fault: str, objects: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listing = json.loads(objects.read_text())
    listing["items"].insert(1, item)
    objects.write_text(json.dumps(listing))
    assert main(["explain", "resnet50", "--objects", str(objects)]) == 2
    assert capsys.readouterr().err == f"kneescale: {objects}: items[1] {fault}\n"


def test_without_kubectl_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["explain", "resnet50"]) == 2
    assert "kubectl is not on the PATH" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "mode", "fault"),
    [
        ("#!/bin/sh\n", 0o644, "kubectl: Permission denied"),
        ("no program\n", 0o755, "kubectl: Exec format error"),
        ("#!/bin/sh\necho you are not logged in\n", 0o755, "kubectl gave no JSON"),
        ("#!/bin/sh\nprintf '\\377'\n", 0o755, "kubectl gave no JSON"),
    ],
)
def test_a_kubectl_that_is_none_is_one_line(
    script: str,
    mode: int,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(script)
    kubectl.chmod(mode)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["explain", "resnet50"]) == 2
    assert capsys.readouterr().err == f"kneescale: {fault}\n"
