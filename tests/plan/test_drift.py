"""Where batches take longer than a profile says, the plan follows what is measured, and says so."""

import pytest

from tests.plan.cluster import condition, emulated_world, model, profile_of
from tests.plan.cluster_life import settle
from tests.plan.world import World


def world_with_ratio(permille: int, **spec: object) -> World:
    world = emulated_world(gpus=1)
    world.create(model("resnet50", **spec))
    settle(world)
    (schedule,) = world.find("GPUSchedule")
    (status,) = schedule["status"]["partitions"]
    status["latencyRatioPermille"] = permille
    world.reconcile()
    return world


def area_and_surface(world: World) -> tuple[int, list[dict[str, int]]]:
    (schedule,) = world.find("GPUSchedule")
    (partition,) = schedule["spec"]["partitions"]
    return partition["areaPermille"], partition["surface"]


@pytest.mark.parametrize("permille", [960, 1000, 1040])
def test_a_little_drift_changes_nothing(permille: int) -> None:
    assert area_and_surface(world_with_ratio(permille)) == area_and_surface(world_with_ratio(1000))


def test_slower_hardware_takes_more_area_of_the_plan_and_leaves_the_surface_as_measured() -> None:
    area, surface = area_and_surface(world_with_ratio(1000))
    slow_world = world_with_ratio(1310)
    slow_area, same_surface = area_and_surface(slow_world)
    assert slow_area == pytest.approx(1.3 * area, rel=0.35)
    assert slow_area > area
    assert same_surface == surface
    message = condition(slow_world.get("InferenceModel", "resnet50"), "Placed")["message"]
    assert "(1.3 times what its profile says, as measured of late)" in message


@pytest.mark.parametrize("permille", [1, 49])
def test_a_speed_beyond_measure_leaves_a_surface(permille: int) -> None:
    world = world_with_ratio(permille)
    assert condition(world.get("InferenceModel", "resnet50"), "Placed")["reason"] == "Placed"


def test_a_slowness_beyond_the_slo_is_an_obstacle_that_says_so() -> None:
    world = world_with_ratio(4000, slo={"latencyMilliseconds": 30})
    assert condition(world.get("InferenceModel", "resnet50"), "Placed")["reason"] == "InfeasibleSLO"


def report(world: World, permille: int | None) -> None:
    """The agent has taken the schedule, and says what it measures."""
    (schedule,) = world.find("GPUSchedule")
    schedule["status"]["observedGeneration"] = schedule["metadata"]["generation"]
    schedule["status"]["partitions"][0]["latencyRatioPermille"] = permille
    world.reconcile()


def profile_ratio(world: World) -> object:
    profile = profile_of(world)
    return profile["status"].get("latencyRatioPermille")


def test_the_profile_says_it_and_it_is_remembered_while_nobody_measures() -> None:
    world = world_with_ratio(1310)
    area, _ = area_and_surface(world)
    assert profile_ratio(world) == 1300
    report(world, None)  # a worker that is started anew
    assert (area_and_surface(world)[0], profile_ratio(world)) == (area, 1300)
    report(world, 1010)
    assert profile_ratio(world) is None
    assert area_and_surface(world)[0] < area


def test_what_was_measured_beside_an_older_profile_says_nothing_of_a_new_one() -> None:
    world = world_with_ratio(1310)
    profile = profile_of(world)
    points = [{**point, "latencyMicroseconds": 7_000} for point in profile["spec"]["points"]]
    world.edit("ModelProfile", profile["metadata"]["name"], lambda spec: spec.update(points=points))
    for _ in range(3):
        world.reconcile()
    message = condition(world.get("InferenceModel", "resnet50"), "Placed")["message"]
    assert "in 7 ms" in message
    assert "times what its profile says" not in message
    assert profile_ratio(world) is None


def test_what_an_agent_says_of_a_schedule_before_this_one_does_not_count() -> None:
    world = world_with_ratio(1000)
    (schedule,) = world.find("GPUSchedule")
    schedule["status"]["partitions"][0]["latencyRatioPermille"] = 1310
    schedule["metadata"]["generation"] += 1
    world.reconcile()
    assert profile_ratio(world) is None
