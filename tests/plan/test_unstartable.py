"""A GPU whose node cannot start a model's worker is given up for another one that has room."""

from datetime import timedelta

import pytest

from tests.plan.cluster import UNHEARD_OF, condition, device_of, emulated_world, model
from tests.plan.cluster_life import ready_pods, settle
from tests.plan.world import World

NEXT_TO_NONE_OTHER = {"gpu": {"memory": "9Gi"}}


def pass_minutes(world: World, minutes: int) -> None:
    for _ in range(2 * minutes):
        world.now += timedelta(seconds=30)
        settle(world)


@pytest.fixture
def world() -> World:
    """Two nodes with a GPU each, the first of which has no room for a pod."""
    world = emulated_world(nodes=2, gpus=1)
    world.full_nodes.add("node1")
    return world


def test_the_model_goes_to_another_gpu_after_a_minute(world: World) -> None:
    world.create(model("resnet50"))
    settle(world)
    (pod,) = world.find("Pod")
    assert device_of(pod) == "EMU-node1-0"
    assert condition(world.get("InferenceModel", "resnet50"), "Ready")["reason"] == "Unschedulable"
    pass_minutes(world, 2)
    (pod,) = world.find("Pod")
    assert device_of(pod) == "EMU-node2-0"
    assert condition(world.get("InferenceModel", "resnet50"), "Ready")["status"] == "True"
    pass_minutes(world, 20)
    assert world.find("Pod") == [pod]


def test_it_stays_where_no_other_gpu_has_room(world: World) -> None:
    world.create(model("first", model=UNHEARD_OF, **NEXT_TO_NONE_OTHER))
    world.full_nodes = {"node2"}
    settle(world)
    world.create(model("second", model=UNHEARD_OF, **NEXT_TO_NONE_OTHER))
    settle(world)
    (before,) = [pod for pod in world.find("Pod") if device_of(pod) == "EMU-node2-0"]
    pass_minutes(world, 5)
    assert before in world.find("Pod")


def test_where_no_node_starts_it_it_moves_about_less_and_less_often(world: World) -> None:
    world.create(model("resnet50"))
    world.full_nodes.add("node2")
    settle(world)
    moved_after = []
    for minute in range(60):
        (before,) = world.find("Pod")
        pass_minutes(world, 1)
        if world.find("Pod") != [before]:
            moved_after.append(minute + 1)
    assert moved_after[:4] == [1, 2, 4, 8]
    assert len(moved_after) < 12


def test_the_old_worker_serves_until_one_elsewhere_does(world: World) -> None:
    world.full_nodes.clear()
    world.create(model("resnet50"))
    settle(world)
    old = ready_pods(world, "resnet50")
    world.full_nodes.add("node1")
    world.edit("InferenceModel", "resnet50", lambda spec: spec.update(maxBatch=8))
    for _ in range(30):
        world.now += timedelta(seconds=30)
        settle(world, lambda: None if ready_pods(world, "resnet50") else pytest.fail("nobody serves"))
    (pod,) = world.find("Pod")
    assert device_of(pod) == "EMU-node2-0"
    assert ready_pods(world, "resnet50") != old


def test_what_could_not_be_measured_on_one_gpu_is_measured_on_another(world: World) -> None:
    world.create(model("resnet50", model=UNHEARD_OF))
    settle(world)
    profiled = condition(world.get("InferenceModel", "resnet50"), "Profiled")
    assert profiled["reason"] == "ProfileFailed"
    assert "it did not end in time, the pull of its image included" in profiled["message"]
    pass_minutes(world, 2)
    assert condition(world.get("InferenceModel", "resnet50"), "Profiled")["status"] == "True"
