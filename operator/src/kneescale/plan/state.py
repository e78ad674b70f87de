"""What the plan is made from, and what it says: the shapes between the controller and the plan."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
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
from kneescale.api.resource_slice import GpuDevice, parse_resource_slice, publishing_node
from kneescale.api.vocabulary import Role
from kneescale.core.errors import InvalidInputError
from kneescale.core.planning.placement import DEFAULT_AREA_LIMIT_PERMILLE
from kneescale.plan.workloads import (
    Claim,
    Job,
    ModelKey,
    Pod,
    Want,
    parse_claim,
    parse_job,
    parse_pod,
    parse_want,
    role_of,
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

    #: Only for transition times and backoff: nothing else depends on the time.
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
        """Objects as the API server gives them; of pods, jobs and claims those that the operator made."""
        rejected: list[Rejected] = []
        all_pods = _ordered(pods)
        all_claims = _ordered(claims)
        profiling = [pod for pod in all_pods if role_of(pod) in (Role.PROFILE, PREDICT)]
        serving = [pod for pod in all_pods if role_of(pod) == Role.SERVE]
        all_slices = tuple(slices)
        slice_devices = _parsed(parse_resource_slice, all_slices, rejected)
        return cls(
            now=now,
            models=_parsed(parse_inference_model, models, rejected),
            profiles=_parsed(parse_model_profile, profiles, rejected),
            schedules=_parsed(parse_gpu_schedule, schedules, rejected),
            devices=tuple(device for devices in slice_devices for device in devices),
            publishing_nodes=frozenset(filter(None, map(publishing_node, all_slices))),
            pods=_parsed(parse_pod, serving, rejected),
            jobs=_parsed(lambda job: parse_job(job, profiling), jobs, rejected),
            claims=_parsed(parse_claim, [claim for claim in all_claims if role_of(claim) != WANT], rejected),
            wants=tuple(parse_want(obj) for obj in (*all_pods, *all_claims) if role_of(obj) == WANT),
            gates=gates,
            entrances=tuple(filter(_is_entrance, map(parse_metadata, _ordered(entrances)))),
            nodes={node.metadata.name: node for node in map(parse_node, nodes)},
            apply_errors=apply_errors,
            rejected=tuple(rejected),
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


def _is_entrance(metadata: Metadata) -> bool:
    """Whether an EndpointSlice is ours, and none that Kubernetes keeps for a Service of ours."""
    return metadata.labels.get(SLICE_MANAGER_LABEL) == GROUP


def _ordered(objects: Iterable[RawObject]) -> Sequence[RawObject]:
    return sorted(objects, key=lambda obj: (obj["metadata"].get("namespace", ""), obj["metadata"]["name"]))


def _parsed(
    parse: Callable[[RawObject], T], objects: Iterable[RawObject], rejected: list[Rejected]
) -> tuple[T, ...]:
    parsed: list[T] = []
    for obj in _ordered(objects):
        try:
            parsed.append(parse(obj))
        except InvalidInputError as error:
            rejected.append(_rejected(obj, str(error)))
    return tuple(parsed)


def _rejected(obj: RawObject, message: str) -> Rejected:
    meta = parse_metadata(obj)
    ref = ObjectRef(obj.get("apiVersion", ""), obj.get("kind", ""), meta.namespace, meta.name, meta.uid)
    return Rejected(ref, meta.generation, message, _readable_conditions(obj))


def _readable_conditions(obj: RawObject) -> tuple[Condition, ...]:
    found = (obj.get("status") or {}).get("conditions") or ()
    try:
        return tuple(decode(Condition, condition, "condition") for condition in found)
    except InvalidInputError:
        return ()
