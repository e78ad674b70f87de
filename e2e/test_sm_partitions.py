"""GPUs shared by SM partitions, as an admin asks for it: each model has a lane of its own, and serves."""

from collections.abc import Iterator

import pytest

from e2e.clients import failures, steady_load
from e2e.cluster.kubectl import Kubectl
from e2e.shop import MOBILENET, STARTED_S, Shop, imported_profile, inference_model, opened
from e2e.tiers import forced
from harness.wait import wait_until
from kneescale.api.names import MODEL_LABEL
from kneescale.core.tiers import Tier

pytestmark = pytest.mark.cluster

OTHER = "resnet18"
#: An emulated V100 has 20 chunks of 4 SMs, so one is 5 GPU%.
CHUNK_PERCENT = 5


@pytest.fixture(scope="module")
def shop(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop without models, on a cluster whose GPUs are in SM partitions."""
    with forced(kubectl, Tier.SM_PARTITIONS), opened(kubectl, tmp_path_factory.mktemp("shop")) as shop:
        yield shop


def test_each_model_has_one_lane_claims_its_chunks_and_serves(shop: Shop) -> None:
    for name in (MOBILENET, OTHER):
        catalog_name = name.replace("-", "_")
        shop.apply(imported_profile(catalog_name), inference_model(catalog_name))
    for name in (MOBILENET, OTHER):
        shop.wait_for(name, "Ready", "True", STARTED_S)
    wait_until(lambda: lanes(shop).keys() == {MOBILENET, OTHER}, "both are in a schedule", STARTED_S)
    assert {model: chunks * CHUNK_PERCENT for model, chunks in claimed(shop).items()} == lanes(shop)
    with steady_load(shop, MOBILENET, 20) as outcomes:
        wait_until(lambda: len(outcomes) >= 40, "requests are answered", STARTED_S)
    assert failures(outcomes) == []


def lanes(shop: Shop) -> dict[str, int]:
    """The lane of each model, which is all that it has."""
    partitions = [each for spec in shop.schedules().values() for each in spec["partitions"]]
    assert all(len(each["lanes"]) == 1 and each["pool"] for each in partitions)
    return {each["model"]: each["lanes"][0] for each in partitions}


def claimed(shop: Shop) -> dict[str, int]:
    """The chunks that the claim of each model was given, by the scheduler's own account."""
    found: dict[str, int] = {}
    for claim in shop.get("resourceclaims")["items"]:
        (result,) = claim["status"]["allocation"]["devices"]["results"]
        found[claim["metadata"]["labels"][MODEL_LABEL]] = int(result["consumedCapacity"]["clients"])
    return found
