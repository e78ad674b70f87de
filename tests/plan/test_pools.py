"""Pools of lanes: how many, for whom, and that they stay."""

import pytest

from kneescale.api.gpu_schedule import Policy
from kneescale.core.tiers import Tier
from kneescale.plan.state import Manifest
from tests.plan.cluster import emulated_world, expect_rate, model
from tests.plan.cluster_life import ready_pods, settle
from tests.plan.world import World

PROCESSES, CONTEXTS = Tier.MPS_PROCESSES, Tier.MPS_CONTEXTS


def serving_world(
    *models: Manifest, tier: Tier = PROCESSES, policy: Policy = Policy.SPATIO_TEMPORAL
) -> World:
    world = emulated_world(gpus=1, tier=tier, policy=policy)
    for each in models:
        world.create(each)
    settle(world)
    return world


def pools(world: World) -> dict[str, list[int]]:
    (schedule,) = world.find("GPUSchedule")
    return {each["model"]: each["lanes"] for each in schedule["spec"]["partitions"] if each["pool"]}


def requests(world: World, name: str) -> Manifest:
    (pod,) = ready_pods(world, name)
    (request,) = world.get("ResourceClaim", pod)["spec"]["devices"]["requests"]
    found: Manifest = request["exactly"]["capacity"]["requests"]
    return found


def test_with_green_contexts_there_is_no_pool() -> None:
    world = serving_world(model("resnet50"), tier=Tier.GREEN_CONTEXTS)
    assert pools(world) == {}
    (partition,) = world.find("GPUSchedule")[0]["spec"]["partitions"]
    assert partition["lanes"] == list(range(10, 101, 10))


def test_a_worker_of_four_processes_claims_four_times_its_memory_and_four_clients() -> None:
    world = serving_world(model("resnet50"))
    assert len(pools(world)["resnet50"]) == 4
    assert requests(world, "resnet50") == {"memory": str(4 << 30), "clients": "4"}


def test_contexts_of_one_process_hold_the_weights_each_and_count_beside_the_process_own() -> None:
    world = serving_world(model("resnet50"), tier=CONTEXTS)
    assert len(pools(world)["resnet50"]) == 4
    assert requests(world, "resnet50") == {"memory": str(4 << 30), "clients": "5"}


def test_the_planned_batch_is_on_a_lane_of_the_pool() -> None:
    world = serving_world(model("resnet50"), model("vgg19"))
    for partition in world.find("GPUSchedule")[0]["spec"]["partitions"]:
        assert partition["gpuPercent"] in partition["lanes"]
        assert {point["gpuPercent"] for point in partition["surface"]} == set(partition["lanes"])


@pytest.mark.parametrize("tier", [PROCESSES, CONTEXTS])
@pytest.mark.parametrize(
    ("memory", "lanes"),
    [("256Mi", 4), ("2Gi", 4), ("2500Mi", 3), ("3Gi", 2), ("5Gi", 1), ("9Gi", 1)],
)
def test_lanes_beyond_the_first_leave_room_for_a_successor(memory: str, lanes: int, tier: Tier) -> None:
    world = serving_world(model("resnet50", gpu={"memory": memory}), tier=tier)
    assert len(pools(world)["resnet50"]) == lanes


@pytest.mark.parametrize(("tier", "clients"), [(PROCESSES, "4"), (CONTEXTS, "6")])
def test_lanes_are_bounded_by_clients(tier: Tier, clients: str) -> None:
    world = emulated_world(gpus=1, tier=tier)
    device = world.get("ResourceSlice", "node1-slice", "")["spec"]["devices"][0]
    device["capacity"]["clients"]["value"] = clients
    world.create(model("resnet50"))
    settle(world)
    assert len(pools(world)["resnet50"]) == 2


def test_a_model_of_contexts_is_placed_only_where_two_clients_are_left_for_it() -> None:
    world = emulated_world(gpus=1, tier=CONTEXTS)
    device = world.get("ResourceSlice", "node1-slice", "")["spec"]["devices"][0]
    device["capacity"]["clients"]["value"] = "3"
    for name in ("resnet50", "vgg19"):
        world.create(model(name))
    settle(world)
    assert len(pools(world)) == 1


def test_a_fixed_gpu_percent_is_the_one_lane() -> None:
    world = serving_world(model("resnet50", overrides={"gpuPercent": 40}))
    assert pools(world) == {"resnet50": [40]}


def test_sharing_in_time_needs_the_whole_gpu_alone() -> None:
    world = serving_world(model("resnet50"), policy=Policy.TEMPORAL)
    assert pools(world) == {"resnet50": [100]}


def test_a_newcomer_leaves_the_pools_of_others_alone() -> None:
    world = serving_world(model("resnet50"))
    pool, pods = pools(world)["resnet50"], ready_pods(world, "resnet50")
    world.create(model("vgg19"))
    settle(world)
    assert pools(world)["resnet50"] == pool
    assert ready_pods(world, "resnet50") == pods
    assert ready_pods(world, "vgg19")


def test_a_model_that_grows_makes_the_others_give_up_lanes_one_by_one() -> None:
    names = ("bert", "resnet50", "vgg19")
    world = serving_world(*(model(name, gpu={"memory": "1Gi"}) for name in names))
    assert [len(pools(world)[name]) for name in names] == [4, 4, 4]
    world.edit("InferenceModel", "vgg19", lambda spec: spec.update(gpu={"memory": "10Gi"}))
    settle(world, lambda: check_down(world, names, most=1))
    assert [len(pools(world)[name]) for name in names] == [1, 1, 1]


def check_down(world: World, names: tuple[str, ...], most: int) -> None:
    assert sum(not ready_pods(world, name) for name in names) <= most


def test_a_rate_that_the_pool_still_carries_changes_nothing() -> None:
    world = serving_world(model("resnet50"))
    pods = ready_pods(world, "resnet50")
    expect_rate(world, "resnet50", 60)
    settle(world)
    assert ready_pods(world, "resnet50") == pods


def test_a_pool_stays_until_the_rate_is_too_much_for_it_and_then_a_new_one_stays() -> None:
    world = serving_world(model("resnet50", expectedRequestsPerSecond=5, overrides={"gpuPercent": 10}))
    pods = ready_pods(world, "resnet50")
    world.edit("InferenceModel", "resnet50", lambda spec: spec.pop("overrides"))
    settle(world)
    assert ready_pods(world, "resnet50") == pods
    expect_rate(world, "resnet50", 500)
    settle(world, lambda: check_down(world, ("resnet50",), most=0))
    assert len(pools(world)["resnet50"]) == 4
    pods = ready_pods(world, "resnet50")
    expect_rate(world, "resnet50", 5)
    settle(world)
    assert ready_pods(world, "resnet50") == pods


def test_lanes_that_the_device_has_no_more_are_no_pool() -> None:
    world = serving_world(model("resnet50"))
    (pod,) = ready_pods(world, "resnet50")
    (config,) = world.get("ResourceClaim", pod)["spec"]["devices"]["config"]
    config["opaque"]["parameters"]["lanes"] = [33]
    settle(world)
    assert set(pools(world)["resnet50"]) <= set(range(10, 101, 10))
