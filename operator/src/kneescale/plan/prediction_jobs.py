"""Jobs that read a model's kernels on a CPU, so that it can serve on a prediction until it is measured.

They need no GPU, and so no room on one: only a node that has the worker's image.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from kneescale.api.model_profile import ModelProfileSpec
from kneescale.api.names import prediction_job_name
from kneescale.core.backends import ModelFormat
from kneescale.core.errors import InvalidInputError
from kneescale.core.surfaces.gpu_products import has_datasheet
from kneescale.plan.inventory import Inventory
from kneescale.plan.needs import Need
from kneescale.plan.profile_results import parse_result
from kneescale.plan.profiles import Subject
from kneescale.plan.retries import next_try_at
from kneescale.plan.state import Observed
from kneescale.plan.workloads import Job, worker_error


@dataclass(frozen=True, slots=True)
class PredictionRun:
    """A Job that should exist, on a node that has GPUs of the product."""

    job_name: str
    need: Need
    node: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Predictions:
    """What Jobs predicted just now, and those that should be there.

    `kept_jobs` ended: their result is not written yet, or they failed, and are tried again at the next of
    `retries`, or never where another try would not change it.
    """

    made: Mapping[Subject, ModelProfileSpec]
    runs: tuple[PredictionRun, ...]
    kept_jobs: frozenset[str]
    retries: tuple[datetime, ...]


def plan_predictions(
    needs: Iterable[Need], inventory: Inventory, observed: Observed, worker_image: str
) -> Predictions:
    """A Job for each surface of which nothing is known yet, of a model and a GPU that can be predicted."""
    made: dict[Subject, ModelProfileSpec] = {}
    runs: list[PredictionRun] = []
    kept: set[str] = set()
    retries: list[datetime] = []
    for need in filter(_is_predictable, needs):
        job = _latest_attempt(need, observed.jobs, worker_image)
        if job and _stands(job, observed.now):
            kept.add(job.metadata.name)
            if predicted := _result(need, job):
                made[need.subject] = predicted
            if due := _next_try_at(job):
                retries.append(due)
        elif node := _node(need, inventory):
            attempt = _attempt_after(job)
            runs.append(PredictionRun(_job_name(need, worker_image, attempt), need, node, attempt))
    return Predictions(made, tuple(runs), frozenset(kept), tuple(retries))


def _is_predictable(need: Need) -> bool:
    has_kernels = need.subject.format is ModelFormat.TORCH_SCRIPT
    return need.profile is None and has_kernels and has_datasheet(need.subject.product_name)


def _latest_attempt(need: Need, jobs: Iterable[Job], worker_image: str) -> Job | None:
    """The last Job that predicts what one that is started now would."""
    attempts = (job for job in jobs if job.metadata.name == _job_name(need, worker_image, job.attempt))
    return max(attempts, key=lambda job: job.attempt, default=None)


def _stands(job: Job, now: datetime) -> bool:
    """Whether it ended, and is not to be tried again yet."""
    if job.ended_at is None:
        return False
    due = _next_try_at(job)
    return due is None or due > now


def _attempt_after(job: Job | None) -> int:
    """Which attempt is under way, or next."""
    if job is None:
        return 1
    return job.attempt if job.ended_at is None else job.attempt + 1


def _next_try_at(job: Job) -> datetime | None:
    """None where it has not failed, or its worker says why: another one would say the same."""
    if job.ended_at is None or job.succeeded or worker_error(job.message):
        return None
    return next_try_at(job, job.ended_at)


def _job_name(need: Need, worker_image: str, attempt: int) -> str:
    spec, subject = need.model.spec, need.subject
    return prediction_job_name(
        need.model.metadata.name,
        subject.namespace,
        subject.profile_name,
        spec.max_batch,
        worker_image,
        attempt,
    )


def _node(need: Need, inventory: Inventory) -> str | None:
    is_open = (device for device in need.devices if device.uuid not in inventory.closed_uuids)
    return next((device.node for device in is_open), None)


def _result(need: Need, job: Job) -> ModelProfileSpec | None:
    if not job.succeeded:
        return None
    try:
        return parse_result(need, None, job.message)
    except InvalidInputError:
        return None
