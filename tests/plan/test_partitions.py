"""Make before break, rule by rule."""

import pytest

from kneescale.api.inference_model import Scaling
from kneescale.api.meta import Metadata
from kneescale.api.resource_slice import GpuDevice
from kneescale.api.vocabulary import Role
from kneescale.core.backends import Backend
from kneescale.core.tiers import Tier
from kneescale.plan.rooms import Rooms
from kneescale.plan.state import Manifest
from kneescale.plan.workloads import Claim
from tests.plan.cluster import condition, device_of, emulated_world, model
from tests.plan.cluster_life import moves, ready_pods, settle
from tests.plan.world import World

GIB = 1 << 30
GPU = GpuDevice(
    "node1", "gpu0", "EMU-1", "V100", Backend.EMULATED, Tier.GREEN_CONTEXTS, 10, 16 * GIB, clients=3
)


def serving_world(**spec: object) -> World:
    world = emulated_world()
    world.create(model("resnet50", **spec))
    settle(world)
    return world


def make_moves(world: World, *words: str) -> None:
    """Make the moves that have any of the words in their names."""
    for move in moves(world):
        if any(word in move.name for word in words):
            move.make()


def states(world: World) -> list[str]:
    placements: list[Manifest] = world.get("InferenceModel", "resnet50")["status"]["placements"]
    return sorted(str(placement["state"]) for placement in placements)


def test_the_old_worker_goes_when_the_agent_has_heard_from_the_new_one_and_no_sooner() -> None:
    world = serving_world()
    world.edit("InferenceModel", "resnet50", lambda spec: spec.update(maxBatch=8))
    world.reconcile()
    make_moves(world, "starts")
    world.reconcile()
    assert len(ready_pods(world, "resnet50")) == 2
    assert states(world) == ["Serving", "Starting"]

    make_moves(world, "agent reports")
    world.reconcile()
    assert len(ready_pods(world, "resnet50")) == 1
    world.reconcile()
    assert states(world) == ["Draining", "Serving"]
    assert world.get("InferenceModel", "resnet50")["status"]["replicas"] == 1

    make_moves(world, "has drained")
    world.reconcile()
    assert states(world) == ["Serving"]


def test_each_new_worker_that_serves_lets_one_old_worker_go() -> None:
    world = serving_world(scaling={"minReplicas": 2, "maxReplicas": 2})
    world.edit("InferenceModel", "resnet50", lambda spec: spec.update(maxBatch=8))
    world.reconcile()
    starting = [move for move in moves(world) if "starts" in move.name]
    assert len(starting) == 2
    starting[0].make()
    make_moves(world, "agent reports")
    world.reconcile()
    assert len(ready_pods(world, "resnet50")) == 2


def test_replicas_share_the_rate() -> None:
    one, two = serving_world(), serving_world(scaling={"minReplicas": 2, "maxReplicas": 2})

    def areas(world: World) -> list[int]:
        schedules = world.find("GPUSchedule")
        return [
            int(each["areaPermille"]) for schedule in schedules for each in schedule["spec"]["partitions"]
        ]

    (whole,) = areas(one)
    assert areas(two) == [-(-whole // 2)] * 2


def test_a_worker_being_deleted_is_no_place_to_stay() -> None:
    world = serving_world(scaling={"minReplicas": 2, "maxReplicas": 2})
    first = next(pod["metadata"]["name"] for pod in world.find("Pod") if device_of(pod) == "EMU-node1-0")
    world.edit("InferenceModel", "resnet50", lambda spec: spec.pop("scaling"))
    world.remove("Pod", first)
    world.reconcile()
    placed = condition(world.get("InferenceModel", "resnet50"), "Placed")
    assert placed["message"].startswith("on node1/gpu1 at ")
    settle(world)
    assert [device_of(pod) for pod in world.find("Pod")] == ["EMU-node1-1"]


@pytest.mark.parametrize(("asked", "wanted"), [(None, (2, 4)), (0, (2, 2)), (3, (3, 3)), (9, (4, 4))])
def test_asked_replicas_stay_within_the_bounds(asked: int | None, wanted: tuple[int, int]) -> None:
    assert Scaling(min_replicas=2, max_replicas=4, replicas=asked).bounds == wanted


def claim(uuid: str, gib: int) -> Claim:
    metadata = Metadata("claim", "default", annotations={"kneescale.dev/device": uuid})
    return Claim(metadata, Role.SERVE, gib * GIB, clients=1, lanes=(100,))


def test_room_is_what_claims_leave_of_memory() -> None:
    rooms = Rooms([GPU], [claim("EMU-1", 10), claim("elsewhere", 10)])
    assert rooms.free_bytes("EMU-1") == 6 * GIB
    assert not rooms.try_take("EMU-1", 7 * GIB, clients=1)
    assert rooms.try_take("EMU-1", 6 * GIB, clients=1)
    assert rooms.free_bytes("EMU-1") == 0


def test_room_is_what_claims_leave_of_clients() -> None:
    rooms = Rooms([GPU], [claim("EMU-1", 1), claim("EMU-1", 1)])
    assert rooms.try_take("EMU-1", GIB, clients=1)
    assert not rooms.try_take("EMU-1", GIB, clients=1)
