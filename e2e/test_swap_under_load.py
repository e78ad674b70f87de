"""Swaps at 80 % of what a GPU can do: no request fails.

How many are late for it, and how long the GPU waits, is printed: on a machine that others use too, time is no
verdict.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any

import pytest

from e2e.clients import failures, full_load, steady_load
from e2e.cluster.kubectl import Kubectl
from e2e.demo.figures import Outcome, summarise
from e2e.demo.system import Kneescale
from e2e.demo.trace import overcommitted
from e2e.shop import STARTED_S, Shop, imported_profile, inference_model, opened
from harness.wait import let_pass, wait_until
from kneescale.core.units import ns_to_ms

pytestmark = pytest.mark.cluster

MODEL = "vgg19"
SLO_MS = 800
ITEMS = 16
#: 80 % of what the GPU can do: 35 requests a second on all lanes, 23 on one lane of 100 GPU% alone.
RATE_RPS, ONE_LANE_RPS = 28, 18
#: Requests under way so that something always waits, and the GPU is idle for nothing but the swap.
AT_ONCE = 16
#: What the plan takes on one GPU, with room for bursts; the load here has none.
PLANNED_ITEMS_PER_SECOND = 250
STEADY_S = 10.0


@pytest.fixture(scope="module")
def shop(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop in which one worker serves VGG19."""
    with opened(kubectl, tmp_path_factory.mktemp("shop")) as shop:
        slo = {"latencyMilliseconds": SLO_MS, "lateRequests": "Serve"}
        model = inference_model(MODEL, slo=slo, expectedRequestsPerSecond=PLANNED_ITEMS_PER_SECOND)
        shop.apply(imported_profile(MODEL), model)
        shop.wait_for(MODEL, "Ready", "True", STARTED_S)
        yield shop


def steady(outcomes: list[Outcome]) -> float:
    """Let the load run for a while; the attainment meanwhile."""
    begin_s = time.monotonic()
    let_pass(STEADY_S)
    return attainment(outcomes, begin_s, begin_s + STEADY_S)


def attainment(outcomes: list[Outcome], from_s: float, to_s: float) -> float:
    return summarise([o for o in outcomes if from_s <= o.due_s < to_s], SLO_MS).attainment


@pytest.mark.parametrize(
    ("what", "rate_rps", "change"),
    [
        ("a model update", RATE_RPS, {"maxBatch": 32}),
        ("a resize to one lane", ONE_LANE_RPS, {"overrides": {"gpuPercent": 100}}),
        ("a resize to all lanes", ONE_LANE_RPS, {"overrides": None}),
    ],
)
def test_a_swap_costs_no_request(shop: Shop, what: str, rate_rps: float, change: dict[str, object]) -> None:
    with steady_load(shop, MODEL, rate_rps, ITEMS) as outcomes:
        before = steady(outcomes)
        began_s = time.monotonic()
        ended_s = swap(shop, change)
        after = steady(outcomes)
    during = attainment(outcomes, began_s, ended_s)
    note(f"{what}: {ended_s - began_s:.1f} s, attainment {before:.4f}, {during:.4f}, {after:.4f}")
    assert failures(outcomes) == []


def test_in_a_swap_the_gpu_goes_on(shop: Shop, kubectl: Kubectl) -> None:
    old = shop.uids("pods").keys()
    with full_load(shop, MODEL, AT_ONCE, ITEMS) as outcomes:
        steady(outcomes)
        began_s = time.monotonic()
        swap(shop, {"maxBatch": 24})
        grants = grants_with(kubectl, old, time.monotonic() - began_s + STEADY_S)
    begin_ns = min(grant["granted_ns"] for grant in grants if grant["partition"] not in old)
    end_ns = max(grant["ended_ns"] for grant in grants if grant["partition"] in old)
    span_ns = end_ns - begin_ns
    before = idle_ns(grants, begin_ns - span_ns, begin_ns)
    during = idle_ns(grants, begin_ns, end_ns)
    note(
        f"both workers ran batches for {ns_to_ms(span_ns):.0f} ms: the GPU was idle "
        f"for {ns_to_ms(during):.2f} ms, and for {ns_to_ms(before):.2f} ms in as long a time before"
    )
    assert failures(outcomes) == []


def swap(shop: Shop, change: Mapping[str, object]) -> float:
    """Change the model so that it gets another worker; when (monotonic seconds) that alone is left."""
    old = shop.uids("pods").keys()
    shop.change(MODEL, **change)
    wait_until(lambda: shop.swapped(old), "the new worker serves and the old one is gone", STARTED_S)
    return time.monotonic()


def grants_with(kubectl: Kubectl, workers: AbstractSet[str], seconds: float) -> list[Mapping[str, Any]]:
    """The grants of the last so many seconds on the GPU of these workers."""
    (grants,) = [
        device["grants"]
        for told in Kneescale(kubectl).told(seconds)
        for device in told["devices"]
        if {grant["partition"] for grant in device["grants"]} & workers
    ]
    return list(grants)


def idle_ns(grants: Sequence[Mapping[str, Any]], begin_ns: int, end_ns: int) -> int:
    """The time in a span in which no grant was out."""
    idle, busy_until_ns = 0, begin_ns
    for grant in sorted(grants, key=lambda grant: grant["granted_ns"]):
        if grant["granted_ns"] < end_ns:
            idle += max(0, grant["granted_ns"] - busy_until_ns)
            busy_until_ns = max(busy_until_ns, grant["ended_ns"])
    return idle + max(0, end_ns - busy_until_ns)


def note(text: str) -> None:
    sys.stdout.write(f"{text} (machine load {os.getloadavg()[0]:.1f})\n")


def test_scaling_up_and_down_costs_no_request(shop: Shop) -> None:
    with steady_load(shop, MODEL, RATE_RPS, ITEMS) as outcomes:
        before = steady(outcomes)
        began_s = time.monotonic()
        shop.change(MODEL, scaling={"maxReplicas": 2})
        for replicas in (2, 1):
            shop.run("scale", "inferencemodel", MODEL, f"--replicas={replicas}")
            wait_until(partial(shop.serve_exactly, MODEL, replicas), f"{replicas} workers serve", STARTED_S)
        ended_s = time.monotonic()
        after = steady(outcomes)
    during = attainment(outcomes, began_s, ended_s)
    note(f"scaling 1, 2, 1: {ended_s - began_s:.1f} s, attainment {before:.4f}, {during:.4f}, {after:.4f}")
    assert failures(outcomes) == []


def test_through_all_that_no_agent_granted_more_than_a_whole_gpu(kubectl: Kubectl) -> None:
    assert [trace for trace in Kneescale(kubectl).traces(seconds=600) if overcommitted(trace)] == []
