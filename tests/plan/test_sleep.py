"""A model that may sleep has no worker while nothing comes; who comes then is held, and wakes it."""

from datetime import timedelta

import pytest

from kneescale.plan.state import Manifest
from tests.plan.cluster import condition, emulated_world, model
from tests.plan.cluster_life import agents_report, settle
from tests.plan.world import World

MAY_SLEEP = {"minReplicas": 0, "maxReplicas": 2, "idleSeconds": 60}


@pytest.fixture
def world() -> World:
    """The model serves, and something comes for it."""
    world = emulated_world()
    world.create(model("resnet50", scaling=MAY_SLEEP))
    settle(world)
    pass_time(world, rate_ips=20, seconds=4)
    return world


def pass_time(world: World, rate_ips: float, seconds: int) -> None:
    world.rates["resnet50"] = rate_ips
    for _ in range(seconds // 2):
        world.now += timedelta(seconds=2)
        settle(world)


def status(world: World) -> Manifest:
    found: Manifest = world.get("InferenceModel", "resnet50")["status"]
    return found


def test_it_sleeps_when_nothing_came_for_a_while_and_not_before(world: World) -> None:
    pass_time(world, rate_ips=0, seconds=58)
    assert status(world)["replicas"] == 1
    pass_time(world, rate_ips=0, seconds=4)
    assert status(world)["replicas"] == 0
    assert world.find("Pod") == world.find("ResourceClaim") == []
    (budget,) = world.find("PodDisruptionBudget")
    assert budget["spec"]["minAvailable"] == 0, "else an alert of kube-prometheus fires while it sleeps"
    ready = condition({"status": status(world)}, "Ready")
    assert (ready["status"], ready["reason"]) == ("True", "Asleep")
    assert ready["message"].startswith("no worker runs, for nothing came for 60 s; the next request is held")


def test_a_request_now_and_then_keeps_it_awake(world: World) -> None:
    for _ in range(4):
        pass_time(world, rate_ips=0, seconds=50)
        pass_time(world, rate_ips=1, seconds=4)
    assert status(world)["replicas"] == 1


@pytest.mark.parametrize("ahead_s", [0, 5 * 3600])
def test_a_model_of_which_nothing_is_heard_is_not_idle(world: World, ahead_s: int) -> None:
    world.nodes_ahead = timedelta(seconds=ahead_s)
    pass_time(world, rate_ips=0, seconds=4)
    for _ in range(60):
        world.now += timedelta(seconds=2)
        world.reconcile()  # the agent writes nothing
    assert status(world)["replicas"] == 1


def test_a_model_that_is_provided_for_nothing_is_not_idle_either_while_nothing_is_heard_of_it() -> None:
    idle_for_long = model("resnet50", scaling={**MAY_SLEEP, "idleSeconds": 300})
    del idle_for_long["spec"]["expectedRequestsPerSecond"]
    world = emulated_world()
    world.create(idle_for_long)
    settle(world)
    pass_time(world, rate_ips=20, seconds=4)
    pass_time(world, rate_ips=0, seconds=200)
    assert float(status(world)["scaling"]["providedItemsPerSecond"]) == 0
    for _ in range(100):
        world.now += timedelta(seconds=2)
        world.reconcile()  # the agent writes nothing
    assert status(world)["replicas"] == 1


def test_a_clock_of_the_operator_that_was_ahead_keeps_nothing_awake(world: World) -> None:
    world.operator_ahead = timedelta(hours=3)
    pass_time(world, rate_ips=0, seconds=4)
    world.operator_ahead = timedelta(0)
    pass_time(world, rate_ips=0, seconds=58)
    assert status(world)["replicas"] == 1
    pass_time(world, rate_ips=0, seconds=6)
    assert status(world)["replicas"] == 0


def test_its_service_leads_to_the_gate_exactly_while_no_worker_answers(world: World) -> None:
    assert world.find("EndpointSlice") == []
    pass_time(world, rate_ips=0, seconds=62)
    (entrance,) = world.find("EndpointSlice")
    assert entrance["metadata"]["labels"]["kubernetes.io/service-name"] == "resnet50"
    assert entrance["endpoints"] == [{"addresses": ["10.2.0.1"], "conditions": {"ready": True}}]
    assert [(port["name"], port["port"]) for port in entrance["ports"]] == [("http", 4000), ("grpc", 4001)]
    assert [each["metadata"]["name"] for each in world.find("Service")] == ["resnet50"]
    world.waiting["resnet50"] = 1
    settle(world)
    assert world.find("EndpointSlice") == []


def test_the_slices_that_kubernetes_keeps_for_the_service_are_left_alone(world: World) -> None:
    labels = dict(world.get("Service", "resnet50")["metadata"]["labels"])
    labels |= {"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io"}
    metadata = {"name": "resnet50-abcde", "namespace": "default", "labels": labels}
    world.create({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata})
    settle(world)
    pass_time(world, rate_ips=0, seconds=62)
    pass_time(world, rate_ips=20, seconds=4)
    assert "resnet50-abcde" in {each["metadata"]["name"] for each in world.find("EndpointSlice")}


def test_who_waits_wakes_it_and_it_stays_awake_for_a_while(world: World) -> None:
    pass_time(world, rate_ips=0, seconds=100)
    world.waiting["resnet50"] = 1
    settle(world)
    assert status(world)["replicas"] == 1
    world.waiting.clear()
    pass_time(world, rate_ips=0, seconds=56)
    assert status(world)["replicas"] == 1
    pass_time(world, rate_ips=0, seconds=8)
    assert status(world)["replicas"] == 0


def start_slowly(world: World, seconds: int) -> None:
    """Time in which agents report, and no worker comes to be ready."""
    for _ in range(seconds // 2):
        world.now += timedelta(seconds=2)
        world.reconcile()
        agents_report(world)
    world.reconcile()


def woken_in_vain(world: World) -> None:
    """A request woke the model, and has been given up before a worker was ready."""
    pass_time(world, rate_ips=0, seconds=62)
    world.waiting["resnet50"] = 1
    start_slowly(world, seconds=120)
    world.waiting.clear()


def test_a_worker_that_starts_slowly_outlives_whoever_woke_it(world: World) -> None:
    woken_in_vain(world)
    start_slowly(world, seconds=300)
    pass_time(world, rate_ips=0, seconds=56)
    assert status(world)["replicas"] == 1
    pass_time(world, rate_ips=0, seconds=8)
    assert status(world)["replicas"] == 0


def test_a_worker_that_never_gets_ready_is_not_waited_for_for_ever(world: World) -> None:
    woken_in_vain(world)
    start_slowly(world, seconds=478)
    assert status(world)["replicas"] == 1
    start_slowly(world, seconds=64)
    assert status(world)["replicas"] == 0


def test_scaled_to_nothing_by_hand_nobody_wakes_it(world: World) -> None:
    world.edit("InferenceModel", "resnet50", lambda spec: spec["scaling"].update(replicas=0))
    world.waiting["resnet50"] = 1
    settle(world)
    assert status(world)["replicas"] == 0
    assert world.find("EndpointSlice") == []
    message = condition({"status": status(world)}, "Ready")["message"]
    assert message == "no worker runs, for spec.scaling.replicas is 0"


@pytest.mark.parametrize("replicas", [1, 2])
def test_scaled_up_again_by_hand_it_wakes_and_counts_its_idle_time_anew(world: World, replicas: int) -> None:
    world.edit("InferenceModel", "resnet50", lambda spec: spec["scaling"].update(replicas=0))
    pass_time(world, rate_ips=0, seconds=200)
    assert status(world)["replicas"] == 0
    world.edit("InferenceModel", "resnet50", lambda spec: spec["scaling"].update(replicas=replicas))
    pass_time(world, rate_ips=0, seconds=50)
    assert status(world)["replicas"] == replicas
    pass_time(world, rate_ips=0, seconds=14)
    assert status(world)["replicas"] == 0


def test_a_model_with_a_least_replica_never_sleeps() -> None:
    world = emulated_world()
    world.create(model("resnet50"))
    settle(world)
    pass_time(world, rate_ips=0, seconds=600)
    assert status(world)["replicas"] == 1
