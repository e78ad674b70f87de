"""The demo's manifests, and what is read from the cluster about them."""

from typing import Any

import pytest

from e2e.demo.inference_models import NAMESPACE, demo_models, holds
from kneescale.api.inference_model import parse_inference_model

IMAGES = {name: f"registry/{name}:1" for name in ("efficientnet-lite0", "efficientnet-lite2", "silero-vad")}


@pytest.mark.parametrize(("backend", "count"), [("cpu", 3), ("emulated", 6)])
def test_every_manifest_is_a_valid_inference_model(backend: str, count: int) -> None:
    models = demo_models(backend)
    assert len({model.name for model in models}) == count
    for model in models:
        manifest = model.on_cluster(IMAGES)
        assert manifest["metadata"]["namespace"] == NAMESPACE
        parse_inference_model({**manifest, "metadata": {**manifest["metadata"], "uid": "u", "generation": 1}})


def test_a_model_image_gets_its_reference_and_a_catalog_model_none() -> None:
    (lite0, *_), (alexnet, *_) = demo_models("cpu"), demo_models("emulated")
    uri = lite0.on_cluster(IMAGES)["spec"]["model"]["uri"]
    assert (lite0.artefact, uri) == ("efficientnet-lite0", "oci://registry/efficientnet-lite0:1")
    assert (alexnet.artefact, alexnet.on_cluster({})["spec"]["model"]["uri"]) == (None, "catalog://alexnet")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"type": "Ready", "status": "True", "observedGeneration": 2}, True),
        ({"type": "Ready", "status": "True", "observedGeneration": 1}, False),
        ({"type": "Ready", "status": "False", "observedGeneration": 2}, False),
        ({"type": "Placed", "status": "True", "observedGeneration": 2}, False),
    ],
)
def test_a_condition_holds_only_for_the_present_generation(condition: dict[str, Any], expected: bool) -> None:
    resource = {"metadata": {"generation": 2}, "status": {"conditions": [condition]}}
    assert holds(resource, "Ready") is expected
