"""What the metadata of all objects of a model have in common."""

from collections.abc import Mapping
from typing import Any

from kneescale.api.inference_model import InferenceModel
from kneescale.api.names import MANAGED_BY, MANAGED_BY_LABEL, MODEL_LABEL, ROLE_LABEL
from kneescale.api.vocabulary import Role


def serving_labels(model_name: str) -> dict[str, str]:
    """What a model's workers have in common and nothing else has: Services and autoscalers select by it."""
    return {MODEL_LABEL: model_name, ROLE_LABEL: Role.SERVE.value}


def render_metadata(name: str, model: InferenceModel, labels: Mapping[str, str]) -> dict[str, Any]:
    """Of an object that goes when its model goes."""
    ours = {MANAGED_BY_LABEL: MANAGED_BY, MODEL_LABEL: model.metadata.name}
    return {
        "name": name,
        "namespace": model.metadata.namespace,
        "labels": {**ours, **labels},
        "ownerReferences": [model.owner.render()],
    }
