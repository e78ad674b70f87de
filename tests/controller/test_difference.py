"""Which writes turn the observed world into the desired one."""

from copy import deepcopy
from typing import Any

import pytest

from kneescale.controller.difference import Verb, difference, holds
from kneescale.controller.observe import World
from kneescale.controller.resources import WATCHED, Object, kind_of
from kneescale.plan.state import Deletion, Desired, ObjectRef
from tests.controller.objects import model, obj, pod, service

OWNERS = [{"name": "a", "uid": "1"}, {"name": "b", "uid": "2"}]


def world_of(*objects: Object) -> World:
    """A world in which the server has put its own marks on the objects."""
    world = World(WATCHED)
    for version, found in enumerate(deepcopy(objects), start=1):
        found["metadata"] |= {"resourceVersion": str(version), "uid": f"uid-{version}"}
        world.saw(kind_of(found), found)
    return world


def being_deleted(found: Object) -> Object:
    return {**found, "metadata": {**found["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}


def deletion(found: Object, grace_s: int | None = None) -> Deletion:
    meta = found["metadata"]
    namespace, uid = meta.get("namespace", ""), meta.get("uid", "uid-1")
    return Deletion(ObjectRef(found["apiVersion"], found["kind"], namespace, meta["name"], uid), grace_s)


def verbs(desired: Desired, world: World) -> list[str]:
    return [str(write.item) for write in difference(desired, world)]


def test_what_is_missing_is_applied_and_what_already_holds_is_not() -> None:
    desired = Desired(apply=(service("vad"), pod("vad")))
    assert verbs(desired, world_of()) == ["apply Service shop/vad", "apply Pod shop/vad-0a"]
    assert verbs(desired, world_of(service("vad"), pod("vad"))) == []


def test_what_was_changed_by_hand_is_applied_again() -> None:
    world = world_of(service("vad", port=80))
    assert verbs(Desired(apply=(service("vad"),)), world) == ["apply Service shop/vad"]


def test_a_pod_is_never_changed_only_made() -> None:
    assert verbs(Desired(apply=(pod("vad", "worker:2"),)), world_of(pod("vad", "worker:1"))) == []


def test_what_is_being_deleted_is_left_alone() -> None:
    world = world_of(being_deleted(service("vad")))
    assert verbs(Desired(apply=(service("vad", port=80),), delete=(deletion(service("vad")),)), world) == []


def test_a_status_is_written_when_it_differs_in_any_way() -> None:
    wanted = model("vad", status={"replicas": 1})
    assert verbs(Desired(status=(wanted,)), world_of(wanted)) == []
    for status in ({}, {"replicas": 2}, {"replicas": 1, "reason": "stale"}):
        world = world_of(model("vad", status=status))
        assert verbs(Desired(status=(wanted,)), world) == ["apply status InferenceModel shop/vad"]


def test_a_condition_that_somebody_else_added_is_not_written_about_for_ever() -> None:
    ours = {"type": "Ready", "status": "True"}
    wanted = Desired(status=(model("vad", status={"conditions": [ours]}),))
    theirs = {"type": "Reviewed", "status": "True"}
    assert verbs(wanted, world_of(model("vad", status={"conditions": [theirs, ours]}))) == []
    for conditions in ([theirs], [theirs, ours | {"status": "False"}], [theirs, ours | {"stale": True}]):
        world = world_of(model("vad", status={"conditions": conditions}))
        assert verbs(wanted, world) == ["apply status InferenceModel shop/vad"]


def test_no_status_is_written_on_what_is_not_there() -> None:
    assert verbs(Desired(status=(model("vad", status={"replicas": 1}),)), world_of()) == []


def test_a_deletion_names_the_very_object() -> None:
    (write,) = difference(Desired(delete=(deletion(service("vad")),)), world_of(service("vad")))
    assert write.verb is Verb.DELETE
    assert write.obj["metadata"]["uid"] == "uid-1"
    assert list(difference(Desired(delete=(deletion(service("vad")),)), world_of())) == []
    another = service("vad")
    another["metadata"]["uid"] = "uid-of-another"
    assert list(difference(Desired(delete=(deletion(another),)), world_of(service("vad")))) == []


def test_a_deletion_tells_how_long_the_object_may_take_to_end() -> None:
    (write,) = difference(Desired(delete=(deletion(pod("vad"), grace_s=1),)), world_of(pod("vad")))
    assert write.grace_s == 1


@pytest.mark.parametrize(
    ("manifest", "for_model"),
    [
        (service("vad"), ("shop", "vad")),
        (model("vad"), ("shop", "vad")),
        (obj("kneescale.dev/v1alpha1", "GPUSchedule", "node1-gpu0", namespace=""), None),
    ],
)
def test_a_write_knows_the_model_that_it_is_for(manifest: Object, for_model: tuple[str, str] | None) -> None:
    (write,) = difference(Desired(apply=(manifest,)), world_of())
    assert write.model == for_model


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        ({"a": 1, "added": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({}, {"a": 1}, False),
        ({}, {"a": {}, "b": []}, True),
        ({"a": None}, {"a": {}}, False),
        ({"a": [{"b": 1, "added": 2}]}, {"a": [{"b": 1}]}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": [2, 1]}, {"a": [1, 2]}, False),
        ({"ports": [{"port": 9, "added": 2}, {"port": 8}]}, {"ports": [{"port": 8}, {"port": 9}]}, True),
        ({"ports": [{"port": 9}]}, {"ports": [{"port": 8}, {"port": 9}]}, False),
        ({"selector": {"a": 1}}, {"selector": {"a": 1}}, True),
        ({"selector": {"a": 1, "added": 2}}, {"selector": {"a": 1}}, False),
        ({"selector": {"matchLabels": {"a": 1, "added": 2}}}, {"selector": {"matchLabels": {"a": 1}}}, False),
        ({"selector": {"a": {}, "added": [1]}}, {"selector": {"a": {}}}, False),
        ({"ownerReferences": OWNERS[::-1]}, {"ownerReferences": OWNERS}, True),
        ({"ownerReferences": OWNERS}, {"ownerReferences": OWNERS[:1]}, False),
    ],
)
def test_holds(found: Any, wanted: Any, expected: bool) -> None:  # noqa: ANN401
    assert holds(found, wanted) is expected
