"""GPUs shared by SM partitions: each worker has one lane whose SMs no other has."""

from kneescale.core.tiers import Tier
from kneescale.plan.state import Manifest
from tests.plan.cluster import UNHEARD_OF, condition, emulated_world, expect_rate, model
from tests.plan.cluster_life import ready_pods, settle
from tests.plan.world import World

CHUNKS = 20


def world_of(*models: Manifest) -> World:
    """A cluster with one GPU of 20 chunks, in which the models had time to settle."""
    world = emulated_world(gpus=1, tier=Tier.SM_PARTITIONS)
    device = world.get("ResourceSlice", "node1-slice", "")["spec"]["devices"][0]
    device["capacity"]["clients"]["value"] = str(CHUNKS)
    for each in models:
        world.create(each)
    settle(world)
    return world


def lanes(world: World) -> dict[str, int]:
    """The one lane of each model."""
    (schedule,) = world.find("GPUSchedule")
    found: dict[str, int] = {}
    for each in schedule["spec"]["partitions"]:
        assert each["pool"]
        (found[each["model"]],) = each["lanes"]
        assert each["gpuPercent"] == found[each["model"]]
    return found


def chunks(world: World) -> int:
    """What all claims hold."""
    specs = [claim["spec"]["devices"]["requests"][0]["exactly"] for claim in world.find("ResourceClaim")]
    return sum(int(spec["capacity"]["requests"]["clients"]) for spec in specs)


def test_a_model_has_the_smallest_lane_that_carries_its_rate_and_claims_its_chunks() -> None:
    world = world_of(model("resnet50", expectedRequestsPerSecond=5))
    assert lanes(world) == {"resnet50": 10}
    assert chunks(world) == 2
    expect_rate(world, "resnet50", 200)
    settle(world)
    assert lanes(world)["resnet50"] > 10
    assert chunks(world) == lanes(world)["resnet50"] // 5


def test_lanes_of_all_models_together_never_pass_the_gpu() -> None:
    names = ("alexnet", "bert", "resnet50", "vgg19")
    world = world_of(*(model(name, expectedRequestsPerSecond=20) for name in names))
    placed = lanes(world)
    assert len(placed) >= 2
    assert sum(placed.values()) <= 100
    assert chunks(world) <= CHUNKS


def test_a_model_for_which_no_sms_are_left_is_not_placed_though_they_lie_idle() -> None:
    world = world_of(model("resnet50", overrides={"gpuPercent": 70}, expectedRequestsPerSecond=1))
    world.create(model("vgg16", overrides={"gpuPercent": 60}, expectedRequestsPerSecond=1))
    settle(world)
    placed = condition(world.get("InferenceModel", "vgg16"), "Placed")
    assert (placed["status"], placed["reason"]) == ("False", "InsufficientGPU")
    assert lanes(world) == {"resnet50": 70}


def test_a_lane_is_kept_while_it_carries_the_rate_and_is_not_twice_what_is_needed() -> None:
    world = world_of(model("resnet50", expectedRequestsPerSecond=200))
    before, pods = lanes(world), ready_pods(world, "resnet50")
    needed = lanes(world_of(model("resnet50", expectedRequestsPerSecond=100)))
    assert needed["resnet50"] < before["resnet50"] < 2 * needed["resnet50"]
    expect_rate(world, "resnet50", 100)
    settle(world)
    assert (lanes(world), ready_pods(world, "resnet50")) == (before, pods)
    expect_rate(world, "resnet50", 5)
    settle(world)
    assert lanes(world) == {"resnet50": 10}
    assert len(ready_pods(world, "resnet50")) == 1


def test_a_worker_for_another_lane_comes_up_before_the_old_one_goes() -> None:
    world = world_of(model("resnet50", expectedRequestsPerSecond=5))
    expect_rate(world, "resnet50", 100)

    def serves() -> None:
        assert ready_pods(world, "resnet50")

    settle(world, serves)
    assert lanes(world)["resnet50"] > 10


def test_a_model_that_has_grown_takes_no_sms_from_one_that_has_not() -> None:
    world = world_of(
        model("resnet50", expectedRequestsPerSecond=50), model("vgg19", expectedRequestsPerSecond=20)
    )
    before = lanes(world)
    world.rates["resnet50"] = 2000
    settle(world)
    assert lanes(world)["vgg19"] == before["vgg19"]
    assert lanes(world)["resnet50"] >= before["resnet50"]
    assert sum(lanes(world).values()) <= 100


def test_nothing_is_measured_on_such_a_gpu() -> None:
    world = world_of(model("resnet50", model=UNHEARD_OF))
    assert world.find("Job") == []
    profiled = condition(world.get("InferenceModel", "resnet50"), "Profiled")
    assert profiled["status"] == "False"
    assert "a model is measured on a whole GPU; import a ModelProfile" in profiled["message"]
