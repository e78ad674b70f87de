"""What must be written for the observed world to become the desired one. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kneescale.api.names import DEVICE_ANNOTATION, MODEL_LABEL
from kneescale.controller.observe import Key, World, key_of
from kneescale.controller.resources import JOB, POD, RESOURCE_CLAIM, Object, kind_named, kind_of
from kneescale.plan.state import Desired

#: Their specs cannot change, so what should be different gets a new name instead.
_CREATE_ONLY = frozenset({POD, JOB, RESOURCE_CLAIM})


class Verb(StrEnum):
    """What is done to an object."""

    APPLY = "apply"
    APPLY_STATUS = "apply status"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Item:
    """Names a write, so that its failures can be remembered from cycle to cycle."""

    verb: Verb
    kind: str
    namespace: str
    name: str

    @property
    def place(self) -> str:
        """Namespace and name, as in shop/vad."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    def __str__(self) -> str:
        return f"{self.verb} {self.kind} {self.place}"


@dataclass(frozen=True, slots=True)
class Write:
    """One request to the API server; `model` is the InferenceModel that it is for, if it is for one alone."""

    verb: Verb
    obj: Object
    model: Key | None
    #: How long a deleted object may take to end, if not as long as it says itself.
    grace_s: int | None = None

    @property
    def models(self) -> frozenset[Key]:
        """The InferenceModels that miss something where it fails: of a GPU's schedule, all that are on it."""
        if self.model:
            return frozenset({self.model})
        if self.obj["kind"] != "GPUSchedule":
            return frozenset()
        partitions = self.obj["spec"]["partitions"]
        return frozenset((partition["namespace"], partition["model"]) for partition in partitions)

    @property
    def item(self) -> Item:
        """The write's name."""
        namespace, name = key_of(self.obj)
        return Item(self.verb, self.obj["kind"], namespace, name)

    @property
    def about(self) -> dict[str, str]:
        """What a line of the log about it is about: its model and its GPU, where it has them."""
        item = self.item
        about = {"verb": item.verb, "kind": item.kind, "object": item.place}
        if self.model:
            about["namespace"], about["model"] = self.model
        if device := _device(self.obj):
            about["device"] = device
        return about


def difference(desired: Desired, world: World) -> Iterator[Write]:
    """Yield the writes that are needed, in the order of `desired`: objects, their statuses, deletions."""
    for manifest in desired.apply:
        if _needs_apply(manifest, world):
            yield _write(Verb.APPLY, manifest)
    for manifest in desired.status:
        if _needs_status(manifest, world):
            yield _write(Verb.APPLY_STATUS, manifest)
    for deletion in desired.delete:
        ref = deletion.ref
        found = world.find(kind_named(ref.api_version, ref.kind), (ref.namespace, ref.name))
        # Another object may have taken the name while the plan was made.
        if found is not None and found["metadata"]["uid"] == ref.uid and not _is_being_deleted(found):
            yield _write(Verb.DELETE, found, deletion.grace_s)


def holds(found: object, wanted: object) -> bool:
    """Whether `found` has all that `wanted` says; what the server added to objects besides is left alone."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            _member_holds(found, name, value) for name, value in wanted.items()
        )
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return (
            isinstance(found, Sequence)
            and len(found) == len(wanted)
            and all(holds(*pair) for pair in zip(found, wanted, strict=True))
        )
    return bool(found == wanted)


def _member_holds(found: Mapping[str, Any], name: str, wanted: object) -> bool:
    if name not in found:  # the server leaves empty lists and objects out
        return wanted in ({}, [])
    if name == "ownerReferences" and isinstance(wanted, list):
        # A list-map by uid, in an order of the server's own.
        return _by_uid(found[name]) == _by_uid(wanted)
    if name == "selector":  # one more label, and it selects nothing
        return bool(found[name] == wanted)
    if name == "ports" and isinstance(wanted, list):  # a list-map, too: those that others add stay
        return all(any(holds(port, each) for port in found[name]) for each in wanted)
    return holds(found[name], wanted)


def _by_uid(owners: list[Any]) -> dict[str, Any]:
    return {owner["uid"]: owner for owner in owners}


def _needs_apply(manifest: Object, world: World) -> bool:
    found = _find(manifest, world)
    if found is None:
        return True
    # What is being deleted is made anew once it is gone; the watch tells.
    return not (_is_being_deleted(found) or kind_of(manifest) in _CREATE_ONLY or holds(found, manifest))


def _needs_status(manifest: Object, world: World) -> bool:
    found = _find(manifest, world)
    return found is not None and _own_status(found, manifest["status"]) != manifest["status"]


def _own_status(found: Object, wanted: Object) -> Object:
    """The status without the conditions that others added, which stay whatever is applied."""
    status: Object = found.get("status", {})
    if "conditions" not in status:
        return status
    types = {condition["type"] for condition in wanted.get("conditions", ())}
    return {**status, "conditions": [each for each in status["conditions"] if each["type"] in types]}


def _find(manifest: Object, world: World) -> Object | None:
    return world.find(kind_of(manifest), key_of(manifest))


def _is_being_deleted(obj: Object) -> bool:
    return "deletionTimestamp" in obj["metadata"]


def _device(obj: Object) -> str:
    """The GPU that an object is for; empty where it is for none, or for several."""
    if obj["kind"] == "GPUSchedule":
        return str(obj.get("spec", {}).get("uuid", ""))
    return str(obj["metadata"].get("annotations", {}).get(DEVICE_ANNOTATION, ""))


def _write(verb: Verb, obj: Object, grace_s: int | None = None) -> Write:
    namespace, name = key_of(obj)
    model = name if obj["kind"] == "InferenceModel" else obj["metadata"].get("labels", {}).get(MODEL_LABEL)
    return Write(verb, obj, (namespace, model) if model else None, grace_s)
