"""Changing a model that serves: a new plan, and a swap of workers that no client notices."""

from collections.abc import Collection
from functools import partial

import pytest

from e2e.clients import failures, steady_load, watched_endpoints
from e2e.cluster.kubectl import Kubectl
from e2e.demo.system import Kneescale
from e2e.demo.trace import overcommitted
from e2e.shop import MOBILENET, STARTED_S, Shop
from harness.wait import wait_until

pytestmark = pytest.mark.cluster

RATE_RPS = 20
REPLANNED_S = 10.0


def test_a_looser_slo_and_a_higher_rate_make_larger_batches_on_the_same_worker(shop: Shop) -> None:
    workers, before = shop.uids("pods"), shop.status(MOBILENET)
    shop.change(MOBILENET, slo={"latencyMilliseconds": 400}, expectedRequestsPerSecond=200)

    wait_until(
        lambda: shop.status(MOBILENET).get("batch", 0) > before["batch"], "larger batches", REPLANNED_S
    )
    after = shop.status(MOBILENET)
    placed = shop.condition(MOBILENET, "Placed")["message"]
    assert f"{after['gpuPercent']} GPU% with batches of {after['batch']}" in placed
    (partition,) = [
        p for spec in shop.schedules().values() for p in spec["partitions"] if p["model"] == MOBILENET
    ]
    assert (partition["gpuPercent"], partition["batch"]) == (after["gpuPercent"], after["batch"])
    assert partition["sloMilliseconds"] == 400
    assert shop.uids("pods") == workers
    assert "Replanned" in {event["reason"] for event in shop.get("events.events.k8s.io")["items"]}


def test_a_lower_bound_of_the_batch_is_a_new_worker_that_keeps_it(shop: Shop) -> None:
    old = shop.uids("pods").keys()
    shop.change(MOBILENET, maxBatch=1, expectedRequestsPerSecond=RATE_RPS)
    wait_until(lambda: shop.status(MOBILENET).get("batch") == 1, "batches of one item", REPLANNED_S)
    wait_swapped(shop, old)


def wait_swapped(shop: Shop, old: Collection[str]) -> None:
    """Wait until the plan's workers serve and nothing is left of the old ones."""
    wait_until(lambda: shop.swapped(old), "new workers serve and the old ones are gone", STARTED_S)
    shop.wait_for(MOBILENET, "Ready", "True", REPLANNED_S)


def test_no_request_fails_while_a_worker_is_swapped_for_one_with_another_share(shop: Shop) -> None:
    old = shop.uids("pods").keys()
    with watched_endpoints(shop, MOBILENET) as ready, steady_load(shop, MOBILENET, RATE_RPS) as outcomes:
        shop.change(MOBILENET, overrides={"gpuPercent": 40})
        wait_until(lambda: shop.status(MOBILENET).get("gpuPercent") == 40, "planned at 40 GPU%", REPLANNED_S)
        wait_swapped(shop, old)
        by_then = len(outcomes)
        wait_until(lambda: len(outcomes) > by_then + RATE_RPS, "the new worker answers alone", REPLANNED_S)

    assert failures(outcomes) == []
    assert min(ready) == 1
    assert max(ready) == 2
    assert "Swapping" in {event["reason"] for event in shop.get("events.events.k8s.io")["items"]}


def test_kubectl_scale_adds_and_removes_workers_without_a_failure(shop: Shop) -> None:
    shop.change(MOBILENET, scaling={"maxReplicas": 3})
    with steady_load(shop, MOBILENET, RATE_RPS) as outcomes:
        for replicas in (3, 1):
            shop.run("scale", "inferencemodel", MOBILENET, f"--replicas={replicas}")
            wait_until(
                partial(shop.serve_exactly, MOBILENET, replicas), f"{replicas} workers serve", STARTED_S
            )
    assert failures(outcomes) == []


def test_at_no_time_was_more_than_a_whole_gpu_granted(kubectl: Kubectl, shop: Shop) -> None:
    traces = Kneescale(kubectl).traces(seconds=600)
    assert any(span.model == MOBILENET for trace in traces for span in trace.spans)
    assert [(trace.node, trace.device) for trace in traces if overcommitted(trace)] == []
