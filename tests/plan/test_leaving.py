"""GPUs that are sick, cordoned, cut off or gone, and what becomes of the models on them."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from kneescale.api.conditions import format_time
from kneescale.plan import plan
from kneescale.plan.inventory import NOT_READY_PATIENCE
from kneescale.plan.state import Manifest
from tests.plan.cluster import (
    UNHEARD_OF,
    check_made_anew,
    condition,
    cordon,
    cure,
    device_of,
    emulated_world,
    lose_node,
    model,
    resource_slice,
    sicken,
    uncordon,
)
from tests.plan.cluster_life import agents_report, evictions, moves, ready_pods, settle
from tests.plan.world import World

NAME = "resnet50"


def serving_world(nodes: int = 2, **spec: object) -> World:
    """A world in which the model serves from node1."""
    world = emulated_world(nodes=nodes, gpus=1)
    world.create(model(NAME, **spec))
    settle(world)
    world.events.clear()
    return world


def serves_on(world: World) -> list[str]:
    return [device_of(pod) for pod in world.find("Pod") if pod["metadata"]["name"] in ready_pods(world, NAME)]


def always_served(world: World) -> Callable[[], None]:
    def check() -> None:
        assert ready_pods(world, NAME)

    return check


def placed(world: World) -> Manifest:
    return condition(world.get("InferenceModel", NAME), "Placed")


def taint(world: World, node: str, key: str) -> None:
    world.edit("Node", node, lambda spec: spec.update(taints=[{"key": key, "effect": "NoSchedule"}]), "")


LEAVE: dict[str, Callable[[World], None]] = {
    "sick": lambda world: sicken(world, "node1"),
    "cordoned": lambda world: cordon(world, "node1"),
    "tainted": lambda world: taint(world, "node1", "example.com/maintenance"),
}


WORDS = {
    "sick": "node1/gpu0 is sick (Xid-79)",
    "cordoned": "node node1 is cordoned",
    "tainted": "node node1 has the taint example.com/maintenance:NoSchedule",
}


@pytest.mark.parametrize("why", LEAVE)
def test_a_model_leaves_a_gpu_without_an_outage(why: str) -> None:
    world = serving_world()
    LEAVE[why](world)
    settle(world, always_served(world))
    assert serves_on(world) == ["EMU-node2-0"]
    assert placed(world)["reason"] == "Placed"
    (moving,) = world.events
    assert moving.reason == "Moving"
    assert WORDS[why] in moving.message


@pytest.mark.parametrize("why", LEAVE)
def test_without_room_elsewhere_it_stays_and_says_so(why: str) -> None:
    world = serving_world(nodes=1)
    LEAVE[why](world)
    settle(world, always_served(world))
    assert serves_on(world) == ["EMU-node1-0"]
    assert (placed(world)["status"], placed(world)["reason"]) == ("False", "InsufficientGPU")
    message = f"should leave node1/gpu0 ({WORDS[why]}) but goes on there, for lack of room elsewhere: "
    assert placed(world)["message"] == message + "no GPU takes new workers"
    assert [(event.type, event.reason) for event in world.events] == [("Warning", "InsufficientGPU")]
    assert len(world.find("Pod")) == len(world.find("ResourceClaim")) == 1


def test_a_gpu_that_is_well_again_draws_nothing_back() -> None:
    world = serving_world()
    sicken(world, "node1")
    settle(world)
    cure(world, "node1")
    settle(world, always_served(world))
    assert serves_on(world) == ["EMU-node2-0"]


def test_a_gpu_that_is_well_again_keeps_the_model_that_had_to_stay() -> None:
    world = serving_world(nodes=1)
    pods = world.find("Pod")
    sicken(world, "node1")
    settle(world)
    cure(world, "node1")
    settle(world)
    assert world.find("Pod") == pods
    assert placed(world)["reason"] == "Placed"


def test_nothing_is_placed_or_measured_on_a_sick_gpu() -> None:
    world = emulated_world(gpus=1)
    sicken(world, "node1")
    world.create(model(NAME, model=UNHEARD_OF))
    settle(world)
    assert world.find("Job") == world.find("Pod") == []
    profiled = condition(world.get("InferenceModel", NAME), "Profiled")
    assert profiled["reason"] == "WaitingForGPU"
    assert "node1/gpu0 is sick (Xid-79)" in profiled["message"]


def test_a_measurement_starts_again_elsewhere_when_its_gpu_gets_sick() -> None:
    world = emulated_world(nodes=2, gpus=1)
    world.create(model(NAME, model=UNHEARD_OF))
    world.reconcile()
    (job,) = world.find("Job")
    sicken(world, "node1")
    assert device_of(job) == "EMU-node1-0"
    settle(world)
    assert serves_on(world) == ["EMU-node2-0"]


def test_pressure_on_a_node_keeps_new_workers_off_and_moves_none() -> None:
    world = serving_world()
    taint(world, "node1", "node.kubernetes.io/disk-pressure")
    settle(world, always_served(world))
    assert serves_on(world) == ["EMU-node1-0"]
    assert placed(world)["reason"] == "GPUAway"
    assert "node node1 has the taint node.kubernetes.io/disk-pressure" in placed(world)["message"]


def test_workers_come_to_nodes_that_are_for_gpu_work_only() -> None:
    world = emulated_world(gpus=1)
    taint(world, "node1", "nvidia.com/gpu")
    world.create(model(NAME))
    settle(world)
    (pod,) = world.find("Pod")
    assert pod["spec"]["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]


def test_an_agent_that_is_away_loses_neither_schedule_nor_place() -> None:
    world = serving_world()
    pods, schedules = world.find("Pod"), [each["spec"] for each in world.find("GPUSchedule")]
    away = world.get("ResourceSlice", "node1-slice", namespace="")
    world.remove("ResourceSlice", "node1-slice", namespace="")
    world.now += timedelta(days=1)
    settle(world)
    assert world.find("Pod") == pods
    assert [each["spec"] for each in world.find("GPUSchedule")] == schedules
    assert (placed(world)["status"], placed(world)["reason"]) == ("True", "GPUAway")
    assert placed(world)["message"].endswith("the agent of node node1 is away")
    world.create(away)
    settle(world)
    assert world.find("Pod") == pods
    assert placed(world)["reason"] == "Placed"


def test_nothing_new_goes_to_a_gpu_whose_agent_is_away() -> None:
    world = serving_world(nodes=1)
    world.remove("ResourceSlice", "node1-slice", namespace="")
    world.create(model("vgg19", model=UNHEARD_OF))
    world.edit("InferenceModel", NAME, lambda spec: spec.update(maxBatch=8))
    settle(world, always_served(world))
    assert len(world.find("Pod")) == 1
    assert "cannot start on node1/gpu0 for now: the agent of node node1 is away" in placed(world)["message"]


def test_an_update_goes_elsewhere_when_the_agent_is_away() -> None:
    world = serving_world()
    world.remove("ResourceSlice", "node1-slice", namespace="")
    world.edit("InferenceModel", NAME, lambda spec: spec.update(maxBatch=8))
    settle(world, always_served(world))
    assert serves_on(world) == ["EMU-node2-0"]


def test_a_gpu_without_workers_is_forgotten_with_its_slice() -> None:
    world = serving_world()
    world.remove("ResourceSlice", "node2-slice", namespace="")
    settle(world)
    assert [each["metadata"]["name"] for each in world.find("GPUSchedule")] == ["node1-gpu0"]


def test_a_withdrawn_gpu_is_left_at_once_and_its_dead_worker_goes() -> None:
    world = serving_world()
    (pod,) = world.find("Pod")
    pod["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}
    world.objects["ResourceSlice", "", "node1-slice"]["spec"] = resource_slice("node1", [])["spec"]
    world.reconcile()
    assert "deletionTimestamp" in pod["metadata"]
    settle(world)
    assert serves_on(world) == ["EMU-node2-0"]
    assert [each["metadata"]["name"] for each in world.find("GPUSchedule")] == ["node2-gpu0"]
    assert [device_of(claim) for claim in world.find("ResourceClaim")] == ["EMU-node2-0"]
    (moving,) = (event for event in world.events if event.reason == "Moving")
    assert moving.message.startswith("its GPU is gone: bringing up "), moving.message
    assert "drains" not in moving.message, "it is dead"


@pytest.mark.parametrize("agent_says", ["Serving", "Waiting"], ids="agent says {}".format)
def test_a_model_of_a_withdrawn_gpu_is_told_to_move_whatever_is_heard_of_its_worker_first(
    agent_says: str,
) -> None:
    world = serving_world()
    world.objects["ResourceSlice", "", "node1-slice"]["spec"] = resource_slice("node1", [])["spec"]
    world.get("GPUSchedule", "node1-gpu0", "")["status"]["partitions"][0]["state"] = agent_says
    world.reconcile()
    moving = next(event for event in world.events if event.action == "Swap")
    assert moving.reason == "Moving"
    assert moving.message.startswith("its GPU is gone: bringing up "), moving.message
    assert moving.message.endswith("the old worker drains when the new one serves")


def test_a_worker_that_answers_from_a_withdrawn_gpu_goes_when_another_serves() -> None:
    world = serving_world()
    world.objects["ResourceSlice", "", "node1-slice"]["spec"] = resource_slice("node1", [])["spec"]
    settle(world, always_served(world))
    assert serves_on(world) == ["EMU-node2-0"]


@pytest.mark.parametrize("operator_behind_s", [0, 5 * 3600])
def test_a_node_that_is_not_ready_is_left_after_a_while(operator_behind_s: int) -> None:
    world = serving_world()
    world.operator_ahead = -timedelta(seconds=operator_behind_s)
    lose_node(world, "node1")
    settle(world)
    assert serves_on(world) == ["EMU-node1-0"]
    world.now += timedelta(seconds=25)  # its agent counts as silent by then
    assert world.requeue_after_s() == NOT_READY_PATIENCE.total_seconds() - 25
    world.now += timedelta(seconds=5)
    settle(world)
    assert serves_on(world) == ["EMU-node2-0"]


def test_a_drain_evicts_only_what_is_replaced() -> None:
    world = serving_world(scaling={"minReplicas": 1, "maxReplicas": 1})
    assert evictions(world, "node1") == []
    cordon(world, "node1")
    while serves_on(world) != ["EMU-node2-0"]:
        world.reconcile()
        for move in [*moves(world), *evictions(world, "node1")]:
            move.make()
            always_served(world)()
    settle(world, always_served(world))
    assert len(world.find("Pod")) == 1


def test_a_drain_without_room_waits() -> None:
    world = serving_world(nodes=1)
    cordon(world, "node1")
    settle(world)
    assert evictions(world, "node1") == []
    world.get("PodDisruptionBudget", NAME)["spec"]["minAvailable"] = 0  # as with --disable-eviction
    for eviction in evictions(world, "node1"):
        eviction.make()
    settle(world)
    assert serves_on(world) == []
    assert placed(world)["reason"] == "InsufficientGPU"
    assert placed(world)["message"] == "no GPU takes new workers (not counting: node node1 is cordoned)"
    uncordon(world, "node1")
    settle(world)
    assert serves_on(world) == ["EMU-node1-0"]


@pytest.mark.parametrize(("old", "new"), [("node1", "node2"), ("node2", "node1")])
def test_a_gpu_that_moved_is_where_it_takes_workers(old: str, new: str) -> None:
    world = emulated_world(nodes=2, gpus=1)
    (gpu,) = world.get("ResourceSlice", f"{old}-slice", "")["spec"]["devices"]
    world.get("ResourceSlice", f"{new}-slice", "")["spec"]["devices"] = [gpu]
    lose_node(world, old)
    world.now += NOT_READY_PATIENCE
    world.create(model(NAME))
    settle(world)
    assert serves_on(world) == [f"EMU-{old}-0"]
    assert world.get("InferenceModel", NAME)["status"]["placedOn"] == f"{new}/gpu0"
    assert [each["metadata"]["name"] for each in world.find("GPUSchedule")] == [f"{new}-gpu0"]


def test_a_gpu_that_two_nodes_show_has_one_place() -> None:
    world = emulated_world(nodes=2, gpus=1)
    (gpu,) = world.get("ResourceSlice", "node1-slice", "")["spec"]["devices"]
    world.get("ResourceSlice", "node2-slice", "")["spec"]["devices"] = [{**gpu}]
    sicken(world, "node2")
    world.create(model(NAME))
    settle(world)
    assert world.get("InferenceModel", NAME)["status"]["placedOn"] == "node1/gpu0"
    assert condition(world.get("InferenceModel", NAME), "Ready")["status"] == "True"


def test_a_hung_worker_is_made_anew() -> None:
    world = serving_world()
    (pod,) = world.find("Pod")
    world.hung.add(pod["metadata"]["uid"])
    agents_report(world)
    (deletion,) = plan(world.observe(), world.settings).delete
    assert (deletion.ref.kind, deletion.grace_s) == ("Pod", 1), "it can neither drain nor end by itself"
    settle(world)
    check_made_anew(world, pod)
    assert (world.events[0].type, world.events[0].reason) == ("Warning", "WorkerHung")
    assert "has a batch that does not end, and is made anew" in world.events[0].message


def test_the_agent_of_another_node_has_no_say_about_a_worker() -> None:
    world = serving_world(nodes=2)
    (pod,) = world.find("Pod")
    (home,) = (each for each in world.find("GPUSchedule") if each["spec"]["uuid"] == device_of(pod))
    (other,) = (each for each in world.find("GPUSchedule") if each is not home)
    hung = {"name": pod["metadata"]["name"], "state": "Hung", "requestsPerSecond": "99.0", "requests": 990}
    other["status"]["partitions"] = [hung]
    world.reconcile()
    assert "deletionTimestamp" not in pod["metadata"]
    assert world.get("InferenceModel", NAME)["status"]["measured"]["requestsPerSecond"] == "0.0"

    other["spec"]["partitions"] = home["spec"]["partitions"]
    world.reconcile()
    assert "deletionTimestamp" not in pod["metadata"], "planned there by hand, it still runs elsewhere"


@pytest.mark.parametrize("ahead_s", [-86400, 0, 5 * 3600])
def test_a_report_of_the_last_worker_is_not_held_against_the_next(ahead_s: int) -> None:
    world = serving_world()
    world.nodes_ahead = timedelta(seconds=ahead_s)
    (pod,) = world.find("Pod")
    pass_time(world, seconds=10)
    world.hung.add(pod["metadata"]["uid"])
    agents_report(world)
    pod["status"]["conditions"][0]["lastTransitionTime"] = format_time(world.now + world.nodes_ahead)
    pass_time(world, seconds=4)
    assert "deletionTimestamp" not in pod["metadata"]
    pass_time(world, seconds=2)
    assert "deletionTimestamp" in pod["metadata"]


def test_the_last_word_of_an_agent_that_died_is_not_held_against_the_next_worker() -> None:
    world = serving_world()
    (pod,) = world.find("Pod")
    pass_time(world, seconds=10)
    world.hung.add(pod["metadata"]["uid"])
    agents_report(world)
    pod["status"]["conditions"][0]["lastTransitionTime"] = format_time(world.now)
    for _ in range(60):
        world.reconcile()
        world.now += timedelta(seconds=2)
    assert "deletionTimestamp" not in pod["metadata"]


def pass_time(world: World, seconds: int) -> None:
    for _ in range(seconds // 2):
        world.reconcile()
        world.now += timedelta(seconds=2)
        agents_report(world)
    world.reconcile()
