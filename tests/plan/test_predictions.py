"""A model serves on a prediction where there is one, until it is measured."""

import pytest

from kneescale.core.surfaces.catalog import lookup
from tests.plan.cluster import PRODUCT, UNHEARD_OF, condition, emulated_world, model, profile_of
from tests.plan.cluster_life import moves, ready_pods, settle
from tests.plan.world import World

NAME = "resnet50"


def make_all_but_jobs_end(world: World) -> None:
    """Let everything happen that does while the measurement goes on."""
    for _ in range(4):
        world.reconcile()
        for move in moves(world):
            if not move.name.startswith("job"):
                move.make()
    world.reconcile()


def measuring_world(**spec: object) -> World:
    world = emulated_world()
    world.create(model(NAME, **spec))
    make_all_but_jobs_end(world)
    return world


def test_it_serves_while_it_is_measured_and_says_on_what() -> None:
    world = measuring_world()
    assert len(world.find("Job")) == 1
    assert len(ready_pods(world, NAME)) == 1
    profiled = condition(world.get("InferenceModel", NAME), "Profiled")
    assert (profiled["status"], profiled["reason"]) == ("True", "Predicted")
    assert "as predicted to 5 %, which plans add to its times" in profiled["message"]
    assert "measuring on node1/gpu1" in profiled["message"]


def test_the_profile_is_marked_and_not_complete() -> None:
    world = measuring_world()
    profile = profile_of(world)
    assert (profile["spec"]["source"], profile["spec"]["expectedErrorPercent"]) == ("Predicted", 5)
    assert "stack" not in profile["spec"]
    complete = condition(profile, "Complete")
    assert (complete["status"], complete["reason"]) == ("False", "Profiling")
    assert condition(profile, "Accepted")["message"] == (
        "50 points, predicted; nine in ten are off by up to 5 %; knee at 60 GPU%"
    )


def test_plans_add_the_error_of_a_prediction_to_its_times() -> None:
    world = measuring_world()
    (partition,) = (
        partition
        for schedule in world.find("GPUSchedule")
        for partition in schedule["spec"]["partitions"]
        if partition["role"] == "Serve"
    )
    figures = lookup(NAME, PRODUCT)
    slowest = partition["surface"][0]
    assert slowest["latencyMicroseconds"] == pytest.approx(
        1.05 * 1000 * figures.latency_ms(slowest["gpuPercent"], slowest["batch"]), rel=1e-4
    )


def test_the_profile_says_how_far_measuring_is() -> None:
    world = measuring_world()
    assert "progress" not in profile_of(world)["status"]
    (job,) = world.find("Job")
    (report,) = (
        partition
        for schedule in world.find("GPUSchedule")
        for partition in schedule["status"]["partitions"]
        if partition["name"] == job["metadata"]["name"]
    )
    report["profiling"] = {"measured": 5, "runs": 40, "errorPercent": 12}
    world.reconcile()
    said = "5 of at most 40 points, known to 12 %"
    assert profile_of(world)["status"]["progress"] == said
    assert condition(profile_of(world), "Complete")["message"] == f"measuring on node1/gpu1: {said}"
    settle(world)
    assert "progress" not in profile_of(world)["status"]


def test_only_the_agent_that_measures_says_how_far_it_is() -> None:
    world = measuring_world()
    (job,) = world.find("Job")
    name = job["metadata"]["name"]
    (other,) = (
        schedule
        for schedule in world.find("GPUSchedule")
        if name not in [partition["name"] for partition in schedule["spec"]["partitions"]]
    )
    progress = {"measured": 39, "runs": 40, "errorPercent": 1}
    other["status"]["partitions"] = [{"name": name, "state": "Serving", "profiling": progress}]
    world.reconcile()
    assert "progress" not in profile_of(world)["status"]


def test_what_is_measured_takes_its_place_and_is_planned_with_at_once() -> None:
    world = measuring_world()
    predicted_ms = world.get("InferenceModel", NAME)["status"]["predictedLatencyMilliseconds"]
    name = profile_of(world)["metadata"]["name"]
    settle(world)
    profile = profile_of(world)
    assert (profile["metadata"]["name"], profile["spec"]["source"]) == (name, "Measured")
    complete = condition(profile, "Complete")
    assert (complete["status"], complete["reason"]) == ("True", "Measured")
    obj = world.get("InferenceModel", NAME)
    assert condition(obj, "Profiled")["reason"] == "Profiled"
    assert obj["status"]["predictedLatencyMilliseconds"] != predicted_ms
    assert [event.reason for event in world.events].count("Profiled") == 1


def test_without_a_basis_nothing_is_predicted_and_the_profile_waits() -> None:
    world = measuring_world(model=UNHEARD_OF)
    assert world.find("Pod") == []
    profiled = condition(world.get("InferenceModel", NAME), "Profiled")
    assert (profiled["status"], profiled["reason"]) == ("False", "Profiling")
    profile = profile_of(world)
    assert (profile["spec"]["source"], profile["spec"]["points"]) == ("Pending", [])
    assert condition(profile, "Complete")["message"].startswith("measuring on node1/gpu0")
    settle(world)
    assert profile_of(world)["spec"]["source"] == "Measured"


def test_a_prediction_that_cannot_be_measured_says_so_and_serves() -> None:
    world = emulated_world(gpus=1)
    world.create(model(NAME, gpu={"memory": "9Gi"}))
    settle(world)
    assert len(ready_pods(world, NAME)) == 1
    assert condition(profile_of(world), "Complete")["reason"] == "InsufficientMemory"


def test_a_measured_profile_is_preferred_to_a_prediction_applied_by_hand() -> None:
    world = emulated_world()
    world.create(model(NAME))
    settle(world)
    measured = profile_of(world)
    copied = {
        "apiVersion": measured["apiVersion"],
        "kind": "ModelProfile",
        "metadata": {"name": "by-hand", "namespace": "default"},
        "spec": {**measured["spec"], "source": "Predicted", "expectedErrorPercent": 9},
    }
    world.create(copied)
    settle(world)
    assert world.get("InferenceModel", NAME)["status"]["profile"] == measured["metadata"]["name"]
    assert world.find("Job") == []
