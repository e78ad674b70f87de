"""The operator on a real API server, with real agents and emulated GPUs."""

import json
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.kubectl import Kubectl
from e2e.runner import CommandError
from e2e.wait import wait_until
from kneescale.core.catalog import lookup
from tests.contract.refusals import MODEL, PROFILE, REFUSALS, SCHEDULE, Refusal

pytestmark = pytest.mark.cluster

Object = dict[str, Any]

SYSTEM = "kneescale-system"
PRODUCT = "V100-SXM2-16GB"
#: Everything that the operator makes for a model.
MADE = "pods,jobs,resourceclaims,services,modelprofiles"
STARTED_S = 150.0
MEASURED_S = 240.0
_numbers = count(1)


def inference_model(catalog_name: str, **spec: Any) -> Object:  # noqa: ANN401
    """An InferenceModel of the catalog; `spec` adds to its spec or replaces parts of it."""
    source = {"uri": f"catalog://{catalog_name}", "format": "Emulated"}
    return {
        "apiVersion": "kneescale.dev/v1alpha1",
        "kind": "InferenceModel",
        "metadata": {"name": catalog_name.replace("_", "-")},
        "spec": {
            "model": source,
            "slo": {"latencyMilliseconds": 60},
            "expectedRequestsPerSecond": 20,
            **spec,
        },
    }


def imported_profile(catalog_name: str) -> Object:
    """A ModelProfile that spares the measurement: the points that the emulated worker waits out."""
    surface = lookup(catalog_name, PRODUCT).surface((10, 20, 40, 100), (1, 4, 16))
    points = [
        {
            "gpuPercent": point.gpu_percent,
            "batch": point.batch,
            "latencyMicroseconds": round(point.latency_ms * 1000),
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


def dry_run(kubectl: Kubectl, folder: Path, obj: Object, *options: str) -> str:
    """Let the API server judge an object, without kubectl's own opinion and without keeping it."""
    file = folder / "object.json"
    file.write_text(json.dumps(obj))
    return kubectl.run("create", "--dry-run=server", "--validate=false", f"--filename={file}", *options)


class Shop:
    """A namespace of one test, and what an admin sees and does in it."""

    def __init__(self, kubectl: Kubectl, name: str, folder: Path) -> None:
        self._kubectl = kubectl
        self._folder = folder
        self.name = name

    def run(self, *args: str) -> str:
        return self._kubectl.run(f"--namespace={self.name}", *args)

    def apply(self, *objects: Object) -> None:
        file = self._folder / "objects.json"
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        self.run("apply", f"--filename={file}")

    def get(self, *args: str) -> Any:  # noqa: ANN401
        return json.loads(self.run("get", *args, "--output=json"))

    def uids(self, kinds: str) -> dict[str, str]:
        """The uid of each object of these kinds, by name."""
        return {item["metadata"]["name"]: item["metadata"]["uid"] for item in self.get(kinds)["items"]}

    def condition(self, model: str, kind: str) -> Mapping[str, str]:
        """The model's condition for its present generation; empty until there is one."""
        found = self.get("inferencemodel", model)
        generation = found["metadata"]["generation"]
        conditions = found.get("status", {}).get("conditions", [])
        return next(
            (c for c in conditions if c["type"] == kind and c["observedGeneration"] == generation), {}
        )

    def wait_for(self, model: str, kind: str, status: str, timeout_s: float) -> None:
        wait_until(lambda: self.condition(model, kind).get("status") == status, f"{kind}={status}", timeout_s)

    def schedules(self) -> dict[str, Object]:
        """The spec of each GPUSchedule, by name."""
        return {item["metadata"]["name"]: item["spec"] for item in self.get("gpuschedules")["items"]}

    def partitions(self) -> set[str]:
        """The partitions of this namespace on all GPUs."""
        specs = self.schedules().values()
        return {p["name"] for spec in specs for p in spec["partitions"] if p["namespace"] == self.name}


@pytest.fixture
def shop(kubectl: Kubectl, tmp_path: Path) -> Iterator[Shop]:
    name = f"shop-{next(_numbers)}"
    kubectl.run("create", "namespace", name)
    yield Shop(kubectl, name, tmp_path)
    kubectl.run("delete", "namespace", name, "--timeout=120s")


@pytest.fixture
def serving(shop: Shop) -> Shop:
    """A shop in which two workers serve MobileNet."""
    scaling = {"minReplicas": 2, "maxReplicas": 2}
    shop.apply(imported_profile("mobilenet_v2"), inference_model("mobilenet_v2", scaling=scaling))
    shop.wait_for("mobilenet-v2", "Ready", "True", STARTED_S)
    return shop


@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
def test_a_wrong_resource_is_refused_with_a_sentence(
    kubectl: Kubectl, tmp_path: Path, refusal: Refusal
) -> None:
    with pytest.raises(CommandError) as caught:
        dry_run(kubectl, tmp_path, refusal.obj)
    assert refusal.server_says in str(caught.value)


@pytest.mark.parametrize("obj", [MODEL, PROFILE, SCHEDULE], ids=lambda obj: obj["kind"])
def test_a_right_resource_is_taken(kubectl: Kubectl, tmp_path: Path, obj: Object) -> None:
    not_there_yet = {**obj, "metadata": {**obj["metadata"], "name": "right"}}
    assert "created" in dry_run(kubectl, tmp_path, not_there_yet)


def test_a_model_is_measured_placed_served_and_deleted_without_a_trace(shop: Shop) -> None:
    shop.apply(inference_model("alexnet"))
    shop.wait_for("alexnet", "Ready", "True", MEASURED_S)

    model = shop.get("inferencemodel", "alexnet")
    assert {c["type"]: c["status"] for c in model["status"]["conditions"]}["Profiled"] == "True"
    assert "finalizers" not in model["metadata"]
    assert "kopf" not in json.dumps(model["metadata"])
    (profile,) = shop.get("modelprofiles")["items"]
    assert profile["spec"]["source"] == "Measured"
    assert shop.uids("pods").keys() == shop.uids("resourceclaims").keys() == shop.partitions()
    reasons = {event["reason"] for event in shop.get("events.events.k8s.io")["items"]}
    assert {"Accepted", "Profiling", "Profiled", "Placed", "Serving"} <= reasons

    shop.run("delete", "inferencemodel", "alexnet")
    wait_until(lambda: not shop.get(MADE)["items"], "nothing is left of the model", timeout_s=60)
    wait_until(lambda: not shop.partitions(), "no GPU has a partition of it", timeout_s=10)


def test_a_schedule_edited_by_hand_is_restored(serving: Shop) -> None:
    before = serving.schedules()
    name = next(name for name, spec in before.items() if spec["partitions"])
    added = {**before[name]["partitions"][0], "name": "by-hand"}
    edits = [
        {"op": "replace", "path": "/spec/policy", "value": "Temporal"},
        {"op": "replace", "path": "/spec/partitions/0/weight", "value": 100},
        {"op": "add", "path": "/spec/partitions/-", "value": added},
    ]
    serving.run("patch", "gpuschedule", name, "--type=json", f"--patch={json.dumps(edits)}")
    wait_until(lambda: serving.schedules() == before, "the schedule is as it was", timeout_s=10)


def test_a_deleted_schedule_and_service_come_back_and_no_worker_restarts(serving: Shop) -> None:
    before, workers = serving.schedules(), serving.uids("pods")
    name = next(name for name, spec in before.items() if spec["partitions"])
    serving.run("delete", "gpuschedule", name)
    serving.run("delete", "service", "mobilenet-v2")
    wait_until(lambda: serving.schedules() == before, "the schedule is back", timeout_s=10)
    wait_until(lambda: "mobilenet-v2" in serving.uids("services"), "the Service is back", timeout_s=10)
    assert serving.uids("pods") == workers


def test_an_operator_killed_in_the_middle_ends_where_it_would_have(serving: Shop, kubectl: Kubectl) -> None:
    workers = serving.uids("pods")
    serving.apply(imported_profile("resnet18"), inference_model("resnet18"))
    pods = f"--selector=app.kubernetes.io/name=kneescale-operator --namespace={SYSTEM}".split()
    kubectl.run("delete", "pods", *pods, "--grace-period=0", "--force")
    serving.wait_for("resnet18", "Ready", "True", STARTED_S)
    after = serving.uids("pods")
    assert workers.items() <= after.items()
    assert after.keys() == serving.uids("resourceclaims").keys() == serving.partitions()


def test_a_larger_share_is_a_new_worker_before_the_old_one_goes(serving: Shop) -> None:
    old = serving.uids("pods").keys()
    change = {"spec": {"overrides": {"gpuPercent": 40}}}
    serving.run("patch", "inferencemodel", "mobilenet-v2", "--type=merge", f"--patch={json.dumps(change)}")

    def swapped() -> bool:
        ready = [pod["metadata"]["name"] for pod in serving.get("pods")["items"] if _is_ready(pod)]
        assert len(ready) >= 2, f"only {ready} serve"
        return len(ready) == 2 and not old & set(ready) and not old & serving.uids("pods").keys()

    wait_until(swapped, "new workers serve and the old ones are gone", STARTED_S)
    assert serving.get("inferencemodel", "mobilenet-v2")["status"]["gpuPercent"] == 40


def test_a_model_that_fits_nowhere_says_so_and_harms_no_other(serving: Shop) -> None:
    workers = serving.uids("pods")
    serving.apply(imported_profile("vgg19"), inference_model("vgg19", gpu={"memory": "20Gi"}))
    serving.wait_for("vgg19", "Placed", "False", timeout_s=10)
    message = serving.condition("vgg19", "Placed")["message"]
    assert "20" in message
    assert "16" in message
    assert serving.condition("mobilenet-v2", "Ready")["status"] == "True"
    assert serving.uids("pods") == workers


@pytest.mark.parametrize(
    ("node", "says"),
    [
        ("node2", "the agent of node node2 may not write an object of node node1"),
        ("", "this token names no node"),
    ],
)
def test_an_agent_writes_for_its_own_node_only(
    kubectl: Kubectl, tmp_path: Path, node: str, says: str
) -> None:
    pool = {"name": "node1", "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": "gpu.kneescale.dev", "nodeName": "node1", "pool": pool, "devices": []}
    slice_of_node1 = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": "node1-more"},
        "spec": spec,
    }
    user = [f"--as=system:serviceaccount:{SYSTEM}:kneescale-agent"]
    user += [f"--as-user-extra=authentication.kubernetes.io/node-name={node}"] if node else []
    with pytest.raises(CommandError, match=says):
        dry_run(kubectl, tmp_path, slice_of_node1, *user)


def _is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
