"""Which cluster is chosen."""

import pytest

from e2e.cluster.base import ClusterError
from e2e.cluster.choice import choose
from e2e.cluster.existing import ExistingCluster
from e2e.cluster.kind import KindCluster
from e2e.cluster.local import LocalCluster
from tests.cluster.recording_runner import RecordingRunner


def test_kind_where_a_docker_engine_answers() -> None:
    assert isinstance(choose(runner=RecordingRunner(answers={"docker version": "28.2.2"})), KindCluster)


def test_local_where_no_docker_engine_answers() -> None:
    assert isinstance(choose(runner=RecordingRunner(failing=["docker version"])), LocalCluster)


@pytest.mark.parametrize(
    ("kind", "implementation"),
    [("local", LocalCluster), ("kind", KindCluster), ("existing", ExistingCluster)],
)
def test_a_named_kind_is_taken_without_asking_docker(kind: str, implementation: type) -> None:
    runner = RecordingRunner()
    assert isinstance(choose(kind, "mine", runner=runner), implementation)
    assert runner.commands == []


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ClusterError, match="choose one of local, kind, existing"):
        choose("minikube", runner=RecordingRunner())


@pytest.mark.parametrize("name", ["", "Mine", "a/b", "../x", "1st", "x" * 31])
def test_a_name_that_could_not_name_files_and_groups_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="no name for a cluster"):
        choose("local", name, runner=RecordingRunner())
