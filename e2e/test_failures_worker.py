"""Workers that end or go mad: what clients see, how soon all is well again, and that nothing is left over."""

from collections.abc import Iterator
from functools import partial

import pytest

from e2e import mad_worker
from e2e.clients import tells_of_an_end
from e2e.cluster.faults import Container, usual_back_off
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.leaks import wait_until_tidy
from e2e.recovery import Recovery
from e2e.shop import MOBILENET, STARTED_S, Shop
from e2e.trial import BACK_S, OTHER, a_worker_on_each_gpu, come_through, mobilenet_shop
from harness.wait import let_pass, wait_until

pytestmark = pytest.mark.cluster

TIDY_S = 30.0
#: Six silent seconds, or an agent's report and a deleted pod; then the start of a worker.
HUNG_BACK_S = 20.0
#: Who ran for so long is no container that crashes in a loop.
SERVED_S = 30.0
#: Another pod: deleted, made, started on a busy machine. Worse than once, better than ever longer.
REPLACED_S = 30.0


@pytest.fixture(scope="module")
def shop(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop in which one worker serves MobileNet."""
    with mobilenet_shop(kubectl, tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture(autouse=True)
def tidy(local_cluster: LocalCluster, kubectl: Kubectl, shop: Shop) -> Iterator[None]:
    """After each test the model serves, and nothing is left of what was."""
    yield
    shop.wait_for(MOBILENET, "Ready", "True", STARTED_S)
    wait_until_tidy(local_cluster, kubectl, TIDY_S)


def lives(shop: Shop) -> set[tuple[str, int]]:
    """The uid of each pod whose container was started, and how often it was started again."""
    return {
        (pod["metadata"]["uid"], status["restartCount"])
        for pod in shop.get("pods")["items"]
        for status in pod["status"].get("containerStatuses", [])
    }


def started_again(shop: Shop, before: set[tuple[str, int]]) -> bool:
    return bool(shop.ready_pods()) and not lives(shop) & before


def why_it_ended(shop: Shop) -> str:
    return str(shop.only_pod()["status"]["containerStatuses"][0]["lastState"]["terminated"]["reason"])


def assert_only_the_gone_worker_failed(seen: Recovery) -> None:
    assert [error for error in seen.errors if not tells_of_an_end(error)] == []


def test_a_killed_worker_is_back_within_ten_seconds(local_cluster: LocalCluster, shop: Shop) -> None:
    pod, before = shop.only_pod(), lives(shop)
    kill = Container.of(local_cluster, pod).kill
    seen = come_through(shop, MOBILENET, kill, partial(started_again, shop, before), "a worker is killed")
    assert_only_the_gone_worker_failed(seen)
    assert seen.is_back_within(BACK_S)
    assert shop.only_pod()["metadata"]["uid"] == pod["metadata"]["uid"]


def test_a_worker_that_is_killed_again_and_again_waits_no_longer_than_another_pod_takes(
    local_cluster: LocalCluster, shop: Shop
) -> None:
    pod = shop.only_pod()
    with usual_back_off(local_cluster, Container.of(local_cluster, pod).node):
        for _ in range(2):  # the kubelet starts it at once, and then after 10 s; next it would wait for 20
            before = lives(shop)
            Container.of(local_cluster, shop.only_pod()).kill()
            wait_until(partial(started_again, shop, before), "it serves again", STARTED_S)
            let_pass(SERVED_S)
        before = lives(shop)
        kill = Container.of(local_cluster, shop.only_pod()).kill
        seen = come_through(shop, MOBILENET, kill, partial(started_again, shop, before), "killed once more")
    assert seen.is_back_within(REPLACED_S)
    assert shop.only_pod()["metadata"]["uid"] != pod["metadata"]["uid"]


def test_a_worker_out_of_memory_says_so_and_is_back_within_ten_seconds(
    local_cluster: LocalCluster, kubectl: Kubectl, shop: Shop
) -> None:
    pod, before = shop.only_pod(), lives(shop)
    fill = partial(Container.of(local_cluster, pod).use_up_memory, kubectl, pod)
    seen = come_through(shop, MOBILENET, fill, partial(started_again, shop, before), "a worker lacks memory")
    assert_only_the_gone_worker_failed(seen)
    assert seen.is_back_within(BACK_S)
    assert why_it_ended(shop) == "OOMKilled"


def test_a_hung_worker_is_taken_out_and_started_again(local_cluster: LocalCluster, shop: Shop) -> None:
    pod, before = shop.only_pod(), lives(shop)
    freeze = Container.of(local_cluster, pod).freeze
    seen = come_through(shop, MOBILENET, freeze, partial(started_again, shop, before), "a worker hangs")
    assert seen.is_back_within(HUNG_BACK_S)


def test_a_mad_worker_harms_no_other_on_its_gpu(shop: Shop) -> None:
    victim = shop.only_pod()["metadata"]["name"]
    with a_worker_on_each_gpu(shop):
        shared = [spec for spec in shop.schedules().values() if len(spec["partitions"]) > 1]
        assert victim in {partition["name"] for spec in shared for partition in spec["partitions"]}
        provided_ips = shop.provided_ips(MOBILENET)
        rave = partial(shop.run, "exec", victim, "--", "python", "-c", mad_worker.SOURCE)
        seen = come_through(shop, OTHER, rave, lambda: True, "a worker goes mad")
        assert seen.failed == 0
        assert seen.is_back_within(BACK_S)
        # What it raved of is no traffic: provided for, it would push others off their GPUs.
        assert shop.provided_ips(MOBILENET) <= provided_ips
