"""Where batches take longer than a profile says, the plan follows what is measured, and says so."""

import pytest

from kneescale.testing.cluster_life import settle
from kneescale.testing.world import World
from tests.plan.cluster import condition, emulated_world, model


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


def test_a_slowness_beyond_the_slo_is_an_obstacle_that_says_so() -> None:
    world = world_with_ratio(4000, slo={"latencyMilliseconds": 30})
    assert condition(world.get("InferenceModel", "resnet50"), "Placed")["reason"] == "InfeasibleSLO"
