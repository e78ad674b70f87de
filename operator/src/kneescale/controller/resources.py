"""The kinds that the operator watches, and which of their objects it sees."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kneescale.api.names import (
    API_VERSION,
    DRIVER,
    GROUP,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    SLICE_MANAGER_LABEL,
)

#: An object as the API server gives and takes it.
Object = dict[str, Any]

_OURS = f"{MANAGED_BY_LABEL}={MANAGED_BY}"


def _all_of_it(obj: Object) -> Object:
    return obj


def _node_in_short(node: Object) -> Object:
    """What the plan reads of a Node: the images on it alone would make thousands of Nodes hundreds of MiB."""
    conditions = node.get("status", {}).get("conditions", [])
    return {
        **_picked(node, "apiVersion", "kind"),
        "metadata": _picked(node["metadata"], "name", "uid", "resourceVersion", "deletionTimestamp"),
        "spec": _picked(node.get("spec", {}), "unschedulable", "taints"),
        "status": {"conditions": [each for each in conditions if each["type"] == "Ready"]},
    }


def _picked(obj: Object, *names: str) -> Object:
    return {name: obj[name] for name in names if name in obj}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object; the selectors narrow what is listed and watched of it."""

    api_version: str
    name: str
    plural: str
    label_selector: str = ""
    field_selector: str = ""
    #: Its objects change every few seconds by themselves, with measurements and signs of life.
    restless: bool = False
    #: What is kept in memory of an object as the API server gives it.
    shorten: Callable[[Object], Object] = _all_of_it

    @property
    def group(self) -> str:
        """The API group, empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """The version alone, as in v1alpha1."""
        return self.api_version.rpartition("/")[2]


INFERENCE_MODEL = Kind(API_VERSION, "InferenceModel", "inferencemodels")
MODEL_PROFILE = Kind(API_VERSION, "ModelProfile", "modelprofiles")
GPU_SCHEDULE = Kind(API_VERSION, "GPUSchedule", "gpuschedules", restless=True)
RESOURCE_SLICE = Kind(
    "resource.k8s.io/v1",
    "ResourceSlice",
    "resourceslices",
    field_selector=f"spec.driver={DRIVER}",
)
RESOURCE_CLAIM = Kind("resource.k8s.io/v1", "ResourceClaim", "resourceclaims", label_selector=_OURS)
NODE = Kind("v1", "Node", "nodes", restless=True, shorten=_node_in_short)
POD = Kind("v1", "Pod", "pods", label_selector=_OURS)
SERVICE = Kind("v1", "Service", "services", label_selector=_OURS)
JOB = Kind("batch/v1", "Job", "jobs", label_selector=_OURS)
DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", label_selector=_OURS)
ENDPOINT_SLICE = Kind(
    "discovery.k8s.io/v1",
    "EndpointSlice",
    "endpointslices",
    label_selector=f"{SLICE_MANAGER_LABEL}={GROUP}",
)
EVENT = Kind("events.k8s.io/v1", "Event", "events")

WATCHED = (
    INFERENCE_MODEL,
    MODEL_PROFILE,
    GPU_SCHEDULE,
    RESOURCE_SLICE,
    RESOURCE_CLAIM,
    NODE,
    POD,
    SERVICE,
    JOB,
    DISRUPTION_BUDGET,
    ENDPOINT_SLICE,
)

_BY_NAME = {(kind.api_version, kind.name): kind for kind in (*WATCHED, EVENT)}


def kind_named(api_version: str, name: str) -> Kind:
    """Return the kind of that name. Raises KeyError for one that the operator has no business with."""
    return _BY_NAME[api_version, name]


def kind_of(obj: Object) -> Kind:
    """Return the kind that an object says it is. Raises KeyError as `kind_named` does."""
    return kind_named(obj["apiVersion"], obj["kind"])
