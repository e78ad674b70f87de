"""Pods, Jobs and ResourceClaims that the operator made, as far as the plan looks at them."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kneescale.api.conditions import parse_time
from kneescale.api.meta import Metadata, parse_metadata
from kneescale.api.names import (
    ATTEMPT_ANNOTATION,
    DEVICE_ANNOTATION,
    JOB_NAME_LABEL,
    MODEL_LABEL,
    PREDICT,
    PROFILE_LABEL,
    ROLE_LABEL,
)
from kneescale.api.quantity import parse_quantity
from kneescale.api.vocabulary import Role

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
class Pod:
    """A worker's pod; its name is its partition's."""

    metadata: Metadata
    phase: str
    ready: bool
    problem: Problem | None
    #: None where it is not ready, or nobody says since when.
    ready_since: datetime | None = None
    #: Whether the kubelet makes it wait long to start again although it had served.
    is_held_back: bool = False

    @property
    def model(self) -> ModelKey:
        """The model that it serves."""
        return _model_of(self.metadata)

    @property
    def device_uuid(self) -> str:
        """The device that the planner chose for it."""
        return self.metadata.annotations.get(DEVICE_ANNOTATION, "")

    @property
    def lost(self) -> bool:
        """Whether it ended for good: evicted, or its node gone."""
        return self.phase in ("Failed", "Succeeded")


@dataclass(frozen=True, slots=True)
class Job:
    """A profiling Job; `message` is the termination message of its last pod, or why the Job failed."""

    metadata: Metadata
    succeeded: bool
    #: None while it has yet to end.
    ended_at: datetime | None
    message: str
    #: What keeps its pod from starting.
    problem: Problem | None
    worker_image: str

    @property
    def model(self) -> ModelKey:
        """The model that it was made for."""
        return _model_of(self.metadata)

    @property
    def profile(self) -> tuple[str, str]:
        """(namespace, name) of the ModelProfile that it fills."""
        return self.metadata.namespace, self.metadata.labels.get(PROFILE_LABEL, "")

    @property
    def device_uuid(self) -> str:
        """The device that it measures on."""
        return self.metadata.annotations.get(DEVICE_ANNOTATION, "")

    @property
    def predicts(self) -> bool:
        """Whether it reads the model's kernels, rather than measure."""
        return self.metadata.labels.get(ROLE_LABEL) == PREDICT

    @property
    def attempt(self) -> int:
        """Which try this is, from 1."""
        return int(self.metadata.annotations.get(ATTEMPT_ANNOTATION, "1"))


@dataclass(frozen=True, slots=True)
class Claim:
    """A ResourceClaim: memory and clients of one device, for a worker with these lanes."""

    metadata: Metadata
    memory_bytes: int
    clients: int = 1
    lanes: tuple[int, ...] = ()

    @property
    def model(self) -> ModelKey:
        """The model that it was made for."""
        return _model_of(self.metadata)

    @property
    def device_uuid(self) -> str:
        """The device that it asks for."""
        return self.metadata.annotations.get(DEVICE_ANNOTATION, "")

    @property
    def role(self) -> Role:
        """What its partition is for."""
        return Role(self.metadata.labels[ROLE_LABEL])


@dataclass(frozen=True, slots=True)
class Want:
    """A pod or a claim that asks for a GPU that is not there yet."""

    api_version: str
    kind: str
    metadata: Metadata


def parse_pod(obj: Mapping[str, Any]) -> Pod:
    """A worker's pod as the API server gives it."""
    status = obj.get("status") or {}
    condition = _condition(status, "Ready")
    ready = condition.get("status") == "True"
    since = condition.get("lastTransitionTime")
    return Pod(
        metadata=parse_metadata(obj),
        phase=status.get("phase", "Pending"),
        ready=ready,
        problem=None if ready else _problem(status),
        ready_since=parse_time(since) if ready and since else None,
        is_held_back=_is_held_back(status),
    )


def parse_job(obj: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> Job:
    """A profiling Job with its pods, as the API server gives them."""
    metadata, status = parse_metadata(obj), obj.get("status") or {}
    complete, failed = (_condition(status, kind) for kind in ("Complete", "Failed"))
    ended = next((condition for condition in (complete, failed) if condition.get("status") == "True"), None)
    own = [pod for pod in pods if parse_metadata(pod).labels.get(JOB_NAME_LABEL) == metadata.name]
    return Job(
        metadata=metadata,
        succeeded=ended is complete,
        ended_at=parse_time(ended["lastTransitionTime"]) if ended else None,
        message=_last_words(own) or failed.get("message", ""),
        problem=next(filter(None, (_problem(pod["status"]) for pod in own if _is_pending(pod))), None),
        worker_image=obj["spec"]["template"]["spec"]["containers"][0]["image"],
    )


def parse_claim(obj: Mapping[str, Any]) -> Claim:
    """A ResourceClaim that the operator made."""
    devices = obj["spec"]["devices"]
    (request,), (config,) = devices["requests"], devices["config"]
    capacity = request["exactly"]["capacity"]["requests"]
    return Claim(
        metadata=parse_metadata(obj),
        memory_bytes=parse_quantity(str(capacity["memory"])),
        clients=parse_quantity(str(capacity["clients"])),
        lanes=tuple(config["opaque"]["parameters"]["lanes"]),
    )


def parse_want(obj: Mapping[str, Any]) -> Want:
    """A pod or a claim that is pending for a cluster autoscaler to see."""
    return Want(obj["apiVersion"], obj["kind"], parse_metadata(obj))


def role_of(obj: Mapping[str, Any]) -> str:
    """What a pod or a claim is for, as its label says."""
    return parse_metadata(obj).labels.get(ROLE_LABEL, "")


def worker_error(termination_message: str) -> str | None:
    """The one-line error in a worker's termination message, if it left one."""
    try:
        error = json.loads(termination_message)["error"]
    except (ValueError, TypeError, KeyError):
        return None
    return " ".join(str(error).split())


def _model_of(metadata: Metadata) -> ModelKey:
    return metadata.namespace, metadata.labels.get(MODEL_LABEL, "")


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    found: Iterable[Mapping[str, Any]] = status.get("conditions") or ()
    return next((condition for condition in found if condition["type"] == kind), {})


def _is_pending(pod: Mapping[str, Any]) -> bool:
    return (pod.get("status") or {}).get("phase") == "Pending"


#: The kubelet goes to and fro between the two while an image cannot be pulled; one name is one Event.
_ONE_NAME = {"ErrImagePull": "ImagePullBackOff"}


def _problem(status: Mapping[str, Any]) -> Problem | None:
    """The first thing that keeps the pod from running, in the order in which pods come up."""
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("reason") == "Unschedulable":
        return Problem("Unschedulable", _one_line(scheduled.get("message", "no node takes the pod")))
    for container in status.get("containerStatuses") or ():
        if ended := _terminated(container):
            return _why_ended(ended)
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason", "ContainerCreating") not in ("ContainerCreating", "PodInitializing"):
            reason = _ONE_NAME.get(waiting["reason"], waiting["reason"])
            return Problem(reason, _one_line(waiting.get("message", "")) or reason)
    if status.get("phase") == "Failed":
        return Problem(
            status.get("reason") or "PodFailed", _one_line(status.get("message", "the pod failed"))
        )
    return None


def _terminated(container: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for state in ("state", "lastState"):
        ended: Mapping[str, Any] | None = (container.get(state) or {}).get("terminated")
        if ended:
            return ended
    return None


def _why_ended(ended: Mapping[str, Any]) -> Problem | None:
    if error := worker_error(ended.get("message", "")):
        return Problem("ModelLoadFailed", error)
    if ended.get("exitCode", 0) == 0:
        return None
    reason = ended.get("reason", "Error")
    return Problem("WorkerFailed", f"the worker ended with exit code {ended['exitCode']} ({reason})")


def _is_held_back(status: Mapping[str, Any]) -> bool:
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        ended = (container.get("lastState") or {}).get("terminated") or {}
        if waiting.get("reason") == "CrashLoopBackOff" and _had_served(ended):
            return _back_off(waiting.get("message", "")) > _TIME_OF_A_NEW_POD
    return False


def _back_off(message: str) -> timedelta:
    """How long the kubelet waits, as it says: "back-off 1m20s restarting failed container=..."."""
    found = _BACK_OFF.match(message)
    minutes, seconds = found.groups(default="0") if found else ("0", "0")
    return timedelta(minutes=int(minutes), seconds=int(seconds))


def _had_served(ended: Mapping[str, Any]) -> bool:
    if worker_error(ended.get("message", "")) or not ended.get("startedAt"):
        return False
    return parse_time(ended["finishedAt"]) - parse_time(ended["startedAt"]) >= _NO_CRASH_LOOP


def _last_words(pods: Iterable[Mapping[str, Any]]) -> str:
    """The termination message of the pod that ended last; a success before any failure."""
    ended = [
        (state["exitCode"] == 0, state.get("finishedAt") or "", state.get("message", ""))
        for pod in pods
        for container in (pod.get("status") or {}).get("containerStatuses") or ()
        if (state := _terminated(container))
    ]
    return max(ended)[2] if ended else ""


def _one_line(text: str) -> str:
    return " ".join(text.split())
