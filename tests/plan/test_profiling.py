"""Profiling: one Job for each thing to measure, one at a time on each device, and its result read."""

from collections.abc import Sequence
from copy import deepcopy
from datetime import timedelta

import pytest

from kneescale.plan.state import Manifest
from tests.plan.cluster import (
    PRODUCT,
    UNHEARD_OF,
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


def jobs(world: World) -> list[tuple[str, str]]:
    """(model, device) of each profiling Job that is not being deleted."""
    found = [job["metadata"] for job in world.find("Job") if "deletionTimestamp" not in job["metadata"]]
    return [
        (meta["labels"]["kneescale.dev/model"], meta["annotations"]["kneescale.dev/device"]) for meta in found
    ]


def test_models_are_profiled_side_by_side_on_free_devices_and_the_rest_waits() -> None:
    world = emulated_world(nodes=1, gpus=2)
    for name in ("a", "b", "c"):
        world.create(model(name))
    world.reconcile()
    assert jobs(world) == [("a", "EMU-node1-0"), ("b", "EMU-node1-1")]
    waiting = condition(world.get("InferenceModel", "c"), "Profiled")
    assert waiting["reason"] == "WaitingForGPU"
    assert waiting["message"] == "waits for another model's profiling on node1/gpu0, node1/gpu1 to end"


def test_a_profile_is_measured_once_for_all_models_of_a_uri() -> None:
    world = emulated_world()
    for name in ("a", "b"):
        world.create(model(name, model=UNHEARD_OF))
    world.reconcile()
    assert jobs(world) == [("a", "EMU-node1-0")]
    assert condition(world.get("InferenceModel", "b"), "Profiled")["reason"] == "Profiling"


def test_each_product_is_profiled() -> None:
    world = emulated_world(gpus=1)
    other = device("gpu0", "EMU-node2-0", "A100", "emulated", step=10, memory="40Gi")
    add_bare_node(world, "node2")
    world.create(resource_slice("node2", [other]))
    world.create(model("a"))
    settle(world)
    assert sorted(each["spec"]["productName"] for each in world.find("ModelProfile")) == ["A100", PRODUCT]


def test_a_job_under_way_is_a_partition_of_its_device() -> None:
    world = emulated_world(gpus=1)
    world.create(model("a"))
    world.reconcile()
    (schedule,) = world.find("GPUSchedule")
    (partition,) = schedule["spec"]["partitions"]
    (job,) = world.find("Job")
    (claim,) = world.find("ResourceClaim")
    assert partition["name"] == job["metadata"]["name"] == claim["metadata"]["name"]
    assert (partition["role"], partition["surface"], partition["lanes"]) == (
        "Profile",
        [],
        [10, 20, 30, 40, 50, 60, 70, 80, 90, 100],
    )


def test_a_job_that_cannot_start_says_why_and_keeps_nobody_from_the_device() -> None:
    world = emulated_world(gpus=1)
    world.create(model("a"))
    world.reconcile()
    (job,) = world.find("Job")
    give_pod_that_waits(world, job, "ErrImagePull", "a: not found")
    world.create(model("b"))
    world.reconcile()
    profiled = condition(world.get("InferenceModel", "a"), "Profiled")
    assert (profiled["reason"], profiled["message"]) == ("ImagePullBackOff", "a: not found")
    assert jobs(world) == [("a", "EMU-node1-0"), ("b", "EMU-node1-0")]


def give_pod_that_waits(world: World, job: Manifest, reason: str, message: str) -> None:
    name = job["metadata"]["name"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"]}
    metadata = {"name": f"{name}-0", "namespace": "default", "ownerReferences": [owner]}
    pod = world.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
    waiting = {"reason": reason, "message": message}
    pod["status"] = {"phase": "Pending", "containerStatuses": [{"state": {"waiting": waiting}}]}


def test_an_imported_profile_is_preferred_to_a_measured_one() -> None:
    world = emulated_world()
    world.create(model("resnet50"))
    settle(world)
    assert world.get("InferenceModel", "resnet50")["status"]["profile"].startswith("resnet50-v100-")
    world.create(imported_profile())
    settle(world)
    assert world.get("InferenceModel", "resnet50")["status"]["profile"] == "from-git"


def test_a_failure_that_was_started_anew_is_forgotten() -> None:
    world = emulated_world(gpus=1)
    world.broken["catalog://a"] = "out of memory"
    world.create(model("a"))
    settle(world)
    world.now += timedelta(minutes=1)
    settle(world)
    world.edit("InferenceModel", "a", lambda spec: spec.update(maxBatch=4))
    apply_all = [move for move in world.writes()[0] if move.name.startswith("apply")]
    for move in apply_all:
        move.make()  # the operator is killed before it deletes the failed second attempt
    (under_way,) = [job["metadata"]["name"] for job in world.find("Job") if "status" not in job]
    world.reconcile()
    assert "deletionTimestamp" not in world.get("Job", under_way)["metadata"]
    settle(world)
    assert "attempt 1" in condition(world.get("InferenceModel", "a"), "Profiled")["message"]


def test_an_imported_profile_spares_the_measurement_and_stays() -> None:
    world = emulated_world()
    world.create(imported_profile())
    world.create(model("resnet50"))
    world.reconcile()
    assert world.find("Job") == []
    settle(world)
    assert world.get("InferenceModel", "resnet50")["status"]["profile"] == "from-git"
    world.remove("InferenceModel", "resnet50")
    settle(world)
    assert [each["metadata"]["name"] for each in world.find("ModelProfile")] == ["from-git"]


def test_a_measurement_gives_way_to_a_worker_that_needs_its_room() -> None:
    world = emulated_world(gpus=1)
    world.create(model("new", model=UNHEARD_OF, gpu={"memory": "9Gi"}))
    world.reconcile()
    assert jobs(world) == [("new", "EMU-node1-0")]
    world.create(imported_profile())
    world.create(model("resnet50", gpu={"memory": "9Gi"}))
    world.reconcile()
    assert jobs(world) == []
    profiled = condition(world.get("InferenceModel", "new"), "Profiled")
    assert (profiled["reason"], profiled["message"]) == (
        "MakingRoom",
        "made room on node1/gpu0 for a worker; starts again where there is some",
    )
    settle(world)
    assert len(ready_pods(world, "resnet50")) == 1
    assert condition(world.get("InferenceModel", "new"), "Profiled")["reason"] == "InsufficientMemory"


def test_nothing_is_measured_in_room_that_a_worker_waits_for() -> None:
    world = emulated_world(gpus=1)
    world.create(imported_profile())
    world.create(model("resnet50", gpu={"memory": "9Gi"}))
    settle(world)
    world.edit("InferenceModel", "resnet50", lambda spec: spec.update(gpu={"memory": "8Gi"}))
    world.create(model("small", model=UNHEARD_OF, gpu={"memory": "1Gi"}))
    world.reconcile()
    assert condition(world.get("InferenceModel", "resnet50"), "Placed")["reason"] == "MakingRoom"
    assert condition(world.get("InferenceModel", "small"), "Profiled")["reason"] == "InsufficientMemory"
    assert jobs(world) == []
    settle(world)
    assert condition(world.get("InferenceModel", "small"), "Profiled")["reason"] == "Profiled"


def test_an_exported_profile_is_one_applied_by_hand_in_another_cluster() -> None:
    world, elsewhere = emulated_world(), emulated_world()
    world.create(model("a", model=UNHEARD_OF))
    settle(world)
    elsewhere.create(exported(world))
    elsewhere.create(model("a", model=UNHEARD_OF))
    elsewhere.reconcile()
    assert elsewhere.find("Job") == []
    elsewhere.remove("InferenceModel", "a")
    settle(elsewhere)
    assert [each["spec"] for each in elsewhere.find("ModelProfile")] == [exported(world)["spec"]]


def exported(world: World) -> Manifest:
    """The ModelProfile as `kubectl get --output=yaml` gives it, which leaves out who wrote which field."""
    (profile,) = deepcopy(world.find("ModelProfile"))
    profile["metadata"].pop("managedFields")
    return profile


def test_a_digest_is_one_model_whatever_the_registry() -> None:
    world = cpu_world()
    digest = "@sha256:0123456789abcdef"
    for name, image in (("a", "one.example/lite0:1"), ("b", "two.example/mirror/lite0")):
        world.create(model(name, model={"uri": f"oci://{image}{digest}", "format": "TorchScript"}))
    world.reconcile()
    assert jobs(world) == [("a", "CPU-node1")]
    settle(world)
    profile = profile_of(world)
    assert profile["spec"]["modelURI"] == f"oci://one.example/lite0:1{digest}"
    assert {each["status"]["profile"] for each in world.find("InferenceModel")} == {
        profile["metadata"]["name"]
    }


def test_tags_and_namespaces_do_not_share() -> None:
    world = cpu_world()
    for name, image in (("a", "one.example/lite0:1"), ("b", "two.example/lite0:1")):
        world.create(model(name, model={"uri": f"oci://{image}", "format": "TorchScript"}))
    elsewhere = model("a", model={"uri": "oci://one.example/lite0:1", "format": "TorchScript"})
    elsewhere["metadata"]["namespace"] = "other"
    world.create(elsewhere)
    settle(world)
    assert len(world.find("ModelProfile")) == 3


def cpu_world() -> World:
    world = emulated_world(nodes=0)
    add_bare_node(world, "node1")
    cpu = device("cpu0", "CPU-node1", "CPU-2x-epyc", "cpu", step=50, memory="16Gi")
    world.create(resource_slice("node1", [cpu]))
    return world


def imported_profile() -> Manifest:
    return {
        "apiVersion": "kneescale.dev/v1alpha1",
        "kind": "ModelProfile",
        "metadata": {"name": "from-git", "namespace": "default"},
        "spec": {
            "modelURI": "catalog://resnet50",
            "format": "Emulated",
            "productName": PRODUCT,
            "backend": "emulated",
            "source": "Measured",
            "points": [
                {"gpuPercent": 20, "batch": 1, "latencyMicroseconds": 9000},
                {"gpuPercent": 100, "batch": 1, "latencyMicroseconds": 4000},
            ],
        },
    }


def test_a_job_whose_device_is_gone_starts_again_elsewhere() -> None:
    world = emulated_world(nodes=2, gpus=1)
    world.create(model("a"))
    world.reconcile()
    assert jobs(world) == [("a", "EMU-node1-0")]
    world.remove("ResourceSlice", "node1-slice", namespace="")
    world.reconcile()
    assert jobs(world) == []
    for move in moves(world):
        move.make()
    world.reconcile()
    assert jobs(world) == [("a", "EMU-node2-0")]


def test_a_deleted_measured_profile_is_measured_again() -> None:
    world = emulated_world()
    world.create(model("a"))
    settle(world)
    profile = profile_of(world)
    world.remove("ModelProfile", profile["metadata"]["name"])
    world.reconcile()
    assert len(world.find("Job")) == 1


def test_a_profile_says_how_much_of_it_was_measured_and_how_sure_the_rest_is() -> None:
    world = emulated_world()
    profile = imported_profile()
    profile["spec"]["points"][0]["fitted"] = True
    profile["spec"] |= {"expectedErrorPercent": 8, "predictionErrorPercent": 14}
    world.create(profile)
    world.reconcile()
    assert condition(world.get("ModelProfile", "from-git"), "Accepted")["message"] == (
        "1 of 2 points measured, the rest fitted, nine in ten to 8 %; the prediction from its layers was "
        "14 % off at the median; no knee found up to 100 GPU%"
    )


@pytest.mark.parametrize(
    ("gpu_percents", "knee"),
    [
        ((10, 50), "no knee found up to 50 GPU%"),
        ((95, 100), "no knee found up to 100 GPU%"),
        ((100,), "no knee, 100 is the only GPU%"),
    ],
)
def test_no_knee_is_found_where_no_step_can_be_looked_at(gpu_percents: Sequence[int], knee: str) -> None:
    world = emulated_world()
    profile = imported_profile()
    profile["spec"]["points"] = [
        {"gpuPercent": percent, "batch": 1, "latencyMicroseconds": 400_000 // percent}
        for percent in gpu_percents
    ]
    world.create(profile)
    world.reconcile()
    message = condition(world.get("ModelProfile", "from-git"), "Accepted")["message"]
    assert message.endswith(f"; {knee}")
