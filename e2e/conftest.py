"""Fixtures of the end-to-end tests: Kneescale on a cluster of its own, with emulated GPUs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.cluster.base import Cluster
from e2e.cluster.choice import choose
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.demo.system import Kneescale, write_overlay
from e2e.images import Images, build_images
from e2e.prometheus import Prometheus, watching
from e2e.prometheus import build as build_prometheus
from e2e.shop import MOBILENET, STARTED_S, Shop, imported_profile, inference_model, opened
from harness import cache
from harness.progress import Progress
from harness.runner import Shell

REAL_MODEL = "silero-vad"
POLICY = "SpatioTemporal"


@pytest.fixture(scope="session")
def images() -> Images:
    """The images of this state of the source, and of a real model."""
    return build_images(Progress(), [REAL_MODEL])


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Tell who runs the tests something at once, though pytest captures all output."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def say(text: str) -> None:
        with capture.global_and_fixture_disabled():
            Progress().note(text)

    return say


@pytest.fixture(scope="session")
def bare_cluster(images: Images, say: Callable[[str], None]) -> Iterator[Cluster]:
    """Two nodes with the images; down again at the end."""
    # One run of the tests at a time has it; another one on this machine waits here.
    with cache.lock(cache.home() / "e2e-run", on_wait=say):
        cluster = choose("local", "e2e")
        cluster.up()
        try:
            cluster.load_images(images.archives)
            yield cluster
        finally:
            cluster.down()


@pytest.fixture(scope="session")
def install(
    bare_cluster: Cluster, images: Images, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], None]:
    """Installs Kneescale for a backend, in place of another one."""
    refs = images.manifest_refs(bare_cluster.image_ref)

    def install_for(backend: str) -> None:
        overlay = tmp_path_factory.mktemp("overlay")
        write_overlay(overlay, backend, refs, POLICY)
        Kneescale(_kubectl(bare_cluster)).install(overlay)

    return install_for


@pytest.fixture(scope="session")
def cluster(bare_cluster: Cluster, install: Callable[[str], None]) -> Cluster:
    """The cluster with two emulated GPUs on each node."""
    install("emulated")
    return bare_cluster


@pytest.fixture(scope="session")
def prometheus_program() -> Path:
    """Prometheus, built before a cluster waits for it."""
    return build_prometheus(Shell(), Progress())


@pytest.fixture(scope="session")
def local_cluster(cluster: Cluster) -> LocalCluster:
    """The same cluster, whose nodes and control plane can be harmed."""
    assert isinstance(cluster, LocalCluster)
    return cluster


@pytest.fixture(scope="session")
def kubectl(cluster: Cluster) -> Kubectl:
    """The administrator's kubectl."""
    return _kubectl(cluster)


@pytest.fixture(scope="module")
def shop(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop in which one worker serves MobileNet; each test leaves it serving."""
    with opened(kubectl, tmp_path_factory.mktemp("shop")) as shop:
        shop.apply(imported_profile("mobilenet_v2"), inference_model("mobilenet_v2"))
        shop.wait_for(MOBILENET, "Ready", "True", STARTED_S)
        yield shop


@pytest.fixture(scope="module")
def prometheus(
    prometheus_program: Path, kubectl: Kubectl, shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """Prometheus, which finds what serves the shop's model."""
    with watching(prometheus_program, kubectl.kubeconfig, tmp_path_factory.mktemp("prometheus")) as server:
        yield server


def _kubectl(cluster: Cluster) -> Kubectl:
    return Kubectl(cluster.kubectl, cluster.kubeconfig, Shell())
