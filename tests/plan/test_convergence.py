"""Level-based: whatever happens in whatever order, wherever the operator is killed, the end is the same."""

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kneescale.api.quantity import parse_quantity
from kneescale.core.tiers import Tier
from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.plan.state import Manifest
from tests.plan.cluster import (
    cordon,
    cure,
    device_of,
    emulated_device,
    emulated_world,
    model,
    resource_slice,
    sicken,
    uncordon,
)
from tests.plan.cluster_life import evictions, is_cordoned, moves, ready_pods, settle
from tests.plan.world import World, key_of

NAMES = ("resnet50", "vgg19", "bert")

Change = Callable[[World], None]


def spec_edit(name: str, change: Callable[[Manifest], None]) -> Change:
    return lambda world: world.edit("InferenceModel", name, change)


#: What users do to the world, one after the other; each leaves every model placeable.
CHANGES: dict[str, Change] = {
    "tighter SLO": spec_edit("resnet50", lambda spec: spec["slo"].update(latencyMilliseconds=30)),
    "GPU% fixed": spec_edit("resnet50", lambda spec: spec.update(overrides={"gpuPercent": 40})),
    "GPU% freed": spec_edit("resnet50", lambda spec: spec.pop("overrides", None)),
    "smaller batches": spec_edit("vgg19", lambda spec: spec.update(maxBatch=4)),
    "higher rate": spec_edit("vgg19", lambda spec: spec.update(expectedRequestsPerSecond=120)),
    "another model": spec_edit("bert", lambda spec: spec["model"].update(uri="catalog://alexnet")),
    "two replicas": spec_edit("bert", lambda spec: spec.update(scaling={"minReplicas": 2, "maxReplicas": 2})),
}


def check_rules(world: World) -> None:
    """What must hold at every moment, whoever is killed when."""
    for schedule in world.find("GPUSchedule"):
        uuid = schedule["spec"]["uuid"]
        claims = [claim for claim in world.find("ResourceClaim") if device_of(claim) == uuid]
        assert len(claims) <= 16, "each of the models asks for 1 of 16 GiB"
        jobs = [job for job in world.find("Job") if device_of(job) == uuid and "status" not in job]
        assert len(jobs) <= 1, "two models are profiled at once on one device"
        for partition in schedule["spec"]["partitions"]:
            assert partition["gpuPercent"] in partition["lanes"]
            assert partition["gpuPercent"] <= WHOLE_GPU_PERCENT

    for claim in world.find("ResourceClaim"):
        _, namespace, name = key_of(claim)
        holders = [world.objects.get((kind, namespace, name)) for kind in ("Pod", "Job")]
        assert all(device_of(holder) == device_of(claim) for holder in holders if holder)


def outcome(world: World) -> Manifest:
    """What is left when all is quiet, without the names of devices and the times."""
    statuses = {obj["metadata"]["name"]: obj["status"] for obj in world.find("InferenceModel")}
    kept = ("gpuPercent", "batch", "replicas", "profile", "kneePercent", "reason")
    return {
        "models": {name: {field: status.get(field) for field in kept} for name, status in statuses.items()},
        "conditions": {
            name: [(each["type"], each["status"], each["reason"]) for each in status["conditions"]]
            for name, status in statuses.items()
        },
        "ready": {name: len(ready_pods(world, name)) for name in statuses},
        "objects": sorted(
            (kind, obj["metadata"].get("labels", {}).get("kneescale.dev/model", ""))
            for (kind, _, _), obj in world.objects.items()
        ),
    }


def fresh_world() -> World:
    world = emulated_world(nodes=2, gpus=1)
    for name in NAMES:
        world.create(model(name))
    return world


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), changes=st.lists(st.sampled_from(sorted(CHANGES)), max_size=3))
def test_any_order_and_any_crash_end_the_same(data: st.DataObject, changes: list[str]) -> None:
    calm, rough = fresh_world(), fresh_world()
    for change in changes:
        CHANGES[change](calm)
    settle(calm)

    pending = list(changes)
    for _ in range(data.draw(st.integers(0, 25))):
        what = data.draw(st.sampled_from(["operator", "cluster", "user"]))
        if what == "user" and pending:
            CHANGES[pending.pop(0)](rough)
        elif what == "cluster" and (possible := moves(rough)):
            data.draw(st.sampled_from(possible)).make()
        else:
            writes, _ = rough.writes()
            for write in writes[: data.draw(st.integers(0, len(writes)))]:
                write.make()  # and then the operator is killed
                check_rules(rough)
    for change in pending:
        CHANGES[change](rough)
    settle(rough, lambda: check_rules(rough))

    assert outcome(rough) == outcome(calm)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), changes=st.lists(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=3))
def test_no_change_takes_a_serving_model_out_of_service(data: st.DataObject, changes: list[str]) -> None:
    world = fresh_world()
    settle(world)

    def check() -> None:
        check_rules(world)
        assert all(ready_pods(world, name) for name in NAMES)

    for change in changes:
        CHANGES[change](world)
        for _ in range(data.draw(st.integers(0, 6))):
            possible = [*moves(world), *world.writes()[0]]
            if possible:
                data.draw(st.sampled_from(possible)).make()
            check()
    settle(world, check)
    assert world.reconcile() == 0


#: What admins and hardware do; each can be undone by the change that follows it here.
TROUBLES: dict[str, Change] = {
    "cordon": lambda world: cordon(world, "node1"),
    "uncordon": lambda world: uncordon(world, "node1"),
    "sick": lambda world: sicken(world, "node2"),
    "well": lambda world: cure(world, "node2"),
    "agent away": lambda world: take_slice(world, "node1"),
    "agent back": lambda world: give_slice(world, "node1"),
    "another image": lambda world: set_image(world, "kneescale/worker:2"),
    "smaller batches": CHANGES["smaller batches"],
    "more memory": spec_edit("bert", lambda spec: spec.update(gpu={"memory": "7Gi"})),
}


def take_slice(world: World, node: str) -> None:
    world.objects.pop(("ResourceSlice", "", f"{node}-slice"), None)


def give_slice(world: World, node: str) -> None:
    if ("ResourceSlice", "", f"{node}-slice") not in world.objects:
        device = emulated_device(node, 0)
        other, *_ = world.find("ResourceSlice")
        device["attributes"]["tier"] = other["spec"]["devices"][0]["attributes"]["tier"]
        world.create(resource_slice(node, [device]))


def set_image(world: World, image: str) -> None:
    world.settings = replace(world.settings, worker_image=image)


def heal(world: World) -> None:
    for change in ("uncordon", "well", "agent back"):
        TROUBLES[change](world)


@cache
def settled_tight_world(tier: Tier) -> World:
    """Three models that serve from two GPUs, one of which has no room for a second worker of any."""
    # Measured on GPUs that can be measured on, and only then in the tier.
    world = emulated_world(nodes=2, gpus=1)
    for name in NAMES:
        world.create(model(name, gpu={"memory": "6Gi"}))
    settle(world)
    for published in world.find("ResourceSlice"):
        published["spec"]["devices"][0]["attributes"]["tier"] = {"string": tier.value}
    settle(world)
    return world


def check_capacity(world: World) -> None:
    for schedule in world.find("GPUSchedule"):
        spec = schedule["spec"]
        capacities = [
            claim["spec"]["devices"]["requests"][0]["exactly"]["capacity"]["requests"]
            for claim in world.find("ResourceClaim")
            if device_of(claim) == spec["uuid"]
        ]
        assert sum(parse_quantity(each["memory"]) for each in capacities) <= spec["memoryBytes"]
        assert sum(parse_quantity(each["clients"]) for each in capacities) <= spec["clients"]


def broken_by_gpu(world: World) -> Counter[str]:
    """How many models without a serving worker have, on each GPU, the room for one."""
    down = [name for name in NAMES if not ready_pods(world, name)]
    held = {(device_of(claim), model_of(claim)) for claim in world.find("ResourceClaim")}
    return Counter(uuid for uuid, name in held if name in down)


def model_of(obj: Manifest) -> str:
    return str(obj["metadata"]["labels"]["kneescale.dev/model"])


#: A failing example says which moves it made; making it smaller takes minutes.
trouble_settings = settings(
    max_examples=10,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.parametrize("tier", Tier)
@trouble_settings
@given(data=st.data(), troubles=st.lists(st.sampled_from(sorted(TROUBLES)), min_size=1, max_size=5))
def test_no_trouble_breaks_two_models_of_a_gpu_and_all_serve_in_the_end(
    tier: Tier, data: st.DataObject, troubles: list[str]
) -> None:
    world = deepcopy(settled_tight_world(tier))

    def check() -> None:
        check_capacity(world)
        assert all(count <= 1 for count in broken_by_gpu(world).values())

    for trouble in troubles:
        TROUBLES[trouble](world)
        for _ in range(data.draw(st.integers(0, 8))):
            possible = [*moves(world), *world.writes()[0]]
            if possible:
                data.draw(st.sampled_from(possible)).make()
            check()
    settle(world)
    heal(world)
    settle(world, check)
    assert world.reconcile() == 0
    assert all(ready_pods(world, name) for name in NAMES)


@trouble_settings
@given(data=st.data(), troubles=st.lists(st.sampled_from(sorted(TROUBLES)), min_size=1, max_size=4))
def test_where_there_is_room_no_trouble_takes_a_model_out_of_service(
    data: st.DataObject, troubles: list[str]
) -> None:
    world = emulated_world(nodes=3, gpus=1)
    for name in NAMES:
        world.create(model(name))
    settle(world)
    for trouble in troubles:
        if trouble != "more memory":
            TROUBLES[trouble](world)
        for _ in range(data.draw(st.integers(0, 8))):
            drained = evictions(world, "node1") if is_cordoned(world, "node1") else []
            possible = [*moves(world), *world.writes()[0], *drained]
            if possible:
                data.draw(st.sampled_from(possible)).make()
            assert all(ready_pods(world, name) for name in NAMES)
    settle(world, lambda: all_serve(world))


def all_serve(world: World) -> None:
    assert all(ready_pods(world, name) for name in NAMES)
