"""What was measured on a stack that is no more is measured anew; the models serve on it meanwhile."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from kneescale.plan.state import Manifest
from tests.plan.cluster import UNHEARD_OF, condition, emulated_world, model, profile_of
from tests.plan.cluster_life import ready_pods, settle
from tests.plan.world import World

NAME = "resnet50"


def set_driver(world: World, node: str, version: str) -> None:
    for device in world.get("ResourceSlice", f"{node}-slice", "")["spec"]["devices"]:
        device["attributes"]["driverVersion"] = {"version": version}


def set_image(world: World) -> None:
    world.settings = replace(world.settings, worker_image="kneescale/worker:2")


def measured_world(nodes: int = 1) -> World:
    world = emulated_world(nodes=nodes)
    for number in range(1, nodes + 1):
        set_driver(world, f"node{number}", "570.0.1")
    world.create(model(NAME, model=UNHEARD_OF))
    settle(world)
    return world


def test_a_profile_names_the_stack_that_it_was_measured_on() -> None:
    stack = profile_of(measured_world())["spec"]["stack"]
    assert stack == {"driverVersion": "570.0.1", "workerImage": "kneescale/worker:1"}


@pytest.mark.parametrize(
    ("change", "says", "stack"),
    [
        (
            lambda world: set_driver(world, "node1", "580.0.1"),
            "measured with driver 570.0.1, and now it is 580.0.1",
            {"driverVersion": "580.0.1", "workerImage": "kneescale/worker:1"},
        ),
        (
            set_image,
            "measured with worker image kneescale/worker:1, and now it is kneescale/worker:2",
            {"driverVersion": "570.0.1", "workerImage": "kneescale/worker:2"},
        ),
    ],
    ids=["driver", "image"],
)
def test_another_stack_is_measured_anew_while_the_model_serves_on(
    change: Callable[[World], None], says: str, stack: Manifest
) -> None:
    world = measured_world()
    change(world)
    world.reconcile()
    world.reconcile()
    complete = condition(profile_of(world), "Complete")
    assert (complete["status"], complete["reason"]) == ("False", "Profiling")
    assert complete["message"].startswith(f"{says}; measuring on node1/gpu")
    assert profile_of(world)["spec"]["source"] == "Measured"

    def check() -> None:
        assert ready_pods(world, NAME)

    settle(world, check)
    assert profile_of(world)["spec"]["stack"] == stack
    assert condition(profile_of(world), "Complete")["status"] == "True"
    assert world.find("Job") == []


def test_while_a_cluster_is_upgraded_node_by_node_the_old_profile_does() -> None:
    world = measured_world(nodes=2)
    set_driver(world, "node1", "580.0.1")
    assert world.reconcile() == 0
    set_driver(world, "node2", "580.0.1")
    settle(world)
    assert profile_of(world)["spec"]["stack"]["driverVersion"] == "580.0.1"


def test_nobody_knows_that_an_unknown_stack_has_changed() -> None:
    world = measured_world()
    profile_of(world)["spec"].pop("stack")
    set_driver(world, "node1", "580.0.1")
    set_image(world)
    settle(world)
    assert "stack" not in profile_of(world)["spec"]


def test_the_result_of_a_job_that_ended_before_the_stack_changed_is_outdated_too() -> None:
    world = measured_world()
    set_driver(world, "node1", "575.0.1")
    world.reconcile()
    set_driver(world, "node1", "580.0.1")
    settle(world)
    assert profile_of(world)["spec"]["stack"]["driverVersion"] == "580.0.1"


def wrote(manager: str, *fields: str, operation: str = "Update") -> Manifest:
    """An entry of managedFields; one who writes a part of a list owns just that."""
    points: Manifest = {".": {}, 'k:{"batch":1,"gpuPercent":10}': {"f:latencyMicroseconds": {}}}
    spec = {f"f:{name}": points if name == "points" else {} for name in fields}
    return {"manager": manager, "operation": operation, "fieldsV1": {"f:spec": spec, "f:metadata": {}}}


OURS = wrote("kneescale-operator", "modelURI", "points", "source", operation="Apply")
WITHOUT_SOURCE = wrote("kneescale-operator", "modelURI", operation="Apply")


@pytest.mark.parametrize(
    "writers",
    [
        [],
        [wrote("kubectl", "modelURI", "points", "source", operation="Apply")],
        [OURS, wrote("kubectl-client-side-apply", "points")],
        [OURS, wrote("kubectl", "modelURI", "points", "source", operation="Apply")],
        [WITHOUT_SOURCE, wrote("kubectl-client-side-apply", "points", "source")],
    ],
    ids=["exported", "applied", "over the operator's points", "beside them", "over a pending one"],
)
def test_what_was_applied_by_hand_is_never_measured_over(writers: list[Manifest]) -> None:
    world = measured_world()
    by_hand = profile_of(world)
    by_hand["metadata"]["managedFields"] = writers
    set_driver(world, "node1", "580.0.1")
    settle(world)
    assert profile_of(world)["spec"]["stack"]["driverVersion"] == "570.0.1"
    complete = condition(by_hand, "Complete")
    assert (complete["status"], complete["message"]) == (
        "True",
        "measured with driver 570.0.1, and now it is 580.0.1; delete it to have it measured here",
    )
    world.remove("InferenceModel", NAME)
    settle(world)
    assert world.find("ModelProfile") == [by_hand]


def test_what_is_changed_besides_the_points_leaves_a_profile_the_operators() -> None:
    world = measured_world()
    profile_of(world)["metadata"]["managedFields"] = [OURS, wrote("kubectl-edit", "stack")]
    set_driver(world, "node1", "580.0.1")
    settle(world)
    assert profile_of(world)["spec"]["stack"]["driverVersion"] == "580.0.1"
