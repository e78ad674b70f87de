"""The operator on a real API server, with real agents and emulated GPUs."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster.kubectl import Kubectl
from e2e.cluster.local import LocalCluster
from e2e.demo.system import NAMESPACE, Kneescale
from e2e.leaks import wait_until_tidy
from e2e.shop import STARTED_S, Object, Shop, imported_profile, inference_model, opened
from harness.runner import CommandError
from harness.wait import wait_until
from tests.contract.refusals import MODEL, PROFILE, REFUSALS, SCHEDULE, Refusal

pytestmark = pytest.mark.cluster

#: Everything that the operator makes for a model.
MADE = "pods,jobs,resourceclaims,services,modelprofiles"
MEASURED_S = 240.0
TIDY_S = 30.0


def dry_run(kubectl: Kubectl, folder: Path, obj: Object, *options: str) -> str:
    """Let the API server judge an object, without kubectl's own opinion and without keeping it."""
    file = folder / "object.json"
    file.write_text(json.dumps(obj))
    return kubectl.run("create", "--dry-run=server", "--validate=false", f"--filename={file}", *options)


@pytest.fixture
def shop(kubectl: Kubectl, local_cluster: LocalCluster, tmp_path: Path) -> Iterator[Shop]:
    """A shop; once it is closed, nothing is left over."""
    with opened(kubectl, tmp_path) as shop:
        yield shop
    wait_until_tidy(local_cluster, kubectl, TIDY_S)


@pytest.fixture
def serving(shop: Shop) -> Shop:
    """A shop in which two workers serve MobileNet."""
    scaling = {"minReplicas": 2, "maxReplicas": 2}
    shop.apply(imported_profile("mobilenet_v2"), inference_model("mobilenet_v2", scaling=scaling))
    shop.wait_for("mobilenet-v2", "Ready", "True", STARTED_S)
    return shop


def test_what_agents_decide_with_is_compiled(kubectl: Kubectl) -> None:
    pod = Kneescale(kubectl).agent_on("node1")["metadata"]["name"]
    code = "from kneescale.core.dispatching import dispatcher; print(dispatcher.__file__)"
    where = kubectl.run(f"--namespace={NAMESPACE}", "exec", pod, "--", "python", "-c", code)
    assert where.strip().endswith(".so")


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


def test_a_model_is_predicted_served_measured_and_deleted_without_a_trace(shop: Shop) -> None:
    shop.apply(inference_model("alexnet"))
    shop.wait_for("alexnet", "Ready", "True", STARTED_S)

    model = shop.get("inferencemodel", "alexnet")
    assert {c["type"]: c["status"] for c in model["status"]["conditions"]}["Profiled"] == "True"
    assert "finalizers" not in model["metadata"]
    assert "kopf" not in json.dumps(model["metadata"])
    profile = wait_until_measured(shop)
    assert profile["spec"]["source"] == "Measured"
    assert profile["spec"]["stack"]["workerImage"]
    wait_until(lambda: not shop.get("jobs")["items"], "the Job is gone", timeout_s=30)
    wait_until(
        lambda: shop.uids("pods").keys() == shop.uids("resourceclaims").keys() == shop.partitions(),
        "what serves is all that is left",
        timeout_s=60,
    )
    reasons = {event["reason"] for event in shop.get("events.events.k8s.io")["items"]}
    assert {"Accepted", "Predicted", "Profiled", "Placed", "Serving"} <= reasons

    shop.run("delete", "inferencemodel", "alexnet")
    wait_until(lambda: not shop.get(MADE)["items"], "nothing is left of the model", timeout_s=60)
    wait_until(lambda: not shop.partitions(), "no GPU has a partition of it", timeout_s=10)


def wait_until_measured(shop: Shop) -> Object:
    """The one ModelProfile, once `kubectl wait` says that nothing is left to measure."""
    (name,) = shop.uids("modelprofiles")
    profile = f"modelprofile/{name}"
    shop.run("wait", "--for=condition=Complete", profile, f"--timeout={MEASURED_S:.0f}s")
    measured: Object = shop.get(profile)
    return measured


def test_an_exported_profile_spares_the_measurement_elsewhere(
    shop: Shop, kubectl: Kubectl, tmp_path: Path
) -> None:
    shop.apply(inference_model("squeezenet1_1"))
    wait_until(lambda: bool(shop.uids("modelprofiles")), "there is a profile", timeout_s=10)
    wait_until_measured(shop)
    file = tmp_path / "profile.yaml"
    with opened(kubectl, tmp_path) as other:
        exported = shop.run("get", "modelprofiles", "--output=yaml")
        file.write_text(exported.replace(f"namespace: {shop.name}", f"namespace: {other.name}"))
        other.run("apply", f"--filename={file}")
        other.apply(inference_model("squeezenet1_1"))
        other.wait_for("squeezenet1-1", "Ready", "True", STARTED_S)
        assert other.get("jobs")["items"] == []
        other.run("delete", "inferencemodel", "squeezenet1-1")
        wait_until(lambda: not other.uids("pods"), "the model is gone", timeout_s=60)
        assert other.uids("modelprofiles").keys() == shop.uids("modelprofiles").keys()


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
    pods = f"--selector=app.kubernetes.io/name=kneescale-operator --namespace={NAMESPACE}".split()
    kubectl.run("delete", "pods", *pods, "--grace-period=0", "--force")
    serving.wait_for("resnet18", "Ready", "True", STARTED_S)
    after = serving.uids("pods")
    assert workers.items() <= after.items()
    assert after.keys() == serving.uids("resourceclaims").keys() == serving.partitions()


def test_a_larger_share_is_a_new_worker_before_the_old_one_goes(serving: Shop) -> None:
    old = serving.uids("pods").keys()
    serving.change("mobilenet-v2", overrides={"gpuPercent": 40})

    def swapped() -> bool:
        ready = serving.ready_pods()
        assert len(ready) >= 2, f"only {ready} serve"
        return len(ready) == 2 and not old & ready and not old & serving.uids("pods").keys()

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
    # What would do is asked for, for a cluster autoscaler to see.
    assert workers.items() <= serving.uids("pods").items()
    for kind in ("pods", "resourceclaims"):
        assert serving.uids(kind).keys() - workers.keys() == {"vgg19-wanted-1"}
    assert serving.ready_pods() == set(workers)


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
    user = [f"--as=system:serviceaccount:{NAMESPACE}:kneescale-agent"]
    user += [f"--as-user-extra=authentication.kubernetes.io/node-name={node}"] if node else []
    with pytest.raises(CommandError, match=says):
        dry_run(kubectl, tmp_path, slice_of_node1, *user)
