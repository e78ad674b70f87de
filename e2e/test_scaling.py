"""Traffic changes and nobody touches anything: more replicas, fewer, and none where nothing comes."""

import asyncio
from collections.abc import Iterator

import pytest

from e2e.clients import failures, steady_load
from e2e.cluster.kubectl import Kubectl
from e2e.demo.load import Stream, try_each_sample
from e2e.demo.samples import echoes
from e2e.demo.services import reach
from e2e.demo.system import Kneescale
from e2e.shop import STARTED_S, Shop, imported_profile, inference_model, opened
from harness.wait import wait_until

pytestmark = pytest.mark.cluster

MODEL = "vgg19"
SLO = {"latencyMilliseconds": 600, "lateRequests": "Serve"}
#: Few requests of many items: the emulated GPUs are busy, the machine's own cores are not.
ITEMS = 16
CALM_RPS, STEP_RPS = 2, 20
#: From a step to the decision: five seconds of it, the agent's two, the operator's two; each may take longer
#: on a machine that also runs the cluster.
DECIDED_S = 60.0
#: Three quarters of a minute count, then a worker drains.
GIVEN_BACK_S = 120.0


@pytest.fixture(scope="module")
def shop(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop with a model of whose traffic nothing is said, alone on four emulated GPUs."""
    with opened(kubectl, tmp_path_factory.mktemp("shop")) as shop:
        model = inference_model(MODEL, slo=SLO, scaling={"minReplicas": 1, "maxReplicas": 3})
        del model["spec"]["expectedRequestsPerSecond"]
        shop.apply(imported_profile(MODEL), model)
        shop.wait_for(MODEL, "Ready", "True", STARTED_S)
        yield shop


def wait_for_workers(shop: Shop, number: int, timeout_s: float) -> None:
    wait_until(lambda: len(shop.ready_pods()) == number, f"{number} workers serve", timeout_s)


def test_a_step_is_followed_in_replicas_and_given_back_and_no_request_fails(
    shop: Shop, kubectl: Kubectl
) -> None:
    slices = shop.uids("endpointslices")
    with steady_load(shop, MODEL, CALM_RPS, ITEMS) as calm:
        wait_until(lambda: shop.provided_ips(MODEL) > 0, "what comes is provided for", DECIDED_S)
        before_ips = shop.provided_ips(MODEL)
        with steady_load(shop, MODEL, STEP_RPS, ITEMS) as step:
            wait_until(lambda: shop.provided_ips(MODEL) > 3 * before_ips, "the step is decided on", DECIDED_S)
            wait_until(lambda: len(shop.ready_pods()) > 1, "more workers serve", STARTED_S)
            during_ips, workers = shop.provided_ips(MODEL), shop.uids("pods")
            Kneescale(kubectl).restart_operator()
            assert shop.provided_ips(MODEL) >= during_ips
            assert workers.items() <= shop.uids("pods").items()
        wait_for_workers(shop, 1, GIVEN_BACK_S)
        wait_until(lambda: shop.provided_ips(MODEL) < during_ips / 2, "less is provided for", DECIDED_S)
    assert failures([*calm, *step]) == []
    assert slices == shop.uids("endpointslices")
    events = {event["reason"] for event in shop.get("events.events.k8s.io")["items"]}
    assert {"RateRose", "RateFell"} <= events
    reasons = [each["reason"] for each in shop.status(MODEL)["scaling"]["decisions"]]
    assert "RateFell" in reasons


def test_a_model_that_may_sleep_does_and_the_request_that_wakes_it_is_answered(shop: Shop) -> None:
    shop.change(MODEL, scaling={"minReplicas": 0, "idleSeconds": 10})
    wait_until(lambda: not shop.get("pods")["items"], "it sleeps", STARTED_S)
    ready = shop.condition(MODEL, "Ready")
    assert (ready["status"], ready["reason"]) == ("True", "Asleep")
    with reach(shop.kubectl, shop.name, MODEL) as endpoint:
        asyncio.run(try_each_sample(Stream(MODEL, endpoint, echoes(MODEL))))
    wait_for_workers(shop, 1, DECIDED_S)
    wait_until(lambda: not shop.get("pods")["items"], "it sleeps again", STARTED_S)
