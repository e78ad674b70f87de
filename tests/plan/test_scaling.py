"""The plan follows what agents measure: vertically, in replicas, to the end of what there is; and says so."""

from datetime import timedelta
from functools import partial

import pytest

from kneescale.plan.state import Manifest
from tests.plan.cluster import (
    PRODUCT,
    add_node,
    condition,
    device_of,
    expect_rate,
    lose_node,
    model,
    serving_world,
)
from tests.plan.cluster_life import agents_report, moves, settle
from tests.plan.world import World

STEP = timedelta(seconds=2)
FREE = {"minReplicas": 1, "maxReplicas": 4}


serving = partial(serving_world, gpus=4)


def after(world: World, rate_ips: float, seconds: float = 2, **figures: object) -> Manifest:
    """The model's status after so long with that rate, its workers having come and gone as planned."""
    world.rates["resnet50"], world.figures["resnet50"] = rate_ips, figures
    until = world.now + timedelta(seconds=seconds)
    while world.now < until:
        world.now += STEP
        settle(world)
    status: Manifest = world.get("InferenceModel", "resnet50")["status"]
    return status


def provided(status: Manifest) -> float:
    return float(status["scaling"]["providedItemsPerSecond"])


def area_permille(world: World) -> int:
    return sum(
        partition["areaPermille"]
        for schedule in world.find("GPUSchedule")
        for partition in schedule["spec"]["partitions"]
    )


def test_more_traffic_is_given_more_of_the_gpu_at_once_and_the_decision_is_told() -> None:
    world = serving(model("resnet50"))
    before = area_permille(world)
    status = after(world, 200)
    assert 200 <= provided(status) <= 222
    assert area_permille(world) >= 2 * before
    (decision,) = status["scaling"]["decisions"]
    assert decision["reason"] == "RateRose"
    assert decision["message"].startswith("provides for 20")
    assert "200/s are to be expected" in decision["message"]
    assert [event.reason for event in world.events if event.action == "Scale"] == ["RateRose"]
    assert condition({"status": status}, "Scaled")["reason"] == "Following"


def test_less_than_expected_changes_nothing() -> None:
    world = serving(model("resnet50", expectedRequestsPerSecond=50))
    before = area_permille(world)
    assert provided(after(world, 20, seconds=200)) == 50
    assert area_permille(world) == before
    assert all(event.reason == "RateRose" for event in world.events if event.action == "Scale")


def test_what_one_gpu_does_not_carry_is_given_more_replicas_and_taken_back() -> None:
    world = serving(model("resnet50", scaling=FREE))
    assert after(world, 50)["replicas"] == 1
    grown = after(world, 2500)
    assert grown["replicas"] > 1
    assert condition({"status": grown}, "Placed")["status"] == "True"
    assert after(world, 40, seconds=120)["replicas"] == 1


def test_where_no_gpu_has_room_for_all_of_it_there_are_more_replicas_with_less_each() -> None:
    others = [model(f"other{i}", expectedRequestsPerSecond=800) for i in range(2)]
    world = serving(model("resnet50", scaling=FREE), *others, gpus=2)
    alone = after(world, 60)["replicas"]
    grown = after(world, 900)
    assert (alone, grown["replicas"]) == (1, 2)
    assert condition({"status": grown}, "Placed")["status"] == "True"


def test_at_the_end_of_what_there_is_it_serves_what_it_can_and_says_how_many_gpus_would_do() -> None:
    world = serving(model("resnet50", scaling=FREE), gpus=2)
    status = after(world, 5000)
    placed = condition({"status": status}, "Placed")
    assert (placed["status"], placed["reason"]) == ("False", "InsufficientGPU")
    assert "more GPUs would do" in placed["message"]
    assert status["replicas"] == 2
    assert condition({"status": status}, "Ready")["status"] == "True"


def test_at_the_most_replicas_it_says_what_to_raise() -> None:
    world = serving(model("resnet50", scaling={"minReplicas": 1, "maxReplicas": 1}))
    placed = condition({"status": after(world, 2500)}, "Placed")
    assert "raise spec.scaling.maxReplicas" in placed["message"]


def test_without_metrics_all_is_held_and_said() -> None:
    world = serving(model("resnet50", scaling=FREE))
    grown = after(world, 2500)
    for _ in range(60):
        world.now += STEP
        world.reconcile()
    status = world.get("InferenceModel", "resnet50")["status"]
    assert provided(status) == provided(grown)
    assert status["replicas"] == grown["replicas"]
    scaled = condition({"status": status}, "Scaled")
    assert (scaled["status"], scaled["reason"]) == ("False", "NoMetrics")
    assert "nothing is heard of late from node1-gpu" in scaled["message"]
    assert [event.reason for event in world.events].count("NoMetrics") == 1


def test_a_worker_that_ends_for_ever_on_a_lost_node_holds_nothing() -> None:
    world = serving(model("resnet50", scaling={"minReplicas": 2, "maxReplicas": 2}), gpus=1)
    add_node(world, "node2", gpus=1)
    after(world, 50, seconds=10)
    (lost,) = [pod for pod in world.find("Pod") if "node2" in device_of(pod)]
    lose_node(world, "node2")
    lost["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}
    world.remove("Pod", lost["metadata"]["name"])
    for _ in range(60):
        world.now += STEP
        world.reconcile()
        for move in moves(world):
            if lost["metadata"]["name"] not in move.name and "node2" not in move.name:
                move.make()
    scaled = condition(world.get("InferenceModel", "resnet50"), "Scaled")
    assert "nothing is heard of late" not in scaled["message"]


@pytest.mark.parametrize("ahead_s", [-30, 5 * 3600])
def test_measurements_count_whatever_the_clock_of_their_node_says(ahead_s: int) -> None:
    world = serving(model("resnet50", scaling=FREE))
    world.nodes_ahead = timedelta(seconds=ahead_s)
    grown = after(world, 2500, seconds=60)
    assert grown["replicas"] > 1
    assert condition({"status": grown}, "Scaled")["status"] == "True"


def test_a_clock_of_the_operator_that_was_ahead_holds_nothing_up() -> None:
    world = serving(model("resnet50", scaling=FREE))
    world.operator_ahead = timedelta(hours=3)
    assert after(world, 2500, seconds=10)["replicas"] > 1
    world.operator_ahead = timedelta(0)
    assert after(world, 40, seconds=180)["replicas"] == 1


def test_nonsense_of_a_worker_is_ignored_and_said() -> None:
    world = serving(model("resnet50"))
    status = after(world, 60, requests=10, answered=10, withinSLO=5000, p50Milliseconds=1, p99Milliseconds=9)
    scaled = condition({"status": status}, "Scaled")
    assert "ignored" in scaled["message"]
    assert "5000 of 10 answers in time" in scaled["message"]
    assert provided(status) <= 67


def late(world: World, area_used_permille: int) -> Manifest:
    world.area_used_permille = area_used_permille
    figures = {"requests": 1000, "answered": 1000, "withinSLO": 900, "p50Milliseconds": 50}
    return after(world, 60, seconds=90, p99Milliseconds=150, **figures)


def test_late_requests_on_a_busy_gpu_are_provided_for_and_on_another_one_explained() -> None:
    busy = late(serving(model("resnet50")), area_used_permille=950)
    assert provided(busy) > 100
    assert "TailLate" in {each["reason"] for each in busy["scaling"]["decisions"]}
    idle = late(serving(model("resnet50")), area_used_permille=200)
    assert provided(idle) <= 67
    assert "more GPU would not help" in condition({"status": idle}, "Scaled")["message"]


def test_a_new_operator_goes_on_where_the_last_one_was() -> None:
    """All that it must know is in the cluster: each plan here is made from nothing else."""
    world = serving(model("resnet50", scaling=FREE))
    after(world, 2500)
    world.now += timedelta(seconds=10)
    agents_report(world)
    assert [event for event in world.writes()[1] if event.action == "Scale"] == []


def test_what_is_provided_for_is_remembered_as_no_less_than_it_is() -> None:
    world = serving(model("resnet50", expectedRequestsPerSecond=None))
    rate = dict.fromkeys(("recentItemsPerSecond", "steadyItemsPerSecond"), "1.342")
    rest = {"steadySeconds": "30.0", "trendItemsPerSecond": "0.000", "dispersionPermille": 1000}
    status = after(world, 1.342, seconds=20, traffic=rate | rest)
    assert provided(status) == 1.35, "1.03 to the power of 10, rounded up"
    assert [event.reason for event in world.events if event.action == "Scale"] == ["RateRose"]


def wants(world: World) -> list[str]:
    return [f"{obj['kind']} {obj['metadata']['name']}" for obj in wanted_objects(world)]


def wanted_objects(world: World) -> list[Manifest]:
    objects = [*world.find("Pod"), *world.find("ResourceClaim")]
    return [obj for obj in objects if obj["metadata"]["labels"]["kneescale.dev/role"] == "Want"]


def test_for_each_gpu_that_is_missing_a_pod_and_a_claim_are_pending_until_it_is_there() -> None:
    world = serving(model("resnet50", scaling=FREE), gpus=2)
    assert wants(world) == []
    after(world, 3600)
    assert wants(world) == ["Pod resnet50-wanted-1", "ResourceClaim resnet50-wanted-1"]
    add_node(world, "node2", gpus=1)
    assert after(world, 3600)["replicas"] == 3
    assert wants(world) == []


def test_what_is_wanted_fits_no_gpu_that_is_there_and_says_what_would() -> None:
    world = serving(model("resnet50", scaling=FREE, gpu={"memory": "2Gi", "products": [PRODUCT]}), gpus=1)
    add_node(world, "node2", gpus=1)
    after(world, 3600)
    pod, claim = wanted_objects(world)
    (term,) = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term["matchFields"] == [
        {"key": "metadata.name", "operator": "NotIn", "values": [name]} for name in ("node1", "node2")
    ]
    request = claim["spec"]["devices"]["requests"][0]["exactly"]
    assert request["capacity"]["requests"]["memory"] == "2Gi"
    assert request["selectors"][0]["cel"]["expression"] == (
        'device.attributes["gpu.kneescale.dev"].backend == "emulated"'
        f' && device.attributes["gpu.kneescale.dev"].productName in ["{PRODUCT}"]'
    )


def bind_to_node2(obj: Manifest) -> None:
    """What kube-scheduler does with a want where it fits: all of them may fit on one new GPU."""
    if obj["kind"] == "Pod":
        obj["spec"]["nodeName"] = "node2"
    else:
        obj["status"] = {"allocation": {"devices": {"results": [{"device": "gpu0", "pool": "node2"}]}}}


@pytest.mark.parametrize("bound", [("Pod", "ResourceClaim"), ("Pod",), ("ResourceClaim",)])
def test_wants_that_were_bound_to_the_new_gpu_leave_it_and_ask_for_the_rest_anew(
    bound: tuple[str, ...],
) -> None:
    world = serving(model("resnet50", scaling=FREE), gpus=1)
    after(world, 3600)
    before = wanted_objects(world)
    assert [obj["kind"] for obj in before] == ["Pod", "Pod", "ResourceClaim", "ResourceClaim"]
    add_node(world, "node2", gpus=1)
    for obj in before:
        if obj["kind"] in bound:
            bind_to_node2(obj)
    after(world, 3600)
    assert wants(world) == ["Pod resnet50-wanted-1", "ResourceClaim resnet50-wanted-1"]
    pod, claim = wanted_objects(world)
    assert "nodeName" not in pod["spec"]
    assert "status" not in claim
    (term,) = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert [field["values"] for field in term["matchFields"]] == [["node1"], ["node2"]]


def test_a_model_at_its_most_replicas_wants_no_gpu() -> None:
    world = serving(model("resnet50", scaling={"minReplicas": 1, "maxReplicas": 1}), gpus=1)
    after(world, 2500)
    assert wants(world) == []


def test_a_model_that_has_no_room_at_all_wants_one_if_one_would_do() -> None:
    world = serving(model("resnet50", expectedRequestsPerSecond=1000), gpus=1)
    world.create(model("vgg19", expectedRequestsPerSecond=1000))
    settle(world)
    assert wants(world) == ["Pod vgg19-wanted-1", "ResourceClaim vgg19-wanted-1"]
    expect_rate(world, "vgg19", 2000)
    settle(world)
    assert wants(world) == []
