"""Objects of any shape, which anybody may label as ours: they neither stop the plan nor steer it."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.tiers import Tier
from kneescale.plan import plan
from kneescale.plan.state import Manifest
from tests.plan.cluster import UNHEARD_OF, condition, cordon, emulated_world, model
from tests.plan.cluster_life import moves, settle
from tests.plan.world import Key, World, key_of

LABELS = {"app.kubernetes.io/managed-by": "kneescale"}
#: What the API server itself sees to, whatever anybody writes.
SURE = {"apiVersion", "kind", "name", "namespace", "uid", "generation"}
#: Of a member's own type as well as of another.
VALUES: tuple[Any, ...] = (
    None,
    "",
    "x",
    "2026-01-01T00:00:00",
    "1e999999999",
    "0",
    "-5",
    -1,
    33,
    1 << 70,
    0.5,
    True,
    [],
    {},
    [[]],
)

Path = tuple[str | int, ...]


def measuring_world(tier: Tier) -> World:
    """A cluster with an object of every kind, in the midst of things."""
    world = emulated_world(nodes=2, tier=tier)
    world.create(model("lite0", scaling={"minReplicas": 0, "maxReplicas": 2}))
    world.create(model("resnet50", model=UNHEARD_OF))
    world.create(model("wide", gpu={"memory": "40Gi"}))
    world.create(model("vgg19"))
    world.reconcile()
    for move in moves(world):
        move.make()
    world.rates["lite0"] = 5
    cordon(world, "node2")
    world.create(model("vad", model=UNHEARD_OF | {"uri": "catalog://another"}))
    world.reconcile()
    return world


def paths(value: object, path: Path = ()) -> Iterator[Path]:
    """Where there are members, at any depth, that somebody may write as they like."""
    named = value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
    for name, member in named:
        if not (path in ((), ("metadata",)) and name in SURE | {"metadata"}):
            yield (*path, name)
        yield from paths(member, (*path, name))


def parent_of(obj: Manifest, path: Path) -> Any:  # noqa: ANN401 - JSON
    found: Any = obj
    for name in path[:-1]:
        found = found[name]
    return found


def world_with_traffic() -> World:
    world = emulated_world(gpus=1)
    world.create(model("lite0"))
    world.rates["lite0"] = 5
    settle(world)
    return world


def said_of_lite0(world: World) -> str:
    world.reconcile()
    return str(condition(world.get("InferenceModel", "lite0"), "Scaled")["reason"])


#: With all lanes for each model, with pools of them, and with one lane of reserved SMs.
WORLDS = {
    tier: measuring_world(tier) for tier in (Tier.GREEN_CONTEXTS, Tier.MPS_PROCESSES, Tier.SM_PARTITIONS)
}
WORLD = WORLDS[Tier.GREEN_CONTEXTS]
PLACES = [
    (tier, key, path)
    for tier, world in WORLDS.items()
    for key, obj in world.objects.items()
    for path in paths(obj)
]


def test_the_worlds_that_are_mangled_have_all_kinds() -> None:
    kinds = {"Node", "ResourceSlice", "InferenceModel", "ModelProfile", "GPUSchedule", "Pod", "ResourceClaim"}
    for tier, world in WORLDS.items():
        # Nothing is measured where a worker can never have the whole GPU.
        jobs = set() if tier is Tier.SM_PARTITIONS else {"Job"}
        assert kinds | jobs <= {kind for kind, _, _ in world.objects}
        assert world.observe().rejected == ()


@given(st.sampled_from(PLACES), st.none() | st.sampled_from(VALUES))
def test_a_mangled_object_stops_no_plan(place: tuple[Tier, Key, Path], value: object) -> None:
    tier, key, path = place
    world = deepcopy(WORLDS[tier])
    parent = parent_of(world.objects[key], path)
    if value is None:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    plan(world.observe(), world.settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("recentItemsPerSecond", "-5"),
        ("steadyItemsPerSecond", "-5"),
        ("steadySeconds", "0"),
        ("steadySeconds", "0.00000000000001"),
        ("longItemsPerSecond", "-5"),
        ("longSeconds", "-5"),
        ("steadyItemsPerSecond", "9" * 24),
    ],
)
def test_traffic_that_cannot_be_is_none(name: str, value: str) -> None:
    world = world_with_traffic()
    world.find("GPUSchedule")[0]["status"]["partitions"][0]["traffic"][name] = value
    assert said_of_lite0(world) == "NoMetrics"


def test_a_time_that_cannot_be_reckoned_with_is_none() -> None:
    world = world_with_traffic()
    world.find("GPUSchedule")[0]["status"]["measuredAt"] = "9999-12-31T23:59:59Z"
    assert said_of_lite0(world) == "NoMetrics"


def test_a_rate_that_is_no_number_is_none() -> None:
    world = world_with_traffic()
    world.find("GPUSchedule")[0]["status"]["partitions"][0]["requestsPerSecond"] = "x"
    assert said_of_lite0(world) == "NoMetrics"


def test_a_status_that_cannot_be_read_takes_no_partition_from_its_gpu() -> None:
    world = world_with_traffic()
    schedule = world.find("GPUSchedule")[0]
    spec = deepcopy(schedule["spec"])
    cordon(world, "node1")
    world.remove("InferenceModel", "lite0")
    schedule["status"]["partitions"] = "x"
    world.reconcile()
    assert schedule["spec"] == spec, "its worker drains"


@pytest.mark.parametrize("annotation", ["x", "", "0", "-1", "1" * 5000])
def test_a_job_without_a_number_of_its_try_is_rejected(annotation: str) -> None:
    world = deepcopy(WORLD)
    (job, *_) = world.find("Job")
    job["metadata"].setdefault("annotations", {})["kneescale.dev/attempt"] = annotation
    (rejected,) = world.observe().rejected
    assert (rejected.ref.kind, rejected.ref.name) == ("Job", job["metadata"]["name"])
    assert "kneescale.dev/attempt must be a whole number from 1" in rejected.message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "devices", "config"), []),
        (("spec", "devices", "config", 0, "opaque", "parameters"), {}),
        (("spec", "devices", "requests", 0, "exactly", "capacity", "requests", "memory"), "-40Gi"),
        (("spec", "devices", "requests", 0, "exactly", "capacity", "requests", "clients"), "1e999999999"),
    ],
)
def test_a_claim_of_another_shape_is_rejected(path: Path, value: object) -> None:
    world = deepcopy(WORLD)
    claim = next(each for each in world.find("ResourceClaim") if "annotations" in each["metadata"])
    parent_of(claim, path)[path[-1]] = value
    (rejected,) = world.observe().rejected
    assert rejected.ref.name == claim["metadata"]["name"]


@pytest.mark.parametrize(
    ("path", "value"),
    [(("spec", "nodeName"), None), (("spec", "devices", 0, "attributes", "uuid"), {"string": None})],
)
def test_a_slice_that_cannot_be_read_is_rejected_once(path: Path, value: object) -> None:
    world = deepcopy(WORLD)
    (published, *_) = world.find("ResourceSlice")
    parent_of(published, path)[path[-1]] = value
    (rejected,) = world.observe().rejected
    assert rejected.ref.name == published["metadata"]["name"]


def test_a_node_publishes_although_its_devices_cannot_be_read() -> None:
    world = deepcopy(WORLD)
    (published, *_) = world.find("ResourceSlice")
    published["spec"]["devices"][0]["attributes"] = {}
    observed = world.observe()
    assert published["spec"]["nodeName"] in observed.publishing_nodes
    assert published["spec"]["nodeName"] not in {device.node for device in observed.devices}


def foreign(obj: Manifest) -> Manifest:
    """The same under another name, with all labels, but made by somebody else."""
    copy = deepcopy(obj)
    copy["metadata"]["name"] = "foreign"
    copy["metadata"]["ownerReferences"] = []
    copy["metadata"]["managedFields"] = [{"manager": "kubectl-create", "operation": "Update"}]
    return copy


@pytest.mark.parametrize("kind", ["Pod", "Job", "ResourceClaim"])
def test_what_somebody_else_labels_as_ours_changes_no_plan(kind: str) -> None:
    world = emulated_world(gpus=1)
    world.create(model("lite0"))
    settle(world)
    world.create(model("resnet50", model=UNHEARD_OF))
    world.reconcile()
    before = plan(world.observe(), world.settings)
    (obj, *_) = world.find(kind)
    theirs = world.create(foreign(obj))
    assert plan(world.observe(), world.settings) == before
    settle(world)
    assert theirs in world.find(kind)


def test_a_claim_that_somebody_labels_as_ours_may_have_any_shape() -> None:
    world = deepcopy(WORLD)
    request = {"name": "a", "exactly": {"deviceClassName": "gpu.nvidia.com"}}
    metadata = {"namespace": "shop", "name": "x", "labels": LABELS}
    spec = {"devices": {"requests": [request]}}
    world.create(
        {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": metadata, "spec": spec}
    )
    before = plan(WORLD.observe(), WORLD.settings)
    assert plan(world.observe(), world.settings) == before
    assert world.observe().rejected == ()


def test_what_another_pod_says_is_no_result_of_a_job() -> None:
    world = emulated_world()
    world.create(model("resnet50", model=UNHEARD_OF))
    world.reconcile()
    (job,) = world.find("Job")
    for move in moves(world):
        move.make()
    pod = next(
        each for each in world.find("Pod") if each["metadata"]["name"].startswith(job["metadata"]["name"])
    )
    theirs = foreign(pod)
    theirs["metadata"] |= {"namespace": "shop", "ownerReferences": pod["metadata"]["ownerReferences"]}
    theirs["metadata"]["ownerReferences"][0] |= {"uid": "another"}
    message = {"exitCode": 0, "finishedAt": "2030-01-01T00:00:00Z", "message": "what I like"}
    theirs["status"] = {"containerStatuses": [{"state": {"terminated": message}}]}
    before = world.observe().jobs
    world.objects[key_of(theirs)] = theirs
    assert world.observe().jobs == before
