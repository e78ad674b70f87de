"""The Jobs that measure what profiles are to say: one per subject, one at a time per device."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from kneescale.api.conditions import format_time
from kneescale.api.footprint import ONE_PROCESS
from kneescale.api.gpu_schedule import ProfilingProgress
from kneescale.api.inference_model import InferenceModel
from kneescale.api.model_profile import ModelProfileSpec, Stack
from kneescale.api.names import profile_job_name
from kneescale.api.resource_slice import GpuDevice
from kneescale.core.errors import InvalidInputError
from kneescale.plan.finding import Finding, fails, holds, not_yet
from kneescale.plan.inventory import Inventory
from kneescale.plan.needs import Need, find_needs
from kneescale.plan.prediction_jobs import PredictionRun, plan_predictions
from kneescale.plan.predictions import first_profile
from kneescale.plan.profile_results import parse_result
from kneescale.plan.profiles import Profile, Subject, choose_profiles, make_profile, read_profile
from kneescale.plan.retries import next_try_at
from kneescale.plan.rooms import Rooms
from kneescale.plan.state import Observed, Settings
from kneescale.plan.workloads import Job, worker_error

_NO_WHOLE_GPU = "its GPUs are shared by SM partitions, and a model is measured on a whole GPU"


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

    #: Usable profiles, among them those made just now.
    profiles: Mapping[Subject, Profile]
    #: ModelProfiles to write: first ones, and the results of Jobs.
    made: Mapping[Subject, ModelProfileSpec]
    #: Jobs under way, and those to start now.
    runs: tuple[Run, ...]
    predictions: tuple[PredictionRun, ...]
    #: What to say of each subject that is to be measured yet.
    findings: Mapping[Subject, Finding]
    #: How far those are that are being measured, in words.
    progress: Mapping[Subject, str]
    #: Ended Jobs that still say something: a result not yet written, a failure to be tried again later.
    kept_jobs: frozenset[str]
    #: When the next failed Job is to be tried again.
    retry_at: datetime | None


class ProfilingPlanner:
    """Reads the results of ended Jobs and keeps those under way; then starts what is missing.

    Two steps, since workers that serve come first where there is room for one more claim, and the profiles
    decide which do.
    """

    def __init__(
        self,
        eligible: Iterable[tuple[InferenceModel, tuple[GpuDevice, ...]]],
        inventory: Inventory,
        observed: Observed,
        settings: Settings,
    ) -> None:
        self._inventory = inventory
        self._now = observed.now
        self._settings = settings
        self._jobs = _latest_attempts(job for job in observed.jobs if not job.predicts)
        self._held = {claim.metadata.name for claim in observed.claims}
        self._busy = {
            job.device_uuid for job in observed.jobs if job.ended_at is None and job.problem is None
        }
        self._made: dict[Subject, ModelProfileSpec] = {}
        self._missing: list[tuple[Need, int]] = []
        self._runs: list[Run] = []
        self._findings: dict[Subject, Finding] = {}
        self._reports = _reports(observed)
        self._progress: dict[Subject, str] = {}
        self._kept_jobs: set[str] = set()
        self._retries: list[datetime] = []
        known = choose_profiles(observed.profiles)
        needs = find_needs(eligible, known, settings.worker_image)
        self._predictions = plan_predictions(needs, inventory, observed, settings.worker_image)
        for need in needs:
            self._take_in(need)
        made = {subject: spec for subject, spec in self._made.items() if spec.points}
        #: Usable profiles, among them those made just now.
        self.profiles: Mapping[Subject, Profile] = {
            **{subject: read_profile(found) for subject, found in known.items()},
            **{subject: make_profile(subject.profile_name, spec) for subject, spec in made.items()},
        }

    def start(self, rooms: Rooms, short_of_room: Collection[str]) -> Profiling:
        """Start what is missing where a device is free; a device that one Job takes is taken for the rest.

        Devices that are short of room for workers have none for Jobs: those that are there give way.
        """
        for run in [run for run in self._runs if run.device.uuid in short_of_room]:
            self._runs.remove(run)
            message = f"made room on {run.device.place} for a worker; starts again where there is some"
            self._say(run.need, not_yet("MakingRoom", message))
        for need, attempt in self._missing:
            self._start(need, attempt, rooms, short_of_room)
        return Profiling(
            profiles=self.profiles,
            made=self._made,
            runs=tuple(self._runs),
            predictions=self._predictions.runs,
            findings=self._findings,
            progress=self._progress,
            kept_jobs=self._predictions.kept_jobs | self._kept_jobs,
            retry_at=min((*self._retries, *self._predictions.retries), default=None),
        )

    def _take_in(self, need: Need) -> None:
        """Decide what to do about one surface that models need."""
        if need.is_due:
            self._see(need)
        elif need.outdated:
            self._say(need, holds("OutdatedByHand", "delete it to have it measured here"))
        if need.profile is None:
            first = self._predictions.made.get(need.subject) or first_profile(need)
            self._made.setdefault(need.subject, first)

    def _see(self, need: Need) -> None:
        """Decide what to do about one surface to measure."""
        job = self._jobs.get((need.subject.namespace, need.subject.profile_name))
        if job is None or (job.succeeded and need.outdated and not self._is_up_to_date(job, need)):
            self._missing.append((need, 1))
        elif job.ended_at is None:
            self._go_on(need, job)
        elif job.succeeded:
            self._read(need, job, job.ended_at)
        else:
            self._retry(need, job, job.ended_at, job.message)

    def _go_on(self, need: Need, job: Job) -> None:
        device = next((device for device in self._open(need) if device.uuid == job.device_uuid), None)
        if device is None:
            message = "the GPU that it was measured on is gone or to be left; starting again"
            self._say(need, not_yet("Profiling", message))
            return
        self._keep(Run(job.metadata.name, need, device, job.attempt))
        if job.problem:
            self._say(need, fails(job.problem.reason, job.problem.message))

    def _keep(self, run: Run) -> None:
        self._runs.append(run)
        progress = "takes about a minute"
        if report := self._reports.get(run.job_name):
            points = f"{report.measured} of at most {report.runs} points"
            self._progress[run.need.subject] = progress = f"{points}, known to {report.error_percent} %"
        self._say(run.need, not_yet("Profiling", f"measuring on {run.device.place}: {progress}"))

    def _say(self, need: Need, finding: Finding) -> None:
        message = f"{need.outdated}; {finding.message}" if need.outdated else finding.message
        self._findings[need.subject] = replace(finding, message=message)

    def _open(self, need: Need) -> list[GpuDevice]:
        closed = self._inventory.closed_uuids
        # A worker in an SM partition never has the whole GPU, as one that measures must.
        return [device for device in need.devices if device.uuid not in closed and not device.reserves_sms]

    def _start(self, need: Need, attempt: int, rooms: Rooms, short_of_room: Collection[str]) -> None:
        free = [device for device in self._open(need) if device.uuid not in self._busy]
        if not free:
            self._say(need, not_yet("WaitingForGPU", self._why_not_free(need)))
            return
        memory_bytes = need.model.spec.gpu.memory_bytes
        roomy = [device for device in free if device.uuid not in short_of_room] or free
        device = _choose_device(roomy, memory_bytes, attempt, rooms)
        name = self._job_name(need, device.uuid, attempt)
        has_room = name in self._held or rooms.try_take(device.uuid, memory_bytes, ONE_PROCESS.clients)
        if device.uuid in short_of_room or not has_room:
            message = f"needs {need.model.spec.gpu.memory} of GPU memory to be measured; no GPU has it free"
            self._say(need, fails("InsufficientMemory", message))
            return
        self._busy.add(device.uuid)
        self._keep(Run(name, need, device, attempt))

    def _why_not_free(self, need: Need) -> str:
        busy = ", ".join(device.place for device in self._open(need))
        if busy:
            return f"waits for another model's profiling on {busy} to end"
        if all(device.reserves_sms for device in need.devices):
            return f"{_NO_WHOLE_GPU}; import a ModelProfile, or add a GPU of that product without them"
        why = "; ".join(dict.fromkeys(self._inventory.by_uuid[device.uuid].why for device in need.devices))
        return f"no GPU that it can be measured on takes new work: {why}"

    def _read(self, need: Need, job: Job, ended_at: datetime) -> None:
        stack = Stack(self._driver_version(job.device_uuid) or None, job.worker_image)
        try:
            self._made[need.subject] = parse_result(need, stack, job.message)
        except InvalidInputError as error:
            self._retry(need, job, ended_at, str(error))
        else:
            self._kept_jobs.add(job.metadata.name)

    def _retry(self, need: Need, job: Job, failed_at: datetime, message: str) -> None:
        """Try again after 1, 2, 4, ... minutes, or at once when what is measured has changed."""
        if not self._is_up_to_date(job, need):
            self._missing.append((need, 1))
            return
        due = next_try_at(job, failed_at)
        if due <= self._now:
            self._missing.append((need, job.attempt + 1))
            return
        self._kept_jobs.add(job.metadata.name)
        self._retries.append(due)
        reason = worker_error(message) or message or "the profiling Job failed"
        when = f"attempt {job.attempt}, next at {format_time(due)}"
        self._say(need, fails("ProfileFailed", f"{reason} ({when})"))

    def _is_up_to_date(self, job: Job, need: Need) -> bool:
        """Whether a Job that is started now would do the same."""
        return job.metadata.name == self._job_name(need, job.device_uuid, job.attempt)

    def _driver_version(self, device_uuid: str) -> str:
        site = self._inventory.by_uuid.get(device_uuid)
        return site.device.driver_version if site else ""

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
            self._driver_version(device_uuid),
            attempt,
        )


def _choose_device(free: Sequence[GpuDevice], memory_bytes: int, attempt: int, rooms: Rooms) -> GpuDevice:
    """The one with most room; after a failure the next one, for the node may have been why."""
    ranked = sorted(free, key=lambda gpu: (-rooms.free_bytes(gpu.uuid), gpu.node, gpu.name))
    roomy = [gpu for gpu in ranked if rooms.has(gpu.uuid, memory_bytes, ONE_PROCESS.clients)] or ranked[:1]
    return roomy[(attempt - 1) % len(roomy)]


def _reports(observed: Observed) -> Mapping[str, ProfilingProgress]:
    """What agents say of the profiles under way, by partition, which has its Job's name."""
    return {
        partition.name: status.profiling
        for schedule in observed.schedules
        for partition, status in schedule.reports
        if status.profiling
    }


def _latest_attempts(jobs: Iterable[Job]) -> Mapping[tuple[str, str], Job]:
    """The Job that counts for each ModelProfile: one under way, else the newest."""
    return {job.profile: job for job in sorted(jobs, key=lambda job: (job.ended_at is None, job.attempt))}
