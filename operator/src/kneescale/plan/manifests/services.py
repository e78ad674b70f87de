"""Manifests of what stands in front of a model's workers: Service, EndpointSlice, PodDisruptionBudget."""

from kneescale.api.inference_model import InferenceModel
from kneescale.api.names import GROUP, SLICE_MANAGER_LABEL
from kneescale.core.worker_pod import GRPC_PORT, HTTP_PORT
from kneescale.plan.manifests.metadata import render_metadata, serving_labels
from kneescale.plan.state import Gate, Manifest

ENTRANCE_API_VERSION, ENTRANCE_KIND = "discovery.k8s.io/v1", "EndpointSlice"


def render_disruption_budget(model: InferenceModel, workers: int) -> Manifest:
    """Makes `kubectl drain` wait with an eviction until another worker serves in place of the evicted one.

    For pods of a controller that is not one of Kubernetes' own, only a number in `minAvailable` is allowed.
    """
    name = model.metadata.name
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": render_metadata(name, model, {}),
        "spec": {
            "minAvailable": workers,
            "selector": {"matchLabels": serving_labels(name)},
            # A worker that does not serve is no loss, and must not hold up a drain.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }


def render_service(model: InferenceModel) -> Manifest:
    """The Service in front of all of a model's workers."""
    name = model.metadata.name
    ports = [
        {"name": "http", "port": HTTP_PORT, "targetPort": "http", "appProtocol": "http"},
        {"name": "grpc", "port": GRPC_PORT, "targetPort": "grpc", "appProtocol": "kubernetes.io/h2c"},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": render_metadata(name, model, {}),
        "spec": {"selector": serving_labels(name), "ports": ports},
    }


def render_entrance(model: InferenceModel, gate: Gate) -> Manifest:
    """Leads the Service to where requests are held, beside the EndpointSlice that Kubernetes keeps for it."""
    name = model.metadata.name
    labels = {
        "kubernetes.io/service-name": name,
        # Else the controller of EndpointSlices takes it for one of its own, and deletes it.
        SLICE_MANAGER_LABEL: GROUP,
    }
    return {
        "apiVersion": ENTRANCE_API_VERSION,
        "kind": ENTRANCE_KIND,
        "metadata": render_metadata(f"{name}-asleep", model, labels),
        "addressType": "IPv6" if ":" in gate.address else "IPv4",
        "ports": [
            {"name": "http", "port": gate.http_port, "protocol": "TCP"},
            {"name": "grpc", "port": gate.grpc_port, "protocol": "TCP"},
        ],
        "endpoints": [{"addresses": [gate.address], "conditions": {"ready": True}}],
    }
