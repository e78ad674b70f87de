"""The operator's memory of the cluster, fed by watches and by full listings."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from kneescale.api.inference_model import may_sleep
from kneescale.api.vocabulary import Role
from kneescale.controller.api_server import Listing
from kneescale.controller.resources import (
    ENDPOINT_SLICE,
    GPU_SCHEDULE,
    INFERENCE_MODEL,
    JOB,
    MODEL_PROFILE,
    NODE,
    POD,
    RESOURCE_CLAIM,
    RESOURCE_SLICE,
    Kind,
    Object,
)
from kneescale.core.errors import InvalidInputError
from kneescale.plan.state import Gate, Observed
from kneescale.plan.workloads import is_made_for_a_model, parse_pod

#: Namespace (empty for cluster-scoped kinds) and name.
Key = tuple[str, str]


def key_of(obj: Object) -> Key:
    """An object's key within its kind."""
    meta = obj["metadata"]
    return meta.get("namespace", ""), meta["name"]


class World:
    """The objects of each watched kind as last seen.

    Watch events, answers to writes and full listings come in any order; the resource version decides, so that
    an older sight never replaces a newer one, and a listing also removes what a broken watch did not report.
    """

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._memories = {kind: _Memory() for kind in kinds}

    @property
    def kinds(self) -> Iterable[Kind]:
        """The watched kinds."""
        return self._memories

    def objects(self, kind: Kind) -> tuple[Object, ...]:
        """Return the objects of a kind, ordered by namespace and name."""
        objects = self._memories[kind].objects
        return tuple(objects[key] for key in sorted(objects))

    def find(self, kind: Kind, key: Key) -> Object | None:
        """Return one object, or None if there is none."""
        return self._memories[kind].objects.get(key)

    def saw(self, kind: Kind, obj: Object) -> bool:
        """Take in an object as it is, or was, at its resource version; return whether that was news."""
        return self._memories[kind].saw(obj)

    def saw_deleted(self, kind: Kind, obj: Object) -> bool:
        """Take in that an object was deleted at its resource version; return whether that was news."""
        return self._memories[kind].saw_deleted(obj)

    def saw_all(self, kind: Kind, listing: Listing) -> None:
        """Take in a full listing: what is missing from it and no newer is gone."""
        memory = self._memories[kind]
        for obj in listing.items:
            memory.saw(obj)
        memory.forget_older(listing.resource_version, keep={key_of(obj) for obj in listing.items})


class _Memory:
    """The objects of one kind, and the resource version of each one's last sight, deletions included."""

    def __init__(self) -> None:
        self.objects: dict[Key, Object] = {}
        self._versions: dict[Key, int] = {}

    def saw(self, obj: Object) -> bool:
        news = self._is_news(obj)
        if news:
            self.objects[key_of(obj)] = obj
        return news

    def saw_deleted(self, obj: Object) -> bool:
        news = self._is_news(obj)
        if news:
            self.objects.pop(key_of(obj), None)
        return news

    def forget_older(self, version: int, keep: set[Key]) -> None:
        for key, seen_at in list(self._versions.items()):
            if seen_at <= version and key not in keep:
                del self._versions[key]
                self.objects.pop(key, None)

    def _is_news(self, obj: Object) -> bool:
        # Resource versions are comparable as integers (KEP-5504).
        version, key = int(obj["metadata"]["resourceVersion"]), key_of(obj)
        if version <= self._versions.get(key, 0):
            return False
        self._versions[key] = version
        return True


def observe(
    world: World, apply_errors: Mapping[Key, str], gates: Mapping[Key, Gate], now: datetime
) -> Observed:
    """The world as the plan takes it."""
    return Observed.from_objects(
        now=now,
        models=world.objects(INFERENCE_MODEL),
        profiles=world.objects(MODEL_PROFILE),
        schedules=world.objects(GPU_SCHEDULE),
        slices=world.objects(RESOURCE_SLICE),
        pods=world.objects(POD),
        jobs=world.objects(JOB),
        claims=world.objects(RESOURCE_CLAIM),
        nodes=world.objects(NODE),
        entrances=world.objects(ENDPOINT_SLICE),
        gates=gates,
        apply_errors=apply_errors,
    )


def models_that_may_sleep(world: World) -> frozenset[Key]:
    """The InferenceModels that may be without a worker."""
    return frozenset(key_of(obj) for obj in world.objects(INFERENCE_MODEL) if may_sleep(obj))


def find_worker(world: World, model: Key) -> str | None:
    """The address of a worker of the model that is ready; None where there is none."""
    for obj in world.objects(POD):
        try:
            pod = parse_pod(obj)
        except InvalidInputError:
            continue
        is_its_worker = is_made_for_a_model(pod.metadata, Role.SERVE) and pod.model == model
        if is_its_worker and pod.ready and pod.address and not pod.metadata.deleting:
            return pod.address
    return None
