"""What the harness asks of kind."""

import io
import json
from pathlib import Path

import pytest

from e2e.cluster.base import ClusterError
from e2e.cluster.kind import KindCluster
from harness.progress import Progress
from tests.cluster.recording_runner import RecordingRunner

NODES = json.dumps(
    {
        "items": [
            {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
            for name in ("demo-control-plane", "demo-worker", "demo-worker2")
        ]
    }
)


@pytest.fixture(autouse=True)
def programs(cache_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind program that is there already, and a kubectl."""
    monkeypatch.setattr(KindCluster, "_program", Path("/bin/kind"))
    monkeypatch.setattr(KindCluster, "kubectl", Path("/bin/kubectl"))


def _cluster(runner: RecordingRunner) -> KindCluster:
    return KindCluster("demo", runner, Progress(io.StringIO()))


def test_up_creates_a_cluster_of_two_workers_with_a_kubeconfig_of_its_own(cache_home: Path) -> None:
    runner = RecordingRunner(answers={"get nodes": NODES})
    _cluster(runner).up()

    folder = cache_home / "kind" / "demo"
    (created,) = runner.ran("kind create cluster")
    assert created == (
        f"kind create cluster --name=demo --config={folder}/config.json --kubeconfig={folder}/kubeconfig"
        " --wait=180s"
    )
    roles = [node["role"] for node in json.loads((folder / "config.json").read_text())["nodes"]]
    assert roles == ["control-plane", "worker", "worker"]


def test_a_healthy_cluster_is_kept(cache_home: Path) -> None:
    runner = RecordingRunner(answers={"get clusters": "other\ndemo\n", "get nodes": NODES})
    kubeconfig = cache_home / "kind" / "demo" / "kubeconfig"
    kubeconfig.parent.mkdir(parents=True)
    kubeconfig.touch()
    _cluster(runner).up()
    assert runner.ran("kind create") == runner.ran("kind delete") == []


def test_a_half_started_cluster_is_replaced() -> None:
    runner = RecordingRunner(answers={"get clusters": "demo\n", "get nodes": NODES})
    _cluster(runner).up()
    steps = [command.split(" --")[0] for command in runner.commands]
    assert steps.index("kind delete cluster") < steps.index("kind create cluster")


def test_a_failed_start_is_taken_down(cache_home: Path) -> None:
    runner = RecordingRunner(failing=["kind create"])
    with pytest.raises(ClusterError, match=r"kind could not start a cluster: .*refused"):
        _cluster(runner).up()
    assert runner.commands[-1].startswith("kind delete cluster --name=demo")
    assert not (cache_home / "kind" / "demo").exists()


def test_images_are_loaded_from_their_archives() -> None:
    runner = RecordingRunner()
    _cluster(runner).load_images([Path("/images/a.tar"), Path("/images/b.tar")])
    assert runner.commands == [f"kind load image-archive /images/{name}.tar --name=demo" for name in "ab"]
