"""More than a GPU can do: what cannot be in time is refused at once, and so the rest is in time."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from e2e.clients import failures, steady_load
from e2e.cluster.kubectl import Kubectl
from e2e.demo.figures import Outcome, summarise
from e2e.demo.load import ask_for_outcome
from e2e.demo.oip import Endpoint, ModelClient
from e2e.demo.samples import EMULATED_ITEMS, echoes
from e2e.demo.services import reach
from e2e.shop import STARTED_S, Shop, imported_profile, inference_model, opened
from harness.wait import wait_until
from kneescale.core.units import MS_PER_S, NS_PER_S
from kneescale.sim.arrivals import poisson

pytestmark = pytest.mark.cluster

MODEL = "vgg19"
SLO_MS = 600
#: A V100 answers about 35 requests of 16 items a second, at the least GPU area that an item can have.
CROWD_RPS = 60
CROWD_S = 8.0
CALM_RPS = 5
#: From a request to its figures in the model's status: the worker's second, the agent's two, the operator's.
TOLD_S = 15.0
APPLIED_S = 15.0
#: In time: what a machine that also runs the cluster may cost the agent's margin of a tenth of the SLO.
#: In the crowd the clients take cores too; a worker that refuses nothing comes to less than `SWAMPED`.
MOSTLY_IN_CROWD = 0.5
MOSTLY = 0.8
SWAMPED = 0.25


@dataclass(frozen=True, slots=True)
class Reply:
    """What a request came to, and when, after it was due; also where that is an error."""

    outcome: Outcome
    after_ms: float


@pytest.fixture(scope="module")
def shop(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop in which one worker serves VGG19, and nothing is said of late requests."""
    with opened(kubectl, tmp_path_factory.mktemp("shop")) as shop:
        shop.apply(imported_profile(MODEL), inference_model(MODEL, slo={"latencyMilliseconds": SLO_MS}))
        shop.wait_for(MODEL, "Ready", "True", STARTED_S)
        yield shop


def crowd(shop: Shop) -> Sequence[Reply]:
    """More than the GPU can answer, for a while; the reply to each request."""
    with reach(shop.kubectl, shop.name, MODEL) as endpoint:
        return asyncio.run(_crowd(endpoint))


async def _crowd(endpoint: Endpoint) -> Sequence[Reply]:
    loop = asyncio.get_running_loop()
    replies: list[Reply] = []

    async def ask(client: ModelClient, due_s: float) -> None:
        outcome = await ask_for_outcome(client, due_s)
        replies.append(Reply(outcome, MS_PER_S * (loop.time() - due_s)))

    times_s = poisson(CROWD_RPS, CROWD_S, np.random.default_rng(1)) / NS_PER_S
    async with (
        ModelClient(MODEL, endpoint, echoes(MODEL, EMULATED_ITEMS)) as client,
        asyncio.TaskGroup() as sent,
    ):
        for due_s in (loop.time() + times_s).tolist():
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            sent.create_task(ask(client, due_s))
    return replies


def test_in_an_overload_some_are_refused_in_time_and_the_others_answered_in_time(shop: Shop) -> None:
    replies = crowd(shop)
    refused = [reply for reply in replies if not reply.outcome.correct]
    answered = [reply for reply in replies if reply.outcome.correct]

    errors = {reply.outcome.error for reply in refused}
    sentence = f"refused: it cannot be answered within the SLO of {SLO_MS} ms any more"
    assert all(sentence in error for error in errors)
    assert {error.partition("]")[0] for error in errors} == {"[503", "[StatusCode.RESOURCE_EXHAUSTED"}
    for some in (refused, answered):
        assert len(some) > 0.15 * len(replies)
        assert np.mean([reply.after_ms <= SLO_MS for reply in some]) >= MOSTLY_IN_CROWD

    shop.wait_for(MODEL, "SLOMet", "False", TOLD_S)
    assert "were refused or failed" in shop.condition(MODEL, "SLOMet")["message"]


def test_after_the_overload_all_is_as_before(shop: Shop) -> None:
    with steady_load(shop, MODEL, CALM_RPS) as outcomes:
        wait_until(lambda: len(outcomes) > 10 * CALM_RPS, "requests are answered", timeout_s=60)
    assert failures(outcomes) == []
    assert summarise(outcomes, SLO_MS).attainment >= MOSTLY


def test_a_model_that_serves_late_requests_answers_all_and_late(shop: Shop) -> None:
    workers = shop.uids("pods")
    shop.change(MODEL, slo={"lateRequests": "Serve"})
    wait_until(lambda: agents_know(shop), "the agent serves late requests", APPLIED_S)
    outcomes = [reply.outcome for reply in crowd(shop)]
    assert failures(outcomes) == []
    assert summarise(outcomes, SLO_MS).attainment < SWAMPED
    assert shop.uids("pods") == workers


def agents_know(shop: Shop) -> bool:
    """Whether the agent of the model's GPU follows a schedule that serves its late requests."""
    (schedule,) = [
        each
        for each in shop.get("gpuschedules")["items"]
        if any(partition["namespace"] == shop.name for partition in each["spec"]["partitions"])
    ]
    (partition,) = schedule["spec"]["partitions"]
    is_known: bool = schedule["status"].get("observedGeneration") == schedule["metadata"]["generation"]
    return is_known and partition["lateRequests"] == "Serve"
