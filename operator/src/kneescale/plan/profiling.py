"""Which profiles are missing, and the Jobs that measure them: one per subject, one at a time per device."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kneescale.api.codec import decode
from kneescale.api.conditions import format_time
from kneescale.api.inference_model import InferenceModel
from kneescale.api.model_profile import ModelProfileSpec, ProfileSource
from kneescale.api.names import profile_job_name
from kneescale.api.resource_slice import GpuDevice
from kneescale.core.errors import InvalidInputError
from kneescale.plan.finding import Finding, fails, not_yet
from kneescale.plan.profiles import Profile, Subject, make_profile, profiles_by_subject, subject_of
from kneescale.plan.rooms import Rooms
from kneescale.plan.state import Observed, Settings
from kneescale.plan.workloads import Job, worker_error

_FIRST_RETRY = timedelta(minutes=1)
#: Up to 32 minutes.
_MOST_DOUBLINGS = 5


@dataclass(frozen=True, slots=True)
class Need:
    """A profile that some model cannot go without: `model` is the one that the Job is made for."""

    subject: Subject
    model: InferenceModel
    devices: tuple[GpuDevice, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """A profiling Job that should exist, on its device."""

    job_name: str
    need: Need
    device: GpuDevice
    attempt: int


@dataclass(frozen=True, slots=True)
class Profiling:
    """All that is known and under way about latency surfaces."""

    #: Usable profiles, among them those read from Jobs that ended just now.
    profiles: Mapping[Subject, Profile]
    #: ModelProfiles to write, from the results of Jobs.
    measured: Mapping[Subject, ModelProfileSpec]
    #: Jobs under way, and those to start now.
    runs: tuple[Run, ...]
    #: What to say of each subject that has no profile yet.
    findings: Mapping[Subject, Finding]
    #: Ended Jobs that still say something: a result not yet written, a failure to be tried again later.
    kept_jobs: frozenset[str]
    #: When the next failed Job is to be tried again.
    retry_at: datetime | None


def plan_profiling(
    eligible: Iterable[tuple[InferenceModel, tuple[GpuDevice, ...]]],
    observed: Observed,
    settings: Settings,
    rooms: Rooms,
) -> Profiling:
    """Read the results of ended Jobs, keep those under way, start what is missing where a device is free."""
    known = profiles_by_subject(observed.profiles)
    planner = _Planner(observed, settings, rooms)
    for need in _needs(eligible, known):
        planner.see(need)
    measured_profiles = {
        subject: make_profile(subject.profile_name, spec) for subject, spec in planner.measured.items()
    }
    return Profiling(
        profiles={**known, **measured_profiles},
        measured=planner.measured,
        runs=tuple(planner.runs),
        findings=planner.findings,
        kept_jobs=frozenset(planner.kept_jobs),
        retry_at=min(planner.retries, default=None),
    )


def _needs(
    eligible: Iterable[tuple[InferenceModel, tuple[GpuDevice, ...]]], known: Mapping[Subject, Profile]
) -> list[Need]:
    """The missing profiles; the first model by name that needs one stands for all."""
    devices_of: dict[Subject, tuple[InferenceModel, list[GpuDevice]]] = {}
    for model, devices in eligible:
        for device in devices:
            subject = subject_of(model, device)
            owner, found = devices_of.setdefault(subject, (model, []))
            if subject not in known and owner is model:
                found.append(device)
    return [Need(subject, model, tuple(found)) for subject, (model, found) in devices_of.items() if found]


class _Planner:
    """Decides need by need; a device that one Job takes is taken for the rest."""

    def __init__(self, observed: Observed, settings: Settings, rooms: Rooms) -> None:
        self._now = observed.now
        self._settings = settings
        self._rooms = rooms
        self._jobs = _latest_attempts(observed.jobs)
        self._held = {claim.metadata.name for claim in observed.claims}
        self._busy = {
            job.device_uuid for job in observed.jobs if job.ended_at is None and job.problem is None
        }
        self.measured: dict[Subject, ModelProfileSpec] = {}
        self.runs: list[Run] = []
        self.findings: dict[Subject, Finding] = {}
        self.kept_jobs: set[str] = set()
        self.retries: list[datetime] = []

    def see(self, need: Need) -> None:
        """Decide what to do about one missing profile."""
        job = self._jobs.get((need.subject.namespace, need.subject.profile_name))
        if job is None:
            self._start(need, attempt=1)
        elif job.ended_at is None:
            self._go_on(need, job)
        elif job.succeeded:
            self._read(need, job, job.ended_at)
        else:
            self._retry(need, job, job.ended_at, job.message)

    def _go_on(self, need: Need, job: Job) -> None:
        device = next((device for device in need.devices if device.uuid == job.device_uuid), None)
        if device is None:
            message = "the GPU that it was measured on is gone; starting again"
            self.findings[need.subject] = not_yet("Profiling", message)
            return
        self._keep(Run(job.metadata.name, need, device, job.attempt))
        if job.problem:
            self.findings[need.subject] = fails(job.problem.reason, job.problem.message)

    def _keep(self, run: Run) -> None:
        self.runs.append(run)
        where = f"{run.device.node}/{run.device.name}"
        self.findings[run.need.subject] = not_yet(
            "Profiling", f"measuring on {where}, which takes about a minute"
        )

    def _start(self, need: Need, attempt: int) -> None:
        free = [device for device in need.devices if device.uuid not in self._busy]
        if not free:
            busy = ", ".join(f"{device.node}/{device.name}" for device in need.devices)
            message = f"waits for another model's profiling on {busy} to end"
            self.findings[need.subject] = not_yet("WaitingForGPU", message)
            return
        memory_bytes = need.model.spec.gpu.memory_bytes
        device = min(free, key=lambda gpu: (-self._rooms.free_bytes(gpu.uuid), gpu.node, gpu.name))
        name = self._job_name(need, device.uuid, attempt)
        if name not in self._held and not self._rooms.try_take(device.uuid, memory_bytes):
            message = f"needs {need.model.spec.gpu.memory} of GPU memory to be measured; no GPU has it free"
            self.findings[need.subject] = fails("InsufficientMemory", message)
            return
        self._busy.add(device.uuid)
        self._keep(Run(name, need, device, attempt))

    def _read(self, need: Need, job: Job, ended_at: datetime) -> None:
        try:
            self.measured[need.subject] = parse_result(need.subject, job.message)
        except InvalidInputError as error:
            self._retry(need, job, ended_at, str(error))
        else:
            self.kept_jobs.add(job.metadata.name)

    def _retry(self, need: Need, job: Job, failed_at: datetime, message: str) -> None:
        """Try again after 1, 2, 4, ... minutes, or at once when what is measured has changed."""
        if job.metadata.name != self._job_name(need, job.device_uuid, job.attempt):
            self._start(need, attempt=1)
            return
        due = failed_at + _FIRST_RETRY * 2 ** min(job.attempt - 1, _MOST_DOUBLINGS)
        if due <= self._now:
            self._start(need, job.attempt + 1)
            return
        self.kept_jobs.add(job.metadata.name)
        self.retries.append(due)
        reason = worker_error(message) or message or "the profiling Job failed"
        self.findings[need.subject] = fails(
            "ProfileFailed", f"{reason} (attempt {job.attempt}, next at {format_time(due)})"
        )

    def _job_name(self, need: Need, device_uuid: str, attempt: int) -> str:
        spec, subject = need.model.spec, need.subject
        return profile_job_name(
            need.model.metadata.name,
            subject.namespace,
            subject.profile_name,
            spec.max_batch,
            spec.gpu.memory_bytes,
            self._settings.worker_image,
            device_uuid,
            attempt,
        )


def parse_result(subject: Subject, message: str) -> ModelProfileSpec:
    """The profile in the termination message of a profiling worker.

    Raises InvalidInputError when it holds none.
    """
    try:
        result = json.loads(message)
        points = _points(result["points"], fitted=False) + _points(result.get("fitted", ()), fitted=True)
        errors = {name: result[name] for name in _ERRORS if name in result}
    except (ValueError, TypeError, KeyError, AttributeError):
        said = worker_error(message) or f"the profiling worker ended with {message[:80]!r}, not with points"
        raise InvalidInputError(said) from None
    spec: dict[str, Any] = {
        "modelURI": subject.uri,
        "format": subject.format,
        "productName": subject.product_name,
        "backend": subject.backend,
        "points": points,
        "source": ProfileSource.MEASURED,
        **errors,
    }
    return decode(ModelProfileSpec, spec, "profile")


_POINT_KEYS = ("gpuPercent", "batch", "latencyMicroseconds")
_ERRORS = ("expectedErrorPercent", "predictionErrorPercent")


def _points(triples: Iterable[Sequence[int]], *, fitted: bool) -> list[dict[str, Any]]:
    return [{**dict(zip(_POINT_KEYS, triple, strict=True)), "fitted": fitted} for triple in triples]


def _latest_attempts(jobs: Sequence[Job]) -> Mapping[tuple[str, str], Job]:
    """The Job that counts for each ModelProfile: one under way, else the newest."""
    return {job.profile: job for job in sorted(jobs, key=lambda job: (job.ended_at is None, job.attempt))}
