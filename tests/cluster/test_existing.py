"""The cluster of the current context is used, and left as it is."""

import io
import json
from pathlib import Path

import pytest

from e2e import oci
from e2e.cluster.base import ClusterError
from e2e.cluster.existing import ExistingCluster
from harness.progress import Progress
from tests.cluster.recording_runner import RecordingRunner

READY = {"metadata": {"name": "n1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}


@pytest.fixture(autouse=True)
def kubectl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ExistingCluster, "kubectl", Path("/bin/kubectl"))


def _cluster(runner: RecordingRunner, registry: str | None = None) -> ExistingCluster:
    return ExistingCluster("theirs", runner, Progress(io.StringIO()), registry)


def test_up_keeps_to_the_context_that_was_current(cache_home: Path) -> None:
    runner = RecordingRunner(
        answers={"config view": "the context", "get nodes": json.dumps({"items": [READY]})}
    )
    cluster = _cluster(runner)
    cluster.up()
    assert cluster.kubeconfig.read_text() == "the context"
    assert cluster.kubeconfig.stat().st_mode & 0o077 == 0
    assert f"--kubeconfig={cluster.kubeconfig}" in runner.commands[-1]


def test_no_context_and_no_answer_are_told_apart() -> None:
    with pytest.raises(ClusterError, match="no current context"):
        _cluster(RecordingRunner(failing=["config view"])).up()
    with pytest.raises(ClusterError, match="does not answer"):
        _cluster(RecordingRunner(failing=["get nodes"])).up()


def test_down_asks_nothing_of_the_cluster() -> None:
    runner = RecordingRunner(
        answers={"config view": "the context", "get nodes": json.dumps({"items": [READY]})}
    )
    cluster = _cluster(runner)
    cluster.up()
    before = list(runner.commands)
    cluster.down()
    assert runner.commands == before
    assert not cluster.kubeconfig.exists()


def test_images_need_a_registry(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    oci.write_image(tmp_path / "a.tar", "localhost/kneescale/worker:abc", {"/file": tmp_path / "file"})

    with pytest.raises(ClusterError, match="KNEESCALE_REGISTRY"):
        _cluster(RecordingRunner()).load_images([tmp_path / "a.tar"])

    runner = RecordingRunner()
    cluster = _cluster(runner, "registry.example.org/team")
    cluster.load_images([tmp_path / "a.tar"])
    assert cluster.image_ref("localhost/kneescale/worker:abc") == "registry.example.org/team/worker:abc"
    assert runner.commands[-1].endswith(
        "push localhost/kneescale/worker:abc docker://registry.example.org/team/worker:abc"
    )
