"""What the plan is made from, and what it says: the shapes between the controller and the plan."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeVar

from kneescale.api.codec import decode
from kneescale.api.conditions import Condition
from kneescale.api.gpu_schedule import GPUSchedule, Policy, parse_gpu_schedule
from kneescale.api.inference_model import InferenceModel, parse_inference_model
from kneescale.api.meta import Metadata, parse_metadata
from kneescale.api.model_profile import ModelProfile, parse_model_profile
from kneescale.api.names import GROUP, PREDICT, SLICE_MANAGER_LABEL, WANT
from kneescale.api.node import Node, parse_node
from kneescale.api.resource_slice import GpuDevice, parse_resource_slice
from kneescale.api.vocabulary import Role
from kneescale.core.errors import InvalidInputError
from kneescale.core.planning.placement import DEFAULT_AREA_LIMIT_PERMILLE
from kneescale.plan.workloads import (
    Claim,
    Job,
    ModelKey,
    Pod,
    Want,
    is_made_for_a_model,
    parse_claim,
    parse_job,
    parse_pod,
    parse_want,
)

T = TypeVar("T")
Manifest = dict[str, Any]
RawObject = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Settings:
    """The operator's settings that the plan depends on."""

    worker_image: str
    policy: Policy = Policy.SPATIO_TEMPORAL
    #: The most of a GPU's area that plans may use.
    area_limit_permille: int = DEFAULT_AREA_LIMIT_PERMILLE


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """Names an object of the cluster."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Deletion:
    """An object that exists and should not; it gets `grace_s` to end, or as long as its spec says."""

    ref: ObjectRef
    grace_s: int | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """An object that the API server took but the plan cannot read; it is left alone."""

    ref: ObjectRef
    generation: int
    message: str
    #: Its conditions, as far as those can be read.
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class Gate:
    """Where the requests to a model without a worker are held, and how many connections wait there now."""

    address: str
    http_port: int
    grpc_port: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Observed:
    """The cluster at one moment; everything in it is ordered by namespace and name."""

    #: The wall clock: for transition times, backoff, and what is remembered from an earlier plan.
    now: datetime
    models: tuple[InferenceModel, ...] = ()
    profiles: tuple[ModelProfile, ...] = ()
    schedules: tuple[GPUSchedule, ...] = ()
    devices: tuple[GpuDevice, ...] = ()
    #: The nodes that have a ResourceSlice of ours, be it an empty one.
    publishing_nodes: frozenset[str] = frozenset()
    #: The serving workers' pods.
    pods: tuple[Pod, ...] = ()
    jobs: tuple[Job, ...] = ()
    claims: tuple[Claim, ...] = ()
    #: Of models that may sleep: where their requests can be held.
    gates: Mapping[ModelKey, Gate] = field(default_factory=lambda: MappingProxyType({}))
    #: EndpointSlices that lead there.
    entrances: tuple[Metadata, ...] = ()
    #: Pods and claims that are pending for a cluster autoscaler to see.
    wants: tuple[Want, ...] = ()
    #: By name.
    nodes: Mapping[str, Node] = field(default_factory=lambda: MappingProxyType({}))
    #: The last error of writing something for a model.
    apply_errors: Mapping[ModelKey, str] = field(default_factory=lambda: MappingProxyType({}))
    rejected: tuple[Rejected, ...] = ()
    #: By uid: for how long the last time that an object told has stood.
    ages: Mapping[str, timedelta] = field(default_factory=lambda: MappingProxyType({}))

    def age_of(self, metadata: Metadata) -> timedelta:
        """For how long that object has told nothing new; of one that nobody watched, nothing."""
        return self.ages.get(metadata.uid, timedelta(0))

    @classmethod
    def from_objects(
        cls,
        *,
        now: datetime,
        models: Iterable[RawObject] = (),
        profiles: Iterable[RawObject] = (),
        schedules: Iterable[RawObject] = (),
        slices: Iterable[RawObject] = (),
        pods: Iterable[RawObject] = (),
        jobs: Iterable[RawObject] = (),
        claims: Iterable[RawObject] = (),
        nodes: Iterable[RawObject] = (),
        entrances: Iterable[RawObject] = (),
        gates: Mapping[ModelKey, Gate] = MappingProxyType({}),
        apply_errors: Mapping[ModelKey, str] = MappingProxyType({}),
    ) -> "Observed":
        """Objects as the API server gives them; of pods, jobs and claims our own ones count."""
        reader = _Reader()
        pods, claims = tuple(pods), tuple(claims)
        all_pods = reader.read(parse_pod, pods)
        devices, publishing_nodes = reader.read_slices(slices)
        return cls(
            now=now,
            models=reader.read(parse_inference_model, models),
            profiles=reader.read(parse_model_profile, profiles),
            schedules=reader.read(parse_gpu_schedule, schedules),
            devices=devices,
            publishing_nodes=publishing_nodes,
            pods=tuple(pod for pod in all_pods if is_made_for_a_model(pod.metadata, Role.SERVE)),
            jobs=reader.read_own(_job_parser(all_pods), jobs, Role.PROFILE, PREDICT),
            claims=reader.read_own(parse_claim, claims, *Role),
            wants=reader.read_own(parse_want, (*pods, *claims), WANT),
            gates=gates,
            entrances=tuple(filter(_is_entrance, reader.read(parse_metadata, entrances))),
            nodes={node.metadata.name: node for node in reader.read(parse_node, nodes)},
            apply_errors=apply_errors,
            rejected=tuple(reader.rejected),
        )


@dataclass(frozen=True, slots=True)
class EventNote:
    """A decision, for an Event on the object that it is about; `type` is Normal or Warning."""

    regarding: ObjectRef
    type: str
    reason: str
    action: str
    message: str
    #: The GPUs that the model is planned on, as node1/gpu0, with commas.
    device: str = ""


@dataclass(frozen=True, slots=True)
class Desired:
    """The world that the plan wants.

    `apply` and `status` are complete: what already is so need not be written again. `delete` names objects
    that exist and should not, `events` what has changed since the observed statuses were written.
    """

    #: Manifests in the order in which they should be applied.
    apply: tuple[Manifest, ...] = ()
    #: apiVersion, kind, metadata and status of objects whose status the operator writes.
    status: tuple[Manifest, ...] = ()
    delete: tuple[Deletion, ...] = ()
    events: tuple[EventNote, ...] = ()
    #: When to plan again even though nothing changes, in seconds from `Observed.now`.
    requeue_after_s: float | None = None


class _Reader:
    """Parses objects, and notes those that cannot be read."""

    def __init__(self) -> None:
        self.rejected: list[Rejected] = []

    def read(self, parse: Callable[[RawObject], T], objects: Iterable[RawObject]) -> tuple[T, ...]:
        """The readable ones, by namespace and name."""
        return tuple(self._readable(parse, objects))

    def read_own(
        self, parse: Callable[[RawObject], T], objects: Iterable[RawObject], *roles: str
    ) -> tuple[T, ...]:
        """The same of those that the operator made, to play one of these roles."""

        def parse_own(obj: RawObject) -> T | None:
            return parse(obj) if is_made_for_a_model(parse_metadata(obj), *roles) else None

        return tuple(found for found in self._readable(parse_own, objects) if found is not None)

    def read_slices(self, slices: Iterable[RawObject]) -> tuple[tuple[GpuDevice, ...], frozenset[str]]:
        """Our devices, and the nodes that publish: also those whose devices cannot be read."""
        nodes = set()

        def devices_of(obj: RawObject) -> tuple[GpuDevice, ...]:
            published = parse_resource_slice(obj)
            if not published:
                return ()
            nodes.add(published.node)
            return published.devices()

        by_slice = self.read(devices_of, slices)
        return tuple(device for devices in by_slice for device in devices), frozenset(nodes)

    def _readable(self, parse: Callable[[RawObject], T], objects: Iterable[RawObject]) -> Iterator[T]:
        for obj in sorted(objects, key=_place):
            try:
                yield parse(obj)
            except InvalidInputError as error:
                self.rejected.append(_rejected(obj, str(error)))


def _place(obj: RawObject) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def _job_parser(pods: Iterable[Pod]) -> Callable[[RawObject], Job]:
    """Parses Jobs, each with those of the pods that it owns."""
    owned: defaultdict[str, list[Pod]] = defaultdict(list)
    for pod in pods:
        for owner in pod.metadata.owners:
            owned[owner.uid].append(pod)
    return lambda job: parse_job(job, owned[job["metadata"].get("uid", "")])


def _is_entrance(metadata: Metadata) -> bool:
    """Whether an EndpointSlice is ours, and none that Kubernetes keeps for a Service of ours."""
    return metadata.labels.get(SLICE_MANAGER_LABEL) == GROUP and is_made_for_a_model(metadata)


def _rejected(obj: RawObject, message: str) -> Rejected:
    meta = obj["metadata"]
    namespace, name = _place(obj)
    ref = ObjectRef(obj.get("apiVersion", ""), obj.get("kind", ""), namespace, name, meta.get("uid", ""))
    return Rejected(ref, meta.get("generation", 0), message, _readable_conditions(obj))


@dataclass(frozen=True, slots=True)
class _Conditions:
    conditions: tuple[Condition, ...] = ()


def _readable_conditions(obj: RawObject) -> tuple[Condition, ...]:
    try:
        return decode(_Conditions, obj.get("status") or {}, "status").conditions
    except InvalidInputError:
        return ()
