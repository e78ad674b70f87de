"""Updates where a GPU has no room for the new worker beside the old one."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from kneescale.api.inference_model import parse_inference_model
from kneescale.api.resource_slice import GpuDevice
from kneescale.core.backends import Backend
from kneescale.core.planning.configuration import Configuration
from kneescale.core.tiers import Tier
from kneescale.plan.breaks import find_detours
from kneescale.plan.placing import Detour, Target
from kneescale.plan.profiles import Profile
from kneescale.plan.rooms import Rooms
from kneescale.plan.sizing import Size
from kneescale.plan.state import Manifest, Settings
from tests.core.sample_surfaces import small_surface
from tests.plan.cluster import UNHEARD_OF, condition, device_of, emulated_world, lose_node, model
from tests.plan.cluster_life import moves, ready_pods, settle
from tests.plan.world import World

#: Of 16 GiB: no other one fits beside it.
LARGE = {"gpu": {"memory": "9Gi"}}
SMALL = {"gpu": {"memory": "4Gi"}}
CONTEXTS = GpuDevice(
    "node1", "gpu0", "GPU-0", "V100", Backend.EMULATED, Tier.MPS_CONTEXTS, 10, 16 << 30, clients=2
)


def serving_world(*models: Manifest, nodes: int = 1, gpus: int = 1) -> World:
    world = emulated_world(nodes=nodes, gpus=gpus)
    for each in models:
        world.create(each)
    settle(world)
    world.events.clear()
    return world


def update(world: World, *names: str) -> None:
    """Change what is fixed when a worker starts."""
    for name in names:
        world.edit("InferenceModel", name, lambda spec: spec.update(maxBatch=8))


def placed(world: World, name: str) -> Manifest:
    return condition(world.get("InferenceModel", name), "Placed")


def served(world: World, *names: str, least: int = 1) -> Callable[[], None]:
    def check() -> None:
        for name in names:
            assert len(ready_pods(world, name)) >= least

    return check


def test_the_new_worker_goes_to_another_gpu_that_has_room() -> None:
    world = serving_world(model("resnet50", **LARGE), gpus=2)
    update(world, "resnet50")
    settle(world, served(world, "resnet50"))
    (pod,) = world.find("Pod")
    assert device_of(pod) == "EMU-node1-1"
    assert [event.reason for event in world.events] == ["Swapping"]


def test_a_gpu_that_has_the_memory_but_one_client_too_few_has_no_room() -> None:
    full, short, free = CONTEXTS, replace(CONTEXTS, uuid="GPU-1", clients=1), replace(CONTEXTS, uuid="GPU-2")
    devices = full, short, free
    rooms = Rooms(devices, claims=[])
    assert rooms.try_take(full.uuid, full.memory_bytes, full.clients)
    detours = find_detours([stuck_on(full)], devices, rooms)
    leaves, closed = frozenset({full.uuid}), frozenset({full.uuid, short.uuid})
    assert detours == {("default", "resnet50"): Detour(leaves, closed)}


def stuck_on(device: GpuDevice) -> Target:
    """A worker with one lane that waits for room there."""
    plan = Configuration(gpu_percent=100, batch=8, latency_ms=3, efficacy=1.0, area_permille=100)
    return Target(
        name="resnet50-0",
        model=parse_inference_model(model("resnet50")),
        device=device,
        lanes=(100,),
        is_pool=True,
        size=Size(plan, Profile("profile", small_surface(), knee_percent=None), rate_ips=50),
        area_permille=plan.area_permille,
    )


def test_without_another_gpu_the_old_worker_ends_first_and_that_is_said() -> None:
    world = serving_world(model("resnet50", **LARGE))
    (old,) = ready_pods(world, "resnet50")
    update(world, "resnet50")
    world.reconcile()
    assert placed(world, "resnet50")["reason"] == "MakingRoom"
    assert placed(world, "resnet50")["message"] == (
        "no GPU has room for a new worker beside the old one, which needs 9 GiB and 1 client of node1/gpu0: "
        "the old one finishes its queue and goes, then the new one starts; no worker serves until then"
    )
    assert (world.events[0].type, world.events[0].reason) == ("Warning", "MakingRoom")
    settle(world)
    (new,) = ready_pods(world, "resnet50")
    assert new != old
    assert placed(world, "resnet50")["reason"] == "Placed"


def test_one_model_at_a_time_is_broken_on_a_gpu() -> None:
    names = ("resnet50", "vgg19", "bert")
    world = serving_world(*(model(name, gpu={"memory": "5Gi"}) for name in names))
    update(world, *names)

    def check() -> None:
        assert sum(bool(ready_pods(world, name)) for name in names) >= len(names) - 1

    settle(world, check)
    assert {pod["spec"]["containers"][0]["env"][3]["value"] for pod in world.find("Pod")} == {"8"}


def test_a_broken_worker_image_stops_the_update_at_the_first_model() -> None:
    names = ("resnet50", "vgg19", "bert")
    world = serving_world(*(model(name, gpu={"memory": "5Gi"}) for name in names))
    world.broken = {f"catalog://{name}": "no such module" for name in names}
    update(world, *names)
    settle(world)
    assert [name for name in names if not ready_pods(world, name)] == ["bert"]
    assert placed(world, "vgg19")["reason"] == "WaitingForMemory"


def test_a_worker_image_that_serves_nowhere_yet_takes_one_model_of_the_whole_cluster() -> None:
    names = ("resnet50", "vgg19", "bert", "alexnet")
    world = serving_world(*(model(name, **LARGE) for name in names), nodes=4)
    world.settings = Settings(worker_image="kneescale/worker:typo")
    world.unpullable.add("kneescale/worker:typo")
    for _ in range(20):
        world.now += timedelta(seconds=30)
        settle(world)
    assert len([name for name in names if not ready_pods(world, name)]) == 1


def test_a_worker_image_that_serves_somewhere_is_rolled_out_on_all_gpus_at_once() -> None:
    names = ("resnet50", "vgg19", "bert", "alexnet")
    world = serving_world(*(model(name, **LARGE) for name in names), nodes=4)
    world.settings = Settings(worker_image="kneescale/worker:2")
    most_missing = 0

    def check() -> None:
        nonlocal most_missing
        most_missing = max(most_missing, sum(not ready_pods(world, name) for name in names))

    settle(world, check)
    assert {pod["spec"]["containers"][0]["image"] for pod in world.find("Pod")} == {"kneescale/worker:2"}
    assert most_missing == len(names) - 1


def test_a_model_that_does_not_load_with_a_new_image_holds_up_no_other() -> None:
    names = ("bert", "resnet50", "vgg19")
    world = serving_world(*(model(name, **LARGE) for name in names), nodes=3)
    world.settings = Settings(worker_image="kneescale/worker:2")
    world.broken = {"catalog://bert": "no such module"}
    settle(world)
    assert [name for name in names if not ready_pods(world, name)] == ["bert"]
    images = {pod["spec"]["containers"][0]["image"] for pod in world.find("Pod")}
    assert images == {"kneescale/worker:2"}


def test_replicas_are_updated_one_after_the_other() -> None:
    two = {"scaling": {"minReplicas": 2, "maxReplicas": 2}}
    world = serving_world(model("resnet50", **LARGE, **two), gpus=2)
    before = set(ready_pods(world, "resnet50"))
    update(world, "resnet50")
    settle(world, served(world, "resnet50"))
    after = set(ready_pods(world, "resnet50"))
    assert len(after) == 2
    assert not after & before


def test_with_room_for_one_replica_more_none_is_missing() -> None:
    two = {"scaling": {"minReplicas": 2, "maxReplicas": 2}}
    world = serving_world(model("resnet50", **LARGE, **two), gpus=3)
    before = set(ready_pods(world, "resnet50"))
    update(world, "resnet50")
    settle(world, served(world, "resnet50", least=2))
    assert not before & set(ready_pods(world, "resnet50"))


def test_nothing_breaks_while_room_is_being_made() -> None:
    world = serving_world(model("resnet50", **LARGE), model("vgg19", **SMALL))
    world.remove("Pod", ready_pods(world, "vgg19")[0])
    update(world, "resnet50")
    world.reconcile()
    assert len(ready_pods(world, "resnet50")) == 1
    assert placed(world, "resnet50")["reason"] == "WaitingForMemory"


def test_a_pod_that_ends_for_ever_on_a_lost_node_holds_up_no_update() -> None:
    two = {"scaling": {"minReplicas": 2, "maxReplicas": 2}}
    world = serving_world(model("resnet50", **LARGE, **two), nodes=2)
    (before,) = [pod["metadata"]["name"] for pod in world.find("Pod") if "node1" in device_of(pod)]
    (lost,) = [pod for pod in world.find("Pod") if "node2" in device_of(pod)]
    lose_node(world, "node2")
    lost["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}
    world.remove("Pod", lost["metadata"]["name"])
    update(world, "resnet50")

    def turn() -> None:
        world.reconcile()
        for move in moves(world):
            if lost["metadata"]["name"] not in move.name:
                move.make()

    for _ in range(4):
        world.now += timedelta(minutes=1)
        turn()
    (serving,) = ready_pods(world, "resnet50")
    assert serving != before
    assert placed(world, "resnet50")["reason"] != "WaitingForMemory"


def test_the_room_that_a_break_makes_is_not_for_measuring_another_model() -> None:
    world = serving_world(model("resnet50", **LARGE))
    update(world, "resnet50")
    world.reconcile()
    world.create(model("new", model=UNHEARD_OF, gpu={"memory": "8Gi"}))
    settle(world)
    assert len(ready_pods(world, "resnet50")) == 1
    assert condition(world.get("InferenceModel", "new"), "Profiled")["reason"] == "InsufficientMemory"


def test_models_that_must_change_places_do() -> None:
    """Each needs the room of the other: one of them breaks, for nothing else helps."""
    names = ("resnet50", "vgg19")
    world = emulated_world(gpus=2)
    for index, device in enumerate(world.get("ResourceSlice", "node1-slice", "")["spec"]["devices"]):
        device["attributes"]["productName"]["string"] = f"product-{index}"
    for name in names:
        world.create(model(name))
    settle(world)
    for name in names:
        change(world, name, memory="9Gi", products=[])
        settle(world)
    before = {name: where(world, name) for name in names}
    assert len(set(before.values())) == 2
    for name in names:
        change(world, name, memory="9Gi", products=[f"product-{1 - before[name]}"])
    settle(world, lambda: check_one_serves(world, names))
    assert {name: where(world, name) for name in names} == {name: 1 - at for name, at in before.items()}


def change(world: World, name: str, **gpu: object) -> None:
    world.edit("InferenceModel", name, lambda spec: spec.update(gpu=gpu))


def where(world: World, name: str) -> int:
    """The number of the GPU that the model serves from."""
    (pod,) = ready_pods(world, name)
    return int(device_of(world.get("Pod", pod))[-1])


def check_one_serves(world: World, names: tuple[str, ...]) -> None:
    assert any(ready_pods(world, name) for name in names)
