"""Pods, Jobs and ResourceClaims that the operator made, as far as the plan looks at them."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kneescale.api.built_in import (
    BuiltInCondition,
    ClaimSpec,
    ClaimStatus,
    ContainerStatus,
    Ended,
    JobSpec,
    JobStatus,
    PodSpec,
    PodStatus,
)
from kneescale.api.codec import decode
from kneescale.api.conditions import parse_time
from kneescale.api.inference_model import KIND
from kneescale.api.meta import Metadata, parse_metadata
from kneescale.api.names import (
    ATTEMPT_ANNOTATION,
    DEVICE_ANNOTATION,
    FIELD_MANAGER,
    GROUP,
    MODEL_LABEL,
    PREDICT,
    PROFILE_LABEL,
    ROLE_LABEL,
)
from kneescale.api.quantity import parse_quantity
from kneescale.api.vocabulary import Role
from kneescale.core.errors import InvalidInputError
from kneescale.core.worker_message import ERROR

#: The reason of a problem that the worker itself tells of.
MODEL_LOAD_FAILED = "ModelLoadFailed"
#: With this exit code one tells of what befell it after it had loaded: a batch that hung, a lost GPU context.
_EXIT_STARTS_ANEW = 3
#: A load that has not ended by then is one that hangs.
LOADING_SECONDS = 600
#: A worker that ran for so long does not crash in a loop: it was killed, or a request was too much for it.
_NO_CRASH_LOOP = timedelta(seconds=30)
#: From its deletion to another one that serves, on a slow machine: to wait for less is quicker.
_TIME_OF_A_NEW_POD = timedelta(seconds=15)
_BACK_OFF = re.compile(r"back-off (?:(\d+)m)?(\d+)s ")

#: (namespace, name) of an InferenceModel.
ModelKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a pod does not run: a CamelCase reason and one line for people."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class _Made:
    """What the operator makes for a model and, but for predictions, a device."""

    metadata: Metadata

    @property
    def model(self) -> ModelKey:
        """The model that it was made for."""
        return self.metadata.namespace, self.metadata.labels.get(MODEL_LABEL, "")

    @property
    def device_uuid(self) -> str:
        """The device that the planner chose for it."""
        return self.metadata.annotations.get(DEVICE_ANNOTATION, "")


@dataclass(frozen=True, slots=True)
class Pod(_Made):
    """A worker's pod; of one that serves the name is its partition's."""

    phase: str
    ready: bool
    problem: Problem | None
    #: None where it is not ready, or nobody says since when.
    ready_since: datetime | None = None
    #: Whether the kubelet makes it wait long to start again although it had served.
    is_held_back: bool = False
    #: How its containers ended, as far as they did.
    ended: tuple[Ended, ...] = ()
    #: Empty before it has one.
    address: str = ""
    image: str = ""

    @property
    def lost(self) -> bool:
        """Whether it ended for good: evicted, or its node gone."""
        return self.phase in ("Failed", "Succeeded")

    def is_starting(self, now: datetime) -> bool:
        """Whether it may yet get ready in the time that a start may take."""
        if self.ready or self.lost or self.metadata.deleting or not self.metadata.created_at:
            return False
        return now < parse_time(self.metadata.created_at) + timedelta(seconds=LOADING_SECONDS)


@dataclass(frozen=True, slots=True)
class Job(_Made):
    """A Job that measures or predicts; `message` is how its last pod ended, or why the Job failed."""

    succeeded: bool
    #: None while it has yet to end.
    ended_at: datetime | None
    message: str
    #: What keeps its pod from starting.
    problem: Problem | None
    worker_image: str
    #: Which try this is, from 1.
    attempt: int = 1

    @property
    def profile(self) -> tuple[str, str]:
        """(namespace, name) of the ModelProfile that it fills."""
        return self.metadata.namespace, self.metadata.labels.get(PROFILE_LABEL, "")

    @property
    def predicts(self) -> bool:
        """Whether it reads the model's kernels, rather than measure."""
        return self.metadata.labels.get(ROLE_LABEL) == PREDICT


@dataclass(frozen=True, slots=True)
class Claim(_Made):
    """A ResourceClaim: memory and clients of one device, for a worker with these lanes."""

    #: What its partition is for.
    role: Role
    memory_bytes: int
    clients: int
    lanes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Want:
    """A pod or a claim that asks for a GPU that is not there yet."""

    api_version: str
    kind: str
    metadata: Metadata
    #: Whether the scheduler has found a node or a GPU for it: no cluster autoscaler looks at it any more.
    is_bound: bool


def parse_pod(obj: Mapping[str, Any]) -> Pod:
    """A pod as the API server gives it. Raises InvalidInputError."""
    status = decode(PodStatus, obj.get("status") or {}, "status")
    condition = _condition(status.conditions, "Ready")
    ready = condition.status == "True"
    since = condition.last_transition_time
    return Pod(
        metadata=parse_metadata(obj),
        phase=status.phase,
        ready=ready,
        problem=None if ready else _problem(status),
        ready_since=parse_time(since) if ready and since else None,
        is_held_back=any(map(_is_held_back, status.container_statuses)),
        ended=tuple(container.ended for container in status.container_statuses if container.ended),
        address=status.address,
        image=decode(PodSpec, obj.get("spec") or {}, "spec").image,
    )


def parse_job(obj: Mapping[str, Any], pods: Sequence[Pod]) -> Job:
    """A Job as the API server gives it, with its pods. Raises InvalidInputError."""
    metadata = parse_metadata(obj)
    spec = decode(JobSpec, obj.get("spec"), "spec")
    status = decode(JobStatus, obj.get("status") or {}, "status")
    complete, failed = (_condition(status.conditions, kind) for kind in ("Complete", "Failed"))
    ended = next((condition for condition in (complete, failed) if condition.status == "True"), None)
    return Job(
        metadata=metadata,
        succeeded=ended is complete,
        ended_at=_time_of(ended) if ended else None,
        message=_last_words(pods) or _why_failed(failed),
        problem=next(filter(None, (pod.problem for pod in pods if pod.phase == "Pending")), None),
        worker_image=spec.template.spec.image,
        attempt=_attempt(metadata.annotations.get(ATTEMPT_ANNOTATION, "1")),
    )


def parse_claim(obj: Mapping[str, Any]) -> Claim:
    """A ResourceClaim that the operator made for a worker. Raises InvalidInputError."""
    metadata = parse_metadata(obj)
    devices = decode(ClaimSpec, obj.get("spec"), "spec").devices
    (request,), (config,) = devices.requests, devices.config
    capacity = request.exactly.capacity.requests
    return Claim(
        metadata=metadata,
        role=Role(metadata.labels[ROLE_LABEL]),
        memory_bytes=_amount(capacity.memory),
        clients=_amount(capacity.clients),
        lanes=config.opaque.parameters.lanes,
    )


def parse_want(obj: Mapping[str, Any]) -> Want:
    """A pod or a claim that is pending for a cluster autoscaler to see. Raises InvalidInputError."""
    spec = decode(PodSpec, obj.get("spec") or {}, "spec")
    status = decode(ClaimStatus, obj.get("status") or {}, "status")
    is_bound = bool(spec.node_name) or status.allocation is not None
    return Want(obj["apiVersion"], obj["kind"], parse_metadata(obj), is_bound)


def is_made_for_a_model(metadata: Metadata, *roles: str) -> bool:
    """Whether the operator made an object for a model, to play one of these roles, or any that it likes.

    Anybody may set its label: what it makes names its model as the owner, too. Of what has lost that owner,
    with a model that was deleted without what it owns, the API server still knows who wrote it.
    """
    model = metadata.labels.get(MODEL_LABEL)
    is_owned = any(
        owner.api_version.startswith(f"{GROUP}/") and (owner.kind, owner.name) == (KIND, model)
        for owner in metadata.owners
    )
    is_written = MODEL_LABEL in metadata.labels and FIELD_MANAGER in metadata.writers
    return (is_owned or is_written) and (not roles or metadata.labels.get(ROLE_LABEL) in roles)


def worker_error(termination_message: str) -> str | None:
    """The one-line error in a worker's termination message, if it left one."""
    try:
        error = json.loads(termination_message)[ERROR]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return " ".join(str(error).split())


def _attempt(text: str) -> int:
    if re.fullmatch("[1-9][0-9]{0,8}", text) is None:
        raise InvalidInputError(f"{ATTEMPT_ANNOTATION} must be a whole number from 1, not {text!r}")
    return int(text)


def _amount(quantity: str) -> int:
    amount = parse_quantity(quantity)
    if amount < 0:
        raise InvalidInputError(f"a claim cannot ask for {quantity}")
    return amount


_NOT_SAID = BuiltInCondition("")


def _condition(conditions: Iterable[BuiltInCondition], kind: str) -> BuiltInCondition:
    return next((condition for condition in conditions if condition.type == kind), _NOT_SAID)


def _time_of(condition: BuiltInCondition) -> datetime:
    if condition.last_transition_time is None:
        raise InvalidInputError(f"status: the condition {condition.type} has no lastTransitionTime")
    return parse_time(condition.last_transition_time)


#: The kubelet goes to and fro between the two while an image cannot be pulled; one name is one Event.
_ONE_NAME = {"ErrImagePull": "ImagePullBackOff"}


def _problem(status: PodStatus) -> Problem | None:
    """The first thing that keeps the pod from running, in the order in which pods come up."""
    scheduled = _condition(status.conditions, "PodScheduled")
    if scheduled.reason == "Unschedulable":
        return Problem("Unschedulable", _one_line(scheduled.message) or "no node takes the pod")
    for container in status.container_statuses:
        if container.ended:
            return _why_ended(container.ended)
        waiting = container.state.waiting
        if waiting and waiting.reason not in ("ContainerCreating", "PodInitializing"):
            reason = _ONE_NAME.get(waiting.reason, waiting.reason)
            return Problem(reason, _one_line(waiting.message) or reason)
    if status.phase == "Failed":
        return Problem(status.reason or "PodFailed", _one_line(status.message) or "the pod failed")
    return None


def _why_ended(ended: Ended) -> Problem | None:
    if error := worker_error(ended.message):
        return Problem("WorkerFailed" if _had_loaded(ended) else MODEL_LOAD_FAILED, error)
    if ended.exit_code == 0:
        return None
    return Problem("WorkerFailed", f"the worker ended with exit code {ended.exit_code} ({ended.reason})")


def _had_loaded(ended: Ended) -> bool:
    """Whether it was no load that failed, as far as it says."""
    return ended.exit_code == _EXIT_STARTS_ANEW or worker_error(ended.message) is None


def _is_held_back(container: ContainerStatus) -> bool:
    waiting, ended = container.state.waiting, container.last_state.terminated
    if waiting is None or waiting.reason != "CrashLoopBackOff" or ended is None:
        return False
    return _had_served(ended) and _back_off(waiting.message) > _TIME_OF_A_NEW_POD


def _back_off(message: str) -> timedelta:
    """How long the kubelet waits, as it says: "back-off 1m20s restarting failed container=..."."""
    found = _BACK_OFF.match(message)
    minutes, seconds = found.groups(default="0") if found else ("0", "0")
    return timedelta(minutes=int(minutes), seconds=int(seconds))


def _had_served(ended: Ended) -> bool:
    if not _had_loaded(ended) or not ended.started_at or not ended.finished_at:
        return False
    return parse_time(ended.finished_at) - parse_time(ended.started_at) >= _NO_CRASH_LOOP


def _last_words(pods: Iterable[Pod]) -> str:
    """The termination message of the pod that ended last; a success before any failure."""
    ended = [
        (ended.exit_code == 0, ended.finished_at or "", ended.message) for pod in pods for ended in pod.ended
    ]
    return max(ended)[2] if ended else ""


def _why_failed(failed: BuiltInCondition) -> str:
    if failed.reason == "DeadlineExceeded":
        return "it did not end in time, the pull of its image included"
    return failed.message


def _one_line(text: str) -> str:
    return " ".join(text.split())
