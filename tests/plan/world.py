"""A cluster in memory for tests of the plan: its objects, what people do to them, what the operator writes.

Nothing happens by itself: what a cluster does with the objects are the moves of `cluster_life`.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from kneescale.api.conditions import format_time
from kneescale.api.inference_model import may_sleep
from kneescale.api.names import FIELD_MANAGER
from kneescale.plan import plan
from kneescale.plan.ages import Ages
from kneescale.plan.state import EventNote, Gate, Manifest, ObjectRef, Observed, Settings
from kneescale.plan.workloads import ModelKey

#: (kind, namespace, name).
Key = tuple[str, str, str]

#: Their specs cannot change once they are made.
_CREATE_ONLY = {"Pod", "Job", "ResourceClaim"}
#: They go in their own time: a pod drains, a claim waits for its pod, a Job for its pods.
_GO_SLOWLY = {"Pod", "ResourceClaim", "Job"}


@dataclass(frozen=True, slots=True, repr=False)
class Move:
    """One thing that may happen next; `name` tells it in a failing test."""

    name: str
    make: Callable[[], None]

    def __repr__(self) -> str:
        return self.name


@dataclass(slots=True)
class World:
    """The objects, and how the plan is asked."""

    settings: Settings
    #: The true time, which the control plane has.
    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    #: How far the wall clocks of the nodes and of the operator are ahead of it.
    nodes_ahead: timedelta = timedelta(0)
    operator_ahead: timedelta = timedelta(0)
    objects: dict[Key, Manifest] = field(default_factory=dict)
    #: Errors of workers that can neither load nor profile their model, by model URI.
    broken: dict[str, str] = field(default_factory=dict)
    #: Nodes that have no CPU or memory left for another pod.
    full_nodes: set[str] = field(default_factory=set)
    #: Images that no node can pull.
    unpullable: set[str] = field(default_factory=set)
    #: Uids of pods that have a batch which does not end.
    hung: set[str] = field(default_factory=set)
    #: Items per second that arrive for a model, by its name; its workers get equal parts.
    rates: dict[str, float] = field(default_factory=dict)
    #: What else agents say of each of a model's partitions, by its name.
    figures: dict[str, Manifest] = field(default_factory=dict)
    #: Connections that wait for a worker of a model, by its name.
    waiting: dict[str, int] = field(default_factory=dict)
    #: GPU area that agents say is used, in permille.
    area_used_permille: int = 0
    #: The last error of writing something for a model, by (namespace, name).
    apply_errors: dict[ModelKey, str] = field(default_factory=dict)
    events: list[EventNote] = field(default_factory=list)
    _ages: Ages = field(default_factory=Ages)
    _uids: int = 0

    def create(self, obj: Manifest) -> Manifest:
        """Create an object as its manifest says."""
        made = deepcopy(obj)
        self._uids += 1
        born = {"uid": f"uid-{self._uids}", "generation": 1, "creationTimestamp": format_time(self.now)}
        made["metadata"] |= born
        self.objects[key_of(made)] = made
        return made

    def edit(
        self, kind: str, name: str, change: Callable[[Manifest], None], namespace: str = "default"
    ) -> None:
        """Change an object's spec by hand."""
        obj = self.objects[kind, namespace, name]
        change(obj["spec"])
        obj["metadata"]["generation"] += 1

    def remove(self, kind: str, name: str, namespace: str = "default") -> None:
        """Delete an object, or mark it as being deleted where that takes its time."""
        obj = self.objects[kind, namespace, name]
        if kind in _GO_SLOWLY:
            obj["metadata"].setdefault("deletionTimestamp", format_time(self.now))
        else:
            self.drop((kind, namespace, name))

    def drop(self, key: Key) -> None:
        """Take an object out of the world."""
        self.objects.pop(key, None)

    def find(self, kind: str) -> list[Manifest]:
        """All objects of a kind, by namespace and name."""
        return [self.objects[key] for key in sorted(self.objects) if key[0] == kind]

    def get(self, kind: str, name: str, namespace: str = "default") -> Manifest:
        """One object."""
        return self.objects[kind, namespace, name]

    def observe(self) -> Observed:
        """What the controller would show to the plan."""
        seen = Observed.from_objects(
            now=self.now + self.operator_ahead,
            models=self.find("InferenceModel"),
            profiles=self.find("ModelProfile"),
            schedules=self.find("GPUSchedule"),
            slices=self.find("ResourceSlice"),
            pods=self.find("Pod"),
            jobs=self.find("Job"),
            claims=self.find("ResourceClaim"),
            nodes=self.find("Node"),
            entrances=self.find("EndpointSlice"),
            gates=self._gates(),
            apply_errors=self.apply_errors,
        )
        return self._ages.add_to(seen, self.now.timestamp())

    def _gates(self) -> dict[ModelKey, Gate]:
        """The controller has one for each model that may sleep."""
        models = [obj for obj in self.find("InferenceModel") if may_sleep(obj)]
        names = [(obj["metadata"]["namespace"], obj["metadata"]["name"]) for obj in models]
        return {key: Gate("10.2.0.1", 4000, 4001, self.waiting.get(key[1], 0)) for key in names}

    def requeue_after_s(self) -> float | None:
        """When the plan wants to be asked again though nothing changes."""
        return plan(self.observe(), self.settings).requeue_after_s

    def writes(self) -> tuple[list[Move], tuple[EventNote, ...]]:
        """The writes of the plan that would change something, in their order, and its Events."""
        desired = plan(self.observe(), self.settings)
        applied = [obj for obj in desired.apply if self._differs(obj)]
        statuses = [obj for obj in desired.status if self._status_differs(obj)]
        deleted = [each.ref for each in desired.delete if not self._is_going(each.ref)]
        return [
            *(_move("apply", obj, partial(self._apply, obj)) for obj in applied),
            *(_move("set status of", obj, partial(self._set_status, obj)) for obj in statuses),
            *(
                Move(f"delete {ref.kind} {ref.name}", partial(self.remove, ref.kind, ref.name, ref.namespace))
                for ref in deleted
            ),
        ], desired.events

    def reconcile(self) -> int:
        """One whole turn of the controller; the number of its writes."""
        writes, events = self.writes()
        for write in writes:
            write.make()
        self.events += events
        return len(writes)

    def _apply(self, manifest: Manifest) -> None:
        found = self.objects.get(key_of(manifest))
        if found is None:
            self.create(manifest)["metadata"]["managedFields"] = [
                {"manager": FIELD_MANAGER, "operation": "Apply"}
            ]
            return
        found["metadata"] |= deepcopy(manifest["metadata"])
        found["metadata"]["generation"] += found["spec"] != manifest["spec"]
        found["spec"] = deepcopy(manifest["spec"])

    def _set_status(self, manifest: Manifest) -> None:
        if key_of(manifest) in self.objects:
            self.objects[key_of(manifest)]["status"] = deepcopy(manifest["status"])

    def _differs(self, manifest: Manifest) -> bool:
        found = self.objects.get(key_of(manifest))
        if found is None:
            return True
        return manifest["kind"] not in _CREATE_ONLY and not _contains(found, manifest)

    def _status_differs(self, manifest: Manifest) -> bool:
        found = self.objects.get(key_of(manifest))
        return found is not None and found.get("status") != manifest["status"]

    def _is_going(self, ref: ObjectRef) -> bool:
        return "deletionTimestamp" in self.objects[ref.kind, ref.namespace, ref.name]["metadata"]


def key_of(obj: Manifest) -> Key:
    """An object's key in the world; cluster-scoped objects have no namespace."""
    return obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _move(verb: str, obj: Manifest, make: Callable[[], None]) -> Move:
    return Move(f"{verb} {obj['kind']} {obj['metadata']['name']}", make)


def _contains(found: object, wanted: object) -> bool:
    """Whether applying `wanted` would change nothing in `found`."""
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        return all(name in found and _contains(found[name], member) for name, member in wanted.items())
    return found == wanted
