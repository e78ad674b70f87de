"""Nodes and the control plane that go away: who serves meanwhile, and that all is found again."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from e2e.cluster.faults import cut_off, reboot, restart_kubelet, without_control_plane
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.cluster.node import Node
from e2e.leaks import wait_until_tidy
from e2e.shop import MOBILENET, STARTED_S, Shop, imported_profile, inference_model, opened
from e2e.trial import BACK_S, SLO, come_through
from harness.wait import let_pass, wait_until

pytestmark = pytest.mark.cluster

TIDY_S = 60.0
#: Longer than all that gives up or asks again after a while: a node's lease (50 s), the agent's watch (30 s
#: between two tries at the most). Only what takes longer, an agent's token (an hour), would tell a longer
#: absence from this one.
AWAY_S = 60.0
#: By when requests come through again (docs/failures.md: 51 s and 1.7 s), on a machine that is busy besides.
CUT_OFF_BACK_S = 90.0
REBOOTED_BACK_S = 15.0


@pytest.fixture(scope="module")
def shop(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop in which two workers serve MobileNet, one on each node."""
    with opened(kubectl, tmp_path_factory.mktemp("shop")) as shop:
        scaling = {"minReplicas": 2, "maxReplicas": 2}
        shop.apply(
            imported_profile("mobilenet_v2"), inference_model("mobilenet_v2", slo=SLO, scaling=scaling)
        )
        shop.wait_for(MOBILENET, "Ready", "True", STARTED_S)
        wait_until(lambda: nodes_that_serve(shop) == {"node1", "node2"}, "both nodes serve", STARTED_S)
        yield shop


@pytest.fixture(autouse=True)
def tidy(local_cluster: LocalCluster, kubectl: Kubectl, shop: Shop) -> Iterator[None]:
    """After each test both nodes serve, from the same claims, and nothing is left over."""
    claims = shop.uids("resourceclaims")
    yield
    wait_until(lambda: nodes_that_serve(shop) == {"node1", "node2"}, "both nodes serve", STARTED_S)
    wait_until_tidy(local_cluster, kubectl, TIDY_S)
    assert shop.uids("resourceclaims") == claims


@pytest.fixture
def node2(local_cluster: LocalCluster) -> Node:
    """The node through which this machine does not reach the Services."""
    return local_cluster.nodes()[1]


def nodes_that_serve(shop: Shop) -> set[str]:
    """The nodes with a worker that is ready and that its agent knows."""
    ready = shop.ready_pods()
    known = {
        partition["name"]
        for schedule in shop.get("gpuschedules")["items"]
        for partition in schedule.get("status", {}).get("partitions", [])
        if partition["state"] == "Serving"
    }
    return {
        pod["spec"]["nodeName"]
        for pod in shop.get("pods")["items"]
        if pod["metadata"]["name"] in ready & known
    }


def containers_on(shop: Shop, node: Node) -> set[str]:
    """The containers of the workers on a node."""
    return {
        status["containerID"]
        for pod in shop.get("pods")["items"]
        if pod["spec"]["nodeName"] == node.name
        for status in pod["status"]["containerStatuses"]
    }


def slices(kubectl: Kubectl) -> dict[str, str]:
    """The uid of each node's ResourceSlice."""
    items = json.loads(kubectl.run("get", "resourceslices", "-o=json"))["items"]
    return {item["spec"]["nodeName"]: item["metadata"]["uid"] for item in items}


def test_a_restarted_kubelet_costs_no_request_and_no_claim(
    local_cluster: LocalCluster, kubectl: Kubectl, shop: Shop, node2: Node
) -> None:
    workers, before = shop.uids("pods"), slices(kubectl)
    seen = come_through(
        shop,
        MOBILENET,
        partial(restart_kubelet, local_cluster, node2),
        # A kubelet that starts removes its node's slices; the agent publishes them again.
        lambda: slices(kubectl).get("node2", before["node2"]) != before["node2"],
        "a kubelet is restarted",
    )
    assert seen.failed == 0
    assert seen.is_back_within(BACK_S)
    assert shop.uids("pods") == workers


def test_without_the_control_plane_requests_are_answered_as_ever(
    local_cluster: LocalCluster, kubectl: Kubectl, shop: Shop
) -> None:
    workers = shop.uids("pods")

    def away() -> None:
        with without_control_plane(local_cluster, kubectl):
            let_pass(AWAY_S)

    seen = come_through(
        shop,
        MOBILENET,
        away,
        lambda: nodes_that_serve(shop) == {"node1", "node2"},
        "the control plane is away",
        STARTED_S,
    )
    assert seen.failed == 0
    assert seen.is_back_within(BACK_S)
    assert shop.uids("pods") == workers


def test_the_other_node_serves_while_one_is_cut_off(
    local_cluster: LocalCluster, shop: Shop, node2: Node
) -> None:
    workers = shop.uids("pods")
    with ExitStack() as stack:
        seen = come_through(
            shop,
            MOBILENET,
            lambda: stack.enter_context(cut_off(local_cluster, node2)),
            lambda: nodes_that_serve(shop) == {"node1"},
            "a node is cut off",
            STARTED_S,
        )
    assert seen.failed <= seen.sent / 2, "the other node serves"
    assert seen.is_back_within(CUT_OFF_BACK_S)
    wait_until(lambda: nodes_that_serve(shop) == {"node1", "node2"}, "both serve again", STARTED_S)
    assert shop.uids("pods") == workers


def test_a_rebooted_node_serves_again_from_its_checkpoint(
    local_cluster: LocalCluster, shop: Shop, node2: Node
) -> None:
    workers, before = shop.uids("pods"), containers_on(shop, node2)
    seen = come_through(
        shop,
        MOBILENET,
        partial(reboot, local_cluster, node2),
        lambda: (
            before.isdisjoint(containers_on(shop, node2)) and nodes_that_serve(shop) == {"node1", "node2"}
        ),
        "a node is rebooted",
        STARTED_S,
    )
    assert seen.failed <= seen.sent / 2, "the other node serves"
    assert seen.is_back_within(REBOOTED_BACK_S)
    assert shop.uids("pods") == workers
