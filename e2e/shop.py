"""A namespace of one test, and what an admin sees and does in it."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from e2e.cluster.kubectl import Kubectl
from harness.wait import wait_until
from kneescale.core.surfaces.catalog import lookup
from kneescale.core.units import US_PER_MS

Object = dict[str, Any]

#: The model that most tests serve.
MOBILENET = "mobilenet-v2"
PRODUCT = "V100-SXM2-16GB"
#: From an InferenceModel with a profile to a worker that serves, on a busy machine.
STARTED_S = 150.0
#: Every test's models run as the strictest of the Pod Security Standards wants it.
POD_SECURITY = "pod-security.kubernetes.io/enforce=restricted"
_numbers = count(1)


def inference_model(catalog_name: str, *, name: str | None = None, **spec: Any) -> Object:  # noqa: ANN401
    """An InferenceModel of the catalog; `spec` adds to its spec or replaces parts of it."""
    source = {"uri": f"catalog://{catalog_name}", "format": "Emulated"}
    return _inference_model(name or catalog_name.replace("_", "-"), {"model": source, **spec})


def real_model(name: str, image: str, **spec: Any) -> Object:  # noqa: ANN401
    """An InferenceModel of a model in an image; `spec` adds to its spec or replaces parts of it."""
    return _inference_model(name, {"model": {"uri": f"oci://{image}", "format": "TorchScript"}, **spec})


def _inference_model(name: str, spec: Object) -> Object:
    # Most tests ask whether a request is lost, on a machine on which some are late: none is to be refused.
    usual = {"slo": {"latencyMilliseconds": 60, "lateRequests": "Serve"}, "expectedRequestsPerSecond": 20}
    return {
        "apiVersion": "kneescale.dev/v1alpha1",
        "kind": "InferenceModel",
        "metadata": {"name": name},
        "spec": usual | spec,
    }


def imported_profile(catalog_name: str) -> Object:
    """A ModelProfile that spares the measurement: the points that the emulated worker waits out."""
    surface = lookup(catalog_name, PRODUCT).surface((10, 20, 40, 100), (1, 4, 16))
    points = [
        {
            "gpuPercent": point.gpu_percent,
            "batch": point.batch,
            "latencyMicroseconds": round(point.latency_ms * US_PER_MS),
        }
        for point in surface.points
    ]
    return {
        "apiVersion": "kneescale.dev/v1alpha1",
        "kind": "ModelProfile",
        "metadata": {"name": f"imported-{catalog_name.replace('_', '-')}"},
        "spec": {
            "modelURI": f"catalog://{catalog_name}",
            "format": "Emulated",
            "productName": PRODUCT,
            "backend": "emulated",
            "points": points,
        },
    }


class Shop:
    """The namespace, through kubectl."""

    def __init__(self, kubectl: Kubectl, name: str, folder: Path) -> None:
        self.kubectl = kubectl
        self._folder = folder
        self.name = name

    def run(self, *args: str) -> str:
        """Run kubectl in the namespace."""
        return self.kubectl.run(f"--namespace={self.name}", *args)

    def apply(self, *objects: Object) -> None:
        """Apply objects to the namespace."""
        file = self._folder / "objects.json"
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        self.run("apply", f"--filename={file}")

    def change(self, model: str, **spec: Any) -> None:  # noqa: ANN401
        """Merge fields into the spec of an InferenceModel; None removes one."""
        patch = json.dumps({"spec": spec})
        self.run("patch", "inferencemodel", model, "--type=merge", f"--patch={patch}")

    def get(self, *args: str) -> Any:  # noqa: ANN401
        """Return what kubectl gets, parsed."""
        return json.loads(self.run("get", *args, "--output=json"))

    def status(self, model: str) -> Any:  # noqa: ANN401
        """The model's status; empty while it does not speak of the present generation."""
        found = self.get("inferencemodel", model)
        status = found.get("status", {})
        return status if status.get("observedGeneration") == found["metadata"]["generation"] else {}

    def condition(self, model: str, kind: str) -> Mapping[str, str]:
        """The model's condition for its present generation; empty until there is one."""
        conditions = self.status(model).get("conditions", [])
        return next((c for c in conditions if c["type"] == kind), {})

    def wait_for(self, model: str, kind: str, status: str, timeout_s: float) -> None:
        """Wait until a condition of the model has this status."""
        wait_until(lambda: self.condition(model, kind).get("status") == status, f"{kind}={status}", timeout_s)

    def uids(self, kinds: str) -> dict[str, str]:
        """The uid of each object of these kinds, by name."""
        return {item["metadata"]["name"]: item["metadata"]["uid"] for item in self.get(kinds)["items"]}

    def only_pod(self) -> Any:  # noqa: ANN401
        """The one pod that there is."""
        (pod,) = self.get("pods")["items"]
        return pod

    def restarts(self) -> dict[str, int]:
        """How often the container of each pod was started again, by the pod's name."""
        return {
            pod["metadata"]["name"]: status["restartCount"]
            for pod in self.get("pods")["items"]
            for status in pod["status"].get("containerStatuses", [])
        }

    def events_of(self, name: str) -> dict[str, str]:
        """The note of the latest Event of each reason on the objects of that name."""
        events = self.get("events.events.k8s.io")["items"]
        about = [event for event in events if event["regarding"]["name"] == name]
        return {event["reason"]: event["note"] for event in sorted(about, key=_when)}

    def ready_pods(self) -> set[str]:
        """The names of the pods that are ready."""
        return {pod["metadata"]["name"] for pod in self.get("pods")["items"] if _is_ready(pod)}

    def scale_of(self, model: str) -> Any:  # noqa: ANN401
        """The model's scale subresource."""
        models = f"/apis/kneescale.dev/v1alpha1/namespaces/{self.name}/inferencemodels"
        return json.loads(self.run("get", f"--raw={models}/{model}/scale"))

    def provided_ips(self, model: str) -> float:
        """The items per second that the operator provides for; 0 while that says nothing."""
        return float(self.status(model).get("scaling", {}).get("providedItemsPerSecond", 0))

    def serve_exactly(self, model: str, replicas: int) -> bool:
        """Whether the model has so many workers by its scale, and so many of its pods are there and ready."""
        status = self.scale_of(model)["status"]
        pods = self.get("pods", f"--selector={status['selector']}")["items"]
        return {status["replicas"], len(pods), sum(map(_is_ready, pods))} == {replicas}

    def schedules(self) -> dict[str, Object]:
        """The spec of each GPUSchedule, by name."""
        return {item["metadata"]["name"]: item["spec"] for item in self.get("gpuschedules")["items"]}

    def partitions(self) -> set[str]:
        """The partitions of this namespace on all GPUs."""
        specs = self.schedules().values()
        return {p["name"] for spec in specs for p in spec["partitions"] if p["namespace"] == self.name}

    def swapped(self, old: Collection[str]) -> bool:
        """Whether every pod serves and has its claim and its partition, and none is of the old ones."""
        pods = self.uids("pods").keys()
        made = pods == self.uids("resourceclaims").keys() == self.partitions() == self.ready_pods()
        return made and pods.isdisjoint(old)


def _when(event: Object) -> str:
    return str(event["eventTime"])


def _is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


@contextmanager
def opened(kubectl: Kubectl, folder: Path) -> Iterator[Shop]:
    """A new shop, deleted at the end with all that is in it."""
    shop = Shop(kubectl, f"shop-{next(_numbers)}", folder)
    kubectl.run("create", "namespace", shop.name)
    kubectl.run("label", "namespace", shop.name, POD_SECURITY)
    try:
        yield shop
    finally:
        kubectl.run("delete", "namespace", shop.name, "--timeout=120s")
