"""Fixtures of the end-to-end tests: Kneescale on a cluster of its own, with emulated GPUs."""

from collections.abc import Iterator

import pytest

from e2e.cluster.base import Cluster
from e2e.cluster.choice import choose
from e2e.cluster.kubectl import Kubectl
from e2e.demo.system import Kneescale, write_overlay
from e2e.images import build_images
from e2e.progress import Progress
from e2e.runner import Shell

BACKEND = "emulated"
POLICY = "SpatioTemporal"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes with two emulated GPUs each, on which Kneescale is installed; down again at the end."""
    cluster = choose("local", "e2e")
    images = build_images(Progress())
    cluster.up()
    try:
        cluster.load_images(images.archives)
        overlay = tmp_path_factory.mktemp("overlay")
        refs = {
            "kneescale/operator": cluster.image_ref(images.operator.ref),
            "kneescale/worker": cluster.image_ref(images.worker.ref),
        }
        write_overlay(overlay, BACKEND, refs, POLICY)
        Kneescale(_kubectl(cluster)).install(overlay)
        yield cluster
    finally:
        cluster.down()


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Kubectl:
    """The administrator's kubectl."""
    return _kubectl(cluster)


def _kubectl(cluster: Cluster) -> Kubectl:
    return Kubectl(cluster.kubectl, cluster.kubeconfig, Shell())
