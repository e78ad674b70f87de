"""Parts that go away: requests are answered on, and all comes back to where it was."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.clients import failures, steady_load
from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.demo.system import AGENT, NAMESPACE, OPERATOR, Kneescale
from e2e.demo.trace import overcommitted
from e2e.leaks import wait_until_tidy
from e2e.shop import MOBILENET, STARTED_S, Shop, imported_profile, inference_model, opened
from harness.runner import CommandError
from harness.wait import wait_until

pytestmark = pytest.mark.cluster

RATE_RPS = 20
BACK_S = 60.0
#: A model whose requests keep more than one lane busy.
LARGE, LARGE_RPS, ITEMS = "vgg19", 15, 16


@pytest.fixture(autouse=True)
def tidy(local_cluster: LocalCluster, kubectl: Kubectl) -> Iterator[None]:
    """After each test nothing is left over."""
    yield
    # The processes of pods that were deleted by force are still to end.
    wait_until_tidy(local_cluster, kubectl, BACK_S)


def test_without_agents_workers_answer_alone_and_join_the_new_ones(shop: Shop) -> None:
    workers = shop.uids("pods")
    with steady_load(shop, MOBILENET, RATE_RPS) as outcomes:
        kill(shop.kubectl, AGENT)
        wait_until(lambda: granted(shop, MOBILENET), "a new agent grants batches", BACK_S)
    assert failures(outcomes) == []
    assert shop.uids("pods") == workers
    assert restarts(shop) == [0]
    assert shop.condition(MOBILENET, "Ready")["status"] == "True"


def test_without_agents_a_worker_fills_as_many_lanes_as_its_plan(kubectl: Kubectl, tmp_path: Path) -> None:
    slo = {"latencyMilliseconds": 700, "lateRequests": "Refuse"}
    model = inference_model(LARGE, slo=slo, expectedRequestsPerSecond=ITEMS * LARGE_RPS)
    with opened(kubectl, tmp_path) as shop:
        shop.apply(imported_profile(LARGE), model)
        shop.wait_for(LARGE, "Ready", "True", STARTED_S)
        assert lanes_planned(shop) > 1.5
        with steady_load(shop, LARGE, LARGE_RPS, ITEMS) as outcomes:
            kill(kubectl, AGENT)
            wait_until(lambda: granted(shop, LARGE), "a new agent grants batches", BACK_S)
            seen = len(outcomes)
            wait_until(lambda: len(outcomes) > seen + 3 * LARGE_RPS, "it answers", BACK_S)
    assert failures(outcomes) == []


def lanes_planned(shop: Shop) -> float:
    """On how many lanes at once the shop's one worker runs in the mean, by the plan."""
    (planned,) = [
        partition
        for spec in shop.schedules().values()
        for partition in spec["partitions"]
        if partition["namespace"] == shop.name
    ]
    return float(planned["areaPermille"] / planned["gpuPercent"] / 10)


def kill(kubectl: Kubectl, workload: str) -> None:
    """Kill the pods of a part of the system, without a word."""
    selector = f"--selector=app.kubernetes.io/name={workload}"
    kubectl.run(f"--namespace={NAMESPACE}", "delete", "pods", selector, "--grace-period=0", "--force")


def granted(shop: Shop, model: str) -> bool:
    """Whether the agents that run now, whose traces began with them, have granted the model batches."""
    try:
        traces = Kneescale(shop.kubectl).traces(seconds=60)
    except CommandError:  # an agent is not there yet
        return False
    return any(span.model == model for trace in traces for span in trace.spans)


def restarts(shop: Shop) -> list[int]:
    """How often each worker's container was started again."""
    return [pod["status"]["containerStatuses"][0]["restartCount"] for pod in shop.get("pods")["items"]]


def test_an_operator_that_goes_in_the_middle_of_a_swap_ends_it_all_the_same(shop: Shop) -> None:
    old = shop.uids("pods").keys()
    with steady_load(shop, MOBILENET, RATE_RPS) as outcomes:
        shop.change(MOBILENET, overrides={"gpuPercent": 40})
        wait_until(lambda: len(shop.uids("pods")) == 2, "the new worker comes up", BACK_S)
        kill(shop.kubectl, OPERATOR)
        wait_until(lambda: shop.swapped(old), "the new worker serves and the old one is gone", STARTED_S)
    assert failures(outcomes) == []
    assert len(shop.uids("pods")) == 1
    assert shop.status(MOBILENET)["gpuPercent"] == 40


def test_a_deleted_worker_is_made_again_with_the_same_claim_and_partition(shop: Shop) -> None:
    ((name, uid),) = shop.uids("pods").items()
    claims, partitions = shop.uids("resourceclaims"), shop.partitions()
    shop.run("delete", "pod", name)
    wait_until(lambda: shop.ready_pods() == {name}, "the worker serves again", STARTED_S)
    assert shop.uids("pods")[name] != uid
    shop.wait_for(MOBILENET, "Ready", "True", BACK_S)
    assert shop.uids("resourceclaims") == claims
    assert shop.partitions() == partitions


def test_a_worker_that_ends_starts_again_in_its_pod(shop: Shop) -> None:
    ((name, uid),) = shop.uids("pods").items()
    before = restarts(shop)[0]
    shop.run("exec", name, "--", "python", "-c", "import os, signal; os.kill(1, signal.SIGTERM)")
    wait_until(lambda: restarts(shop)[0] > before, "the container is started again", BACK_S)
    shop.wait_for(MOBILENET, "Ready", "True", BACK_S)
    with steady_load(shop, MOBILENET, RATE_RPS) as outcomes:
        wait_until(lambda: len(outcomes) > RATE_RPS, "it answers", BACK_S)
    assert failures(outcomes) == []
    assert shop.uids("pods") == {name: uid}


def test_through_all_that_no_agent_granted_more_than_a_whole_gpu(shop: Shop) -> None:
    traces = Kneescale(shop.kubectl).traces(seconds=600)
    assert [(trace.node, trace.device) for trace in traces if overcommitted(trace)] == []
