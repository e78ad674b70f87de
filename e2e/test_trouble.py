"""Models that cannot run: each says why, with the numbers, and no other model is harmed."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from e2e.clients import failures, steady_load
from e2e.cluster.kubectl import Kubectl
from e2e.demo.figures import Outcome
from e2e.shop import PRODUCT, STARTED_S, Object, Shop, imported_profile, inference_model, opened, real_model
from harness.wait import wait_until

pytestmark = pytest.mark.cluster

HEALTHY = "mobilenet-v2"
RATE_RPS = 20
SAID_S = 10.0
#: A profiling Job is tried twice before it has failed.
TRIED_S = 120.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """A model that cannot run, and the condition that says so in `says`, all parts of its message."""

    model: Object
    condition: str
    reason: str
    says: tuple[str, ...]
    within_s: float = SAID_S

    def __str__(self) -> str:
        return self.reason


TROUBLES = (
    Trouble(
        inference_model("resnet18", name="crowded", expectedRequestsPerSecond=100_000),
        "Placed",
        "InsufficientGPU",
        ("GPU% for", "ms of every", "the freest GPU has"),
    ),
    Trouble(
        inference_model("resnet18", name="picky", gpu={"products": ["H200"]}),
        "Placed",
        "NoMatchingGPU",
        ("no GPU of product H200", f"the cluster has {PRODUCT}"),
    ),
    Trouble(
        inference_model("resnet18", name="hasty", slo={"latencyMilliseconds": 5}),
        "Placed",
        "InfeasibleSLO",
        ("even batch 1 at 100 GPU% takes", "the SLO of 5 ms allows 2.5 ms a batch"),
    ),
    Trouble(
        inference_model("resnet18", name="odd", overrides={"gpuPercent": 33}),
        "Placed",
        "GPUPercentNotOffered",
        ("spec.overrides.gpuPercent is 33", "multiples of 10"),
    ),
    Trouble(
        real_model("real", "example.org/real:1"),
        "Accepted",
        "WrongBackend",
        ("oci://example.org/real:1", "the emulated backend of this cluster"),
    ),
    Trouble(
        inference_model("unheard_of"),
        "Profiled",
        "ProfileFailed",
        ("the catalog has no figures of unheard_of", "attempt 1"),
        within_s=TRIED_S,
    ),
)


@pytest.fixture(scope="module")
def shop(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop in which one worker serves MobileNet."""
    with opened(kubectl, tmp_path_factory.mktemp("shop")) as shop:
        shop.apply(imported_profile("mobilenet_v2"), imported_profile("resnet18"))
        shop.apply(inference_model("mobilenet_v2"))
        shop.wait_for(HEALTHY, "Ready", "True", STARTED_S)
        yield shop


@pytest.fixture(scope="module")
def load(shop: Shop) -> Iterator[list[Outcome]]:
    """A steady load on the healthy model, while all troubles come at once."""
    with steady_load(shop, HEALTHY, RATE_RPS) as outcomes:
        shop.apply(*(trouble.model for trouble in TROUBLES))
        yield outcomes


@pytest.mark.usefixtures("load")
@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
def test_a_model_in_trouble_says_why(shop: Shop, trouble: Trouble) -> None:
    name = trouble.model["metadata"]["name"]

    def said() -> bool:
        found = shop.condition(name, trouble.condition)
        return (found.get("status"), found.get("reason")) == ("False", trouble.reason)

    wait_until(said, f"{trouble.condition}=False for {trouble.reason}", trouble.within_s)
    message = shop.condition(name, trouble.condition)["message"]
    assert all(part in message for part in trouble.says), message
    assert shop.condition(name, "Ready")["status"] == "False"
    assert shop.status(name)["reason"] == message


def test_the_models_in_trouble_harm_no_other(shop: Shop, load: list[Outcome]) -> None:
    by_now = len(load)
    wait_until(lambda: len(load) > by_now + RATE_RPS, "the healthy model answers on", SAID_S)
    assert failures(load) == []
    assert shop.condition(HEALTHY, "Ready")["status"] == "True"
    (worker,) = shop.ready_pods()
    assert worker.startswith(HEALTHY)
