"""Jobs that read a model's kernels on a CPU, so that it can serve on a prediction until it is measured.

They need no GPU, and so no room on one: only a node that has the worker's image.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kneescale.api.model_profile import ModelProfileSpec
from kneescale.api.names import prediction_job_name
from kneescale.api.vocabulary import ModelFormat
from kneescale.core.errors import InvalidInputError
from kneescale.core.surfaces.gpu_products import has_datasheet
from kneescale.plan.inventory import Inventory
from kneescale.plan.needs import Need
from kneescale.plan.profile_results import parse_result
from kneescale.plan.profiles import Subject
from kneescale.plan.state import Observed
from kneescale.plan.workloads import Job


@dataclass(frozen=True, slots=True)
class PredictionRun:
    """A Job that should exist, on a node that has GPUs of the product."""

    job_name: str
    need: Need
    node: str


@dataclass(frozen=True, slots=True)
class Predictions:
    """What Jobs predicted just now, and those that should be there.

    `kept_jobs` ended: one failed, which another try would not change, or its result is not written yet.
    """

    made: Mapping[Subject, ModelProfileSpec]
    runs: tuple[PredictionRun, ...]
    kept_jobs: frozenset[str]


def plan_predictions(
    needs: Iterable[Need], inventory: Inventory, observed: Observed, worker_image: str
) -> Predictions:
    """A Job for each surface of which nothing is known yet, of a model and a GPU that can be predicted."""
    jobs = {job.metadata.name: job for job in observed.jobs if job.predicts}
    made: dict[Subject, ModelProfileSpec] = {}
    runs: list[PredictionRun] = []
    kept: set[str] = set()
    for need in filter(_is_predictable, needs):
        name = _job_name(need, worker_image)
        job = jobs.get(name)
        if job and job.ended_at:
            kept.add(name)
            if predicted := _result(need, job):
                made[need.subject] = predicted
        elif node := _node(need, inventory):
            runs.append(PredictionRun(name, need, node))
    return Predictions(made, tuple(runs), frozenset(kept))


def _is_predictable(need: Need) -> bool:
    has_kernels = need.subject.format is ModelFormat.TORCH_SCRIPT
    return need.profile is None and has_kernels and has_datasheet(need.subject.product_name)


def _job_name(need: Need, worker_image: str) -> str:
    spec, subject = need.model.spec, need.subject
    return prediction_job_name(
        need.model.metadata.name, subject.namespace, subject.profile_name, spec.max_batch, worker_image
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
