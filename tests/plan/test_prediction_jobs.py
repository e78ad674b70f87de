"""Where a GPU has a datasheet, a Job without a GPU predicts a model from its kernels."""

from dataclasses import replace
from datetime import timedelta

from kneescale.api.conditions import format_time
from kneescale.plan.state import Manifest
from tests.plan.cluster import (
    PRODUCT,
    add_bare_node,
    condition,
    device,
    emulated_world,
    model,
    profile_of,
    resource_slice,
)
from tests.plan.cluster_life import moves, ready_pods, settle
from tests.plan.world import World

NAME = "lite0"
SOURCE = {"uri": "oci://example.org/lite0:1", "format": "TorchScript"}


def gpu_world(product: str = PRODUCT) -> World:
    """A cluster with one GPU, and a model of which nothing is known."""
    world = emulated_world(nodes=0)
    add_bare_node(world, "node1")
    world.create(resource_slice("node1", [device("gpu0", "GPU-0", product, "cuda-mps", 10, "16Gi")]))
    world.create(model(NAME, model=SOURCE))
    world.reconcile()
    return world


def jobs_of(world: World, role: str) -> list[Manifest]:
    return [job for job in world.find("Job") if job["metadata"]["labels"]["kneescale.dev/role"] == role]


def make(world: World, *names: str) -> None:
    """Make the moves whose names have one of these in them, and reconcile."""
    for move in moves(world):
        if any(name in move.name for name in names):
            move.make()
    world.reconcile()


def test_the_job_has_no_claim_and_runs_where_the_gpus_are() -> None:
    world = gpu_world()
    (job,) = jobs_of(world, "Predict")
    (claim,) = world.find("ResourceClaim")
    assert claim["metadata"]["name"] != job["metadata"]["name"]
    pod_spec = job["spec"]["template"]["spec"]
    (container,) = pod_spec["containers"]
    assert container["command"][3:] == [
        "predict",
        "/model",
        f"--product={PRODUCT}",
        "--lanes=10,20,30,40,50,60,70,80,90,100",
        "--max-batch=16",
    ]
    # Its label kubernetes.io/hostname may say something else.
    named = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node1"]}]}
    assert pod_spec["affinity"]["nodeAffinity"] == {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [named]}
    }
    assert pod_spec["volumes"] == [
        {"name": "model", "image": {"reference": "example.org/lite0:1", "pullPolicy": "IfNotPresent"}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
    ]
    # Its root is read-only, and torch looks for a temporary folder where it shows kernels.
    assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
    assert "resourceClaims" not in pod_spec
    assert "claims" not in container["resources"]
    assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in container["env"]
    assert pod_spec["securityContext"]["runAsNonRoot"] is True


def test_a_job_that_measures_reads_the_kernels_too() -> None:
    (job,) = jobs_of(gpu_world(), "Profile")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


def test_a_model_serves_on_what_it_predicted_until_it_is_measured() -> None:
    world = gpu_world()
    assert profile_of(world)["spec"]["source"] == "Pending"
    make(world, "-predict-")
    assert (profile_of(world)["spec"]["source"], profile_of(world)["spec"]["expectedErrorPercent"]) == (
        "Predicted",
        80,
    )
    world.reconcile()
    assert len(jobs_of(world, "Profile")) == 1
    assert [job for job in jobs_of(world, "Predict") if "deletionTimestamp" not in job["metadata"]] == []
    make(world, " starts")
    assert len(ready_pods(world, NAME)) == 1
    settle(world)
    assert profile_of(world)["spec"]["source"] == "Measured"
    assert world.find("Job") == []


def test_what_is_measured_first_is_not_predicted_any_more() -> None:
    world = gpu_world()
    make(world, "-profile-")
    world.reconcile()
    assert profile_of(world)["spec"]["source"] == "Measured"
    assert all("deletionTimestamp" in job["metadata"] for job in world.find("Job"))
    settle(world)
    assert profile_of(world)["spec"]["source"] == "Measured"


def test_a_model_that_cannot_be_predicted_is_measured_and_that_is_tried_once() -> None:
    world = gpu_world()
    world.broken[SOURCE["uri"]] = "its kernels cannot be read"
    make(world, "-predict-")
    for _ in range(3):
        world.reconcile()
    assert [job["status"]["conditions"][0]["type"] for job in jobs_of(world, "Predict")] == ["Failed"]
    assert condition(world.get("InferenceModel", NAME), "Profiled")["reason"] == "Profiling"
    world.broken.clear()
    settle(world)
    assert profile_of(world)["spec"]["source"] == "Measured"
    assert world.find("Job") == []


def run_out_of_time(world: World) -> None:
    """The Job under way takes too long: its pod, which goes with it, left no word."""
    (job,) = [job for job in jobs_of(world, "Predict") if "status" not in job]
    failed = {"type": "Failed", "status": "True", "lastTransitionTime": format_time(world.now)}
    job["status"] = {"conditions": [failed | {"reason": "DeadlineExceeded", "message": "took too long"}]}


def test_a_job_that_failed_by_accident_is_tried_again_after_longer_and_longer_pauses() -> None:
    world = gpu_world()
    for minutes in (1, 2, 4):
        run_out_of_time(world)
        due_s = world.requeue_after_s()
        world.reconcile()
        assert all("status" in job for job in jobs_of(world, "Predict"))
        world.now += timedelta(minutes=minutes)
        world.reconcile()
        assert due_s == minutes * 60
    make(world, "-predict-")
    assert profile_of(world)["spec"]["source"] == "Predicted"
    settle(world)
    assert world.find("Job") == []


def test_another_image_may_read_what_this_one_could_not() -> None:
    world = gpu_world()
    world.broken[SOURCE["uri"]] = "its kernels cannot be read"
    make(world, "-predict-")
    world.broken.clear()
    world.settings = replace(world.settings, worker_image="kneescale/worker:2")
    world.reconcile()
    assert len([job for job in jobs_of(world, "Predict") if "status" not in job]) == 1


def test_a_gpu_without_a_datasheet_is_measured_alone() -> None:
    assert jobs_of(gpu_world("GPU-of-tomorrow"), "Predict") == []
