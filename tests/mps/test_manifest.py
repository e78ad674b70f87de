"""What the daemons' pod must hold for daemons and workers to meet."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from kneescale.agent.settings import Settings
from kneescale.api.names import WORKER_UID
from kneescale.core.backends import Backend
from kneescale.mps.paths import pipe_dir

MANIFEST = Path(__file__).parents[2] / "manifests" / "overlays" / "nvidia" / "mps.yaml"


@pytest.fixture
def daemon_set() -> dict[str, Any]:
    _, loaded = yaml.safe_load_all(MANIFEST.read_text())
    assert isinstance(loaded, dict)
    return loaded


def test_the_daemons_run_as_the_workers_and_with_no_more_rights(daemon_set: dict[str, Any]) -> None:
    pod = daemon_set["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    security = container["securityContext"]
    assert security["runAsUser"] == WORKER_UID
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert pod["automountServiceAccountToken"] is False


def test_no_upgrade_and_no_probe_takes_the_clients_along_unasked(daemon_set: dict[str, Any]) -> None:
    assert daemon_set["spec"]["updateStrategy"] == {"type": "OnDelete"}
    (container,) = daemon_set["spec"]["template"]["spec"]["containers"]
    assert not {"startupProbe", "livenessProbe"} & container.keys()


def test_the_pods_folder_is_the_agents(daemon_set: dict[str, Any]) -> None:
    pod = daemon_set["spec"]["template"]["spec"]
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"]}
    # A socket's path is the same on the host, here and in the workers.
    assert mounts == paths
    assert pipe_dir(Settings("node", Backend.CUDA_MPS).state_dir, "GPU-0").is_relative_to(paths["mps"])
