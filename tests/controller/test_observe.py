"""The world as remembered from watches, answers and listings that come in any order."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from kneescale.controller.api_server import Listing
from kneescale.controller.observe import World, find_worker
from kneescale.controller.resources import POD, Object


def pod(name: str, version: int, namespace: str = "default") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "resourceVersion": str(version)},
    }


def names(world: World) -> list[str]:
    return [obj["metadata"]["name"] for obj in world.objects(POD)]


def test_an_older_sight_does_not_replace_a_newer_one() -> None:
    world = World([POD])
    assert world.saw(POD, pod("a", 5))
    assert not world.saw(POD, pod("a", 4))
    found = world.find(POD, ("default", "a"))
    assert found == pod("a", 5)


def test_the_same_sight_twice_is_no_news() -> None:
    world = World([POD])
    assert world.saw(POD, pod("a", 5))
    assert not world.saw(POD, pod("a", 5))
    assert world.saw_deleted(POD, pod("a", 6))
    assert not world.saw_deleted(POD, pod("a", 6))


def test_a_listing_from_before_a_deletion_does_not_bring_the_object_back() -> None:
    world = World([POD])
    world.saw(POD, pod("a", 3))
    world.saw_deleted(POD, pod("a", 9))
    world.saw_all(POD, Listing((pod("a", 3),), resource_version=8))
    assert names(world) == []


def test_a_listing_removes_what_the_watch_did_not_report_deleted() -> None:
    world = World([POD])
    world.saw(POD, pod("a", 3))
    world.saw(POD, pod("b", 7))
    world.saw_all(POD, Listing((), resource_version=6))
    assert names(world) == ["b"]


def test_an_object_made_anew_under_an_old_name_is_seen() -> None:
    world = World([POD])
    world.saw(POD, pod("a", 3))
    world.saw_deleted(POD, pod("a", 4))
    world.saw(POD, pod("a", 5))
    assert names(world) == ["a"]


def test_objects_come_in_the_order_of_their_names() -> None:
    world = World([POD])
    for name, namespace in (("b", "x"), ("a", "y"), ("a", "x")):
        world.saw(POD, pod(name, 1, namespace))
    assert [obj["metadata"]["namespace"] for obj in world.objects(POD)] == ["x", "x", "y"]


@dataclass(frozen=True, slots=True)
class Change:
    """At version `index + 1` of the history: the object is written, or deleted if it is there."""

    name: str
    deleted: bool


HISTORIES = st.lists(st.builds(Change, st.sampled_from("abc"), st.booleans()), min_size=1, max_size=12)


def state_at(history: list[Change], version: int) -> dict[str, int]:
    """Which objects exist at a version, and when each was written last."""
    state: dict[str, int] = {}
    for written_at, change in enumerate(history[:version], start=1):
        if change.deleted:
            state.pop(change.name, None)
        else:
            state[change.name] = written_at
    return state


@given(HISTORIES, st.data())
def test_any_order_of_sights_ends_at_the_latest_state(history: list[Change], data: st.DataObject) -> None:
    listed_at = data.draw(st.lists(st.integers(1, len(history)), max_size=3))
    sights = [("event", version) for version in range(1, len(history) + 1)]
    sights += [("listing", version) for version in listed_at]

    world = World([POD])
    for kind, version in data.draw(st.permutations(sights)):
        change = history[version - 1]
        if kind == "listing":
            items = tuple(pod(name, at) for name, at in state_at(history, version).items())
            world.saw_all(POD, Listing(items, version))
        elif change.deleted:
            world.saw_deleted(POD, pod(change.name, version))
        else:
            world.saw(POD, pod(change.name, version))
    final = state_at(history, len(history))
    world.saw_all(POD, Listing(tuple(pod(name, at) for name, at in final.items()), len(history)))

    assert world.objects(POD) == tuple(pod(name, final[name]) for name in sorted(final))


def worker(name: str, ready: str, role: str = "Serve", model: str = "vad") -> Object:
    made = pod(name, 1, "shop")
    made["metadata"]["labels"] = {"kneescale.dev/model": model, "kneescale.dev/role": role}
    owner = {"apiVersion": "kneescale.dev/v1alpha1", "kind": "InferenceModel", "name": model, "uid": "u"}
    made["metadata"]["ownerReferences"] = [owner]
    return made | {"status": {"podIP": "10.2.0.9", "conditions": [{"type": "Ready", "status": ready}]}}


def test_a_ready_worker_of_the_model_is_found_by_its_address() -> None:
    world = World([POD])
    draining = worker("c", "True")
    draining["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    for other in (
        worker("a", "False"),
        worker("b", "True", role="Profile"),
        draining,
        worker("d", "True", model="asr"),
    ):
        world.saw(POD, other)
    assert find_worker(world, ("shop", "vad")) is None
    world.saw(POD, worker("e", "True"))
    assert find_worker(world, ("shop", "vad")) == "10.2.0.9"
    assert find_worker(world, ("default", "vad")) is None
