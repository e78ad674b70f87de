"""Profiling: one Job for each thing to measure, one at a time on each device, and its result read."""

from datetime import timedelta

import pytest

from kneescale.api.vocabulary import Backend, ModelFormat
from kneescale.core.errors import InvalidInputError
from kneescale.plan.profiles import Subject, make_profile
from kneescale.plan.profiling import parse_result
from kneescale.plan.state import Manifest
from kneescale.testing.cluster_life import moves, settle
from kneescale.testing.world import World
from tests.plan.cluster import (
    PRODUCT,
    add_bare_node,
    condition,
    device,
    emulated_world,
    model,
    resource_slice,
)

SUBJECT = Subject("default", "catalog://resnet50", ModelFormat.EMULATED, PRODUCT, Backend.EMULATED)


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
    source = {"uri": "catalog://resnet50", "format": "Emulated"}
    for name in ("a", "b"):
        world.create(model(name, model=source))
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
    give_pod_that_waits(world, job["metadata"]["name"], "ErrImagePull", "a: not found")
    world.create(model("b"))
    world.reconcile()
    profiled = condition(world.get("InferenceModel", "a"), "Profiled")
    assert (profiled["reason"], profiled["message"]) == ("ImagePullBackOff", "a: not found")
    assert jobs(world) == [("a", "EMU-node1-0"), ("b", "EMU-node1-0")]


def give_pod_that_waits(world: World, job: str, reason: str, message: str) -> None:
    labels = {"batch.kubernetes.io/job-name": job, "kneescale.dev/role": "Profile"}
    metadata = {"name": f"{job}-0", "namespace": "default", "labels": labels}
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
    (profile,) = world.find("ModelProfile")
    world.remove("ModelProfile", profile["metadata"]["name"])
    world.reconcile()
    assert len(world.find("Job")) == 1


def test_a_result_becomes_a_profile() -> None:
    spec = parse_result(SUBJECT, '{"points": [[20, 1, 9000], [100, 1, 4000]]}')
    assert [(point.gpu_percent, point.batch, point.latency_microseconds) for point in spec.points] == [
        (20, 1, 9000),
        (100, 1, 4000),
    ]
    assert (spec.model_uri, spec.product_name, spec.source) == ("catalog://resnet50", PRODUCT, "Measured")


def test_what_was_fitted_is_told_from_what_was_measured() -> None:
    spec = parse_result(
        SUBJECT, '{"points": [[100, 1, 4000]], "fitted": [[20, 1, 9000]], "expectedErrorPercent": 7}'
    )
    assert [(point.gpu_percent, point.fitted) for point in spec.points] == [(100, False), (20, True)]
    assert (spec.expected_error_percent, spec.prediction_error_percent) == (7, None)
    surface = make_profile("p", spec).surface
    assert (surface.latency_ms(100, 1), surface.latency_ms(20, 1)) == (4, 9)


def test_a_profile_says_how_much_of_it_was_measured_and_how_sure_the_rest_is() -> None:
    world = emulated_world()
    profile = imported_profile()
    profile["spec"]["points"][0]["fitted"] = True
    profile["spec"] |= {"expectedErrorPercent": 8, "predictionErrorPercent": 14}
    world.create(profile)
    world.reconcile()
    assert condition(world.get("ModelProfile", "from-git"), "Accepted")["message"] == (
        "1 of 2 points measured, the rest fitted, nine in ten to 8 %; the prediction from its layers was "
        "14 % off at the median; no knee, latency falls up to 100 GPU%"
    )


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ('{"error": "model.pt: no such\\n file"}', "model.pt: no such file"),
        ("", "the profiling worker ended with '', not with points"),
        ("Killed", "the profiling worker ended with 'Killed', not with points"),
        ('{"points": []}', "profile.points must have 1 to 1000 items, not 0"),
        ('{"points": [[20, 1]]}', "not with points"),
        ('{"points": [[20, 1, 9000]], "fitted": 3}', "not with points"),
        ("[]", "not with points"),
        ('{"points": [[120, 1, 9000]]}', "gpuPercent must be between 1 and 100, not 120"),
    ],
)
def test_what_is_no_result_says_so(message: str, error: str) -> None:
    with pytest.raises(InvalidInputError, match=error):
        parse_result(SUBJECT, message)
