"""GPUs that fail: what clients of their models see, what the admin is told, and that nothing is left over."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack

import pytest

from e2e.clients import tells_of_an_end
from e2e.cluster.faults import Container
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.cluster.node import Node
from e2e.gpus import CONTEXTS_LOST, REMOVED, Gpu, ailing, gpus_ready, told
from e2e.leaks import wait_until_tidy
from e2e.shop import MOBILENET, STARTED_S, Shop
from e2e.trial import BACK_S, a_worker_on_each_gpu, come_through, mobilenet_shop
from harness.wait import wait_until
from kneescale.api.names import TAINT

pytestmark = pytest.mark.cluster

#: A worker that moved has 30 s to end.
TIDY_S = 60.0
TOLD_S = 10.0
#: A worker starts elsewhere from nothing, or all workers of a GPU start on the one core of their node.
STARTS_S = 30.0
#: Afterwards it is looked on for so long, that a few late answers on that core do not decide.
AFTER_STARTS_S = 20.0


@pytest.fixture(scope="module")
def shop(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop in which one worker serves MobileNet."""
    with mobilenet_shop(kubectl, tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture(autouse=True)
def tidy(local_cluster: LocalCluster, kubectl: Kubectl, shop: Shop) -> Iterator[None]:
    """After each test the model serves, all GPUs are well, and nothing is left of what was."""
    yield
    one_serves = lambda: len(shop.ready_pods()) == 1 and shop.swapped(())  # noqa: E731
    wait_until(one_serves, "one worker serves", STARTED_S)
    wait_until(lambda: all_gpus_ready(local_cluster, kubectl), "all GPUs are well", TOLD_S)
    wait_until_tidy(local_cluster, kubectl, TIDY_S)


def all_gpus_ready(cluster: LocalCluster, kubectl: Kubectl) -> bool:
    return all(gpus_ready(kubectl, node)["reason"] == "AllReady" for node in cluster.nodes())


@pytest.fixture
def faults() -> Iterator[ExitStack]:
    """Faults that end with the test."""
    with ExitStack() as faults:
        yield faults


def gpu_of_the_worker(cluster: LocalCluster, shop: Shop) -> Gpu:
    return Gpu.of(cluster, shop, shop.only_pod()["metadata"]["name"])


def test_lost_contexts_restart_all_workers_of_their_gpu_and_no_other(
    local_cluster: LocalCluster, kubectl: Kubectl, shop: Shop, faults: ExitStack
) -> None:
    gpu = gpu_of_the_worker(local_cluster, shop)
    with a_worker_on_each_gpu(shop):
        before, events = shop.restarts(), told(kubectl, gpu.node, "ContextsLost")
        lost = {worker for worker in before if Gpu.of(local_cluster, shop, worker) == gpu}
        after = {worker: count + (worker in lost) for worker, count in before.items()}
        seen = come_through(
            shop,
            MOBILENET,
            lambda: faults.enter_context(gpu.ailing(CONTEXTS_LOST)),
            lambda: shop.restarts() == after and shop.ready_pods() == set(after),
            f"a GPU's contexts are lost, {len(lost)} workers'",
            after_s=AFTER_STARTS_S,
        )
        assert len(lost) == 2
        assert [error for error in seen.errors if not tells_of_an_end(error)] == []
        assert seen.is_back_within(STARTS_S)
        assert shop.restarts() == after, "once"
    (note,) = told(kubectl, gpu.node, "ContextsLost")[len(events) :]
    assert f"all workers of device {gpu.name} lost their GPU contexts and are restarted" in note
    assert "a fault on the GPU took this worker's context" in shop.events_of(MOBILENET)["WorkerFailed"]


def test_the_model_of_a_sick_gpu_moves_and_no_request_is_lost(
    local_cluster: LocalCluster, kubectl: Kubectl, shop: Shop, faults: ExitStack
) -> None:
    gpu, old = gpu_of_the_worker(local_cluster, shop), shop.uids("pods").keys()
    seen = come_through(
        shop,
        MOBILENET,
        lambda: faults.enter_context(gpu.ailing("XidError")),
        lambda: shop.swapped(old),
        "a GPU is sick",
    )
    assert seen.failed == 0
    assert seen.is_back_within(STARTS_S)
    assert gpu_of_the_worker(local_cluster, shop) != gpu
    (taint,) = gpu.published(kubectl)["taints"]
    assert (taint["key"], taint["value"], taint["effect"]) == (TAINT, "XidError", "NoSchedule")
    says_of_one_left_out(kubectl, gpu, f"{gpu.name} is sick (XidError)")
    assert f"{gpu.node.name}/{gpu.name} is sick (XidError)" in shop.events_of(MOBILENET)["Moving"]


def says_of_one_left_out(kubectl: Kubectl, gpu: Gpu, what: str) -> None:
    condition = gpus_ready(kubectl, gpu.node)
    assert (condition["status"], condition["reason"]) == ("True", "SomeLeftOut")
    assert what in condition["message"]
    assert what in told(kubectl, gpu.node, "SomeLeftOut")[-1]


def ecc_errors(node: Node) -> AbstractContextManager[None]:
    return ailing(node, dict.fromkeys(("gpu0", "gpu1"), "EccError"))


def test_where_every_gpu_is_sick_a_model_stays_and_says_why(
    local_cluster: LocalCluster, kubectl: Kubectl, shop: Shop, faults: ExitStack
) -> None:
    gpu, workers = gpu_of_the_worker(local_cluster, shop), shop.uids("pods")
    others = [node for node in local_cluster.nodes() if node != gpu.node]

    def says_why() -> bool:
        placed = shop.condition(MOBILENET, "Placed")
        return placed.get("reason") == "InsufficientGPU" and "is sick (EccError)" in placed["message"]

    with ExitStack() as elsewhere:
        for node in others:
            elsewhere.enter_context(ecc_errors(node))
        told_of = lambda: all("taints" in Gpu(node, "gpu0").published(kubectl) for node in others)  # noqa: E731
        wait_until(told_of, "no other node takes its model", TOLD_S)
        seen = come_through(
            shop,
            MOBILENET,
            lambda: faults.enter_context(ecc_errors(gpu.node)),
            says_why,
            "every GPU is sick",
        )
        assert seen.failed == 0
        assert seen.is_back_within(BACK_S)
        assert shop.uids("pods") == workers
        condition = gpus_ready(kubectl, gpu.node)
        assert (condition["status"], condition["reason"]) == ("False", "EccError")
        faults.close()
        # Were another well before it, the model would rightly move there.
        wait_until(lambda: "taints" not in gpu.published(kubectl), "its GPU is well first", TOLD_S)


@pytest.mark.parametrize("takes_its_worker", [False, True], ids=["alone", "with its worker"])
def test_the_model_of_a_gpu_that_is_removed_comes_back_on_another(
    local_cluster: LocalCluster, kubectl: Kubectl, shop: Shop, faults: ExitStack, takes_its_worker: bool
) -> None:
    gpu, old = gpu_of_the_worker(local_cluster, shop), shop.uids("pods").keys()
    container = Container.of(local_cluster, shop.only_pod())

    def remove() -> None:
        faults.enter_context(gpu.ailing(REMOVED))
        if takes_its_worker:  # as a real one does, whose every call to CUDA fails then
            container.kill()

    end = "and its worker ends" if takes_its_worker else "and its worker runs on"
    seen = come_through(shop, MOBILENET, remove, lambda: shop.swapped(old), f"a GPU is removed, {end}")
    assert [error for error in seen.errors if not tells_of_an_end(error)] == []
    assert takes_its_worker or seen.failed == 0
    assert takes_its_worker or "its GPU is gone" in shop.events_of(MOBILENET)["Moving"]
    assert seen.is_back_within(STARTS_S)
    assert gpu_of_the_worker(local_cluster, shop) != gpu
    assert gpu.published(kubectl) is None
    says_of_one_left_out(kubectl, gpu, f"{gpu.name} is removed")
    wait_until_tidy(local_cluster, kubectl, TIDY_S)
    faults.close()
    wait_until(lambda: gpu.published(kubectl) is not None, "it is back", TOLD_S)
    with a_worker_on_each_gpu(shop):
        here = {Gpu.of(local_cluster, shop, worker) for worker in shop.uids("pods")}
        assert gpu in here, "and is used again"
