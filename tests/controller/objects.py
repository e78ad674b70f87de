"""Small Kubernetes objects for the tests."""

from typing import Any

from kneescale.controller.resources import Object


def obj(
    api_version: str,
    kind: str,
    name: str,
    *,
    namespace: str = "shop",
    labels: dict[str, str] | None = None,
    **parts: Any,  # noqa: ANN401
) -> Object:
    """An object with its metadata; `parts` are spec, status and the like."""
    meta: dict[str, Any] = {"name": name}
    if namespace:
        meta["namespace"] = namespace
    if labels:
        meta["labels"] = labels
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, **parts}


def service(model: str, port: int = 8000) -> Object:
    """A model's Service, as the plan would want it."""
    ports = [{"name": "http", "port": port}]
    made = obj("v1", "Service", model, labels={"kneescale.dev/model": model}, spec={"ports": ports})
    return _owned(made, model)


def pod(model: str, image: str = "worker:1") -> Object:
    """A model's worker pod, as the plan would want it."""
    containers = [{"name": "worker", "image": image}]
    labels = {"kneescale.dev/model": model, "kneescale.dev/role": "Serve"}
    return _owned(obj("v1", "Pod", f"{model}-0a", labels=labels, spec={"containers": containers}), model)


def _owned(made: Object, model: str) -> Object:
    owner = {"apiVersion": "kneescale.dev/v1alpha1", "kind": "InferenceModel", "name": model, "uid": "u"}
    made["metadata"]["ownerReferences"] = [owner]
    return made


def model(name: str, **parts: Any) -> Object:  # noqa: ANN401
    """An InferenceModel; what its spec says does not matter here."""
    return obj("kneescale.dev/v1alpha1", "InferenceModel", name, **parts)


def gpu_schedule(*models: str) -> Object:
    """A GPU's schedule, as far as it says which models are on it."""
    partitions = [{"namespace": "shop", "model": model, "name": f"{model}-0a"} for model in models]
    spec = {"uuid": "GPU-1", "partitions": partitions}
    return obj("kneescale.dev/v1alpha1", "GPUSchedule", "node1-gpu0", namespace="", spec=spec)
