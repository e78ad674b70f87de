"""The whole plan: each step in its own module, in the order in which a model comes into service."""

from collections.abc import Mapping, Sequence

from kneescale.api.gpu_schedule import GPUScheduleSpec, PartitionStatus
from kneescale.api.inference_model import InferenceModel
from kneescale.api.resource_slice import GpuDevice
from kneescale.plan.eligibility import find_devices
from kneescale.plan.notes import notes_of
from kneescale.plan.objects import objects_to_apply, objects_to_delete
from kneescale.plan.outlook import Outlook, find_all
from kneescale.plan.partitions import Partitions, plan_partitions
from kneescale.plan.placing import Placing, place_models
from kneescale.plan.profiling import Profiling, plan_profiling
from kneescale.plan.rooms import Rooms
from kneescale.plan.schedules import plan_schedules
from kneescale.plan.sizing import size_model
from kneescale.plan.state import Desired, EventNote, Manifest, Observed, Settings
from kneescale.plan.status import (
    model_status,
    profile_statuses,
    rejected_statuses,
    render_model_status,
)


def plan(observed: Observed, settings: Settings) -> Desired:
    """What the cluster should be, given what it is."""
    models = [model for model in observed.models if not model.metadata.deleting]

    profiling, outlooks = _plan_models(models, observed, settings)
    schedules = _plan_schedules(outlooks, profiling, observed, settings)
    statuses, events = _report(outlooks, observed)

    return Desired(
        apply=tuple(objects_to_apply(outlooks, profiling, schedules, observed, settings)),
        status=(*statuses, *rejected_statuses(observed), *profile_statuses(observed)),
        delete=tuple(objects_to_delete(outlooks, profiling, schedules, observed)),
        events=events,
        requeue_after_s=_requeue_after_s(profiling, observed),
    )


def _plan_models(
    models: Sequence[InferenceModel], observed: Observed, settings: Settings
) -> tuple[Profiling, list[Outlook]]:
    """Everything that is decided for models, all of them together where they share GPUs."""
    rooms = Rooms(observed.devices, observed.claims)
    eligible = [(model, find_devices(model, observed.devices)) for model in models]
    profiling = plan_profiling(
        [(model, found.devices) for model, found in eligible], observed, settings, rooms
    )
    sizings = [
        size_model(model, found.devices, profiling.profiles, settings.policy) for model, found in eligible
    ]
    placings = place_models(zip(models, sizings, strict=True), observed, settings)
    outlooks = []
    for (model, eligibility), sizing in zip(eligible, sizings, strict=True):
        key = model.metadata.key
        placing = placings.get(key, Placing())
        partitions = plan_partitions(key, placing.targets, observed, rooms)
        outlooks.append(
            Outlook(
                model=model,
                eligibility=eligibility,
                profiling=profiling,
                sizing=sizing,
                placing=placing,
                partitions=partitions,
                measured=_measured(partitions, observed),
                apply_error=observed.apply_errors.get(key),
            )
        )
    return profiling, outlooks


def _measured(partitions: Partitions, observed: Observed) -> tuple[PartitionStatus, ...]:
    names = {pod.metadata.name for pod in partitions.pods}
    return tuple(
        status
        for schedule in observed.schedules
        for status in schedule.status.partitions
        if status.name in names
    )


def _plan_schedules(
    outlooks: Sequence[Outlook], profiling: Profiling, observed: Observed, settings: Settings
) -> Mapping[GpuDevice, GPUScheduleSpec]:
    targets = [target for outlook in outlooks for target in outlook.partitions.started]
    return plan_schedules(targets, profiling.runs, observed, settings)


def _report(outlooks: Sequence[Outlook], observed: Observed) -> tuple[list[Manifest], tuple[EventNote, ...]]:
    """Each model's status, and the Events that tell what is new in it."""
    statuses: list[Manifest] = []
    events: list[EventNote] = []
    for outlook in outlooks:
        findings = find_all(outlook)
        status = model_status(outlook, findings, observed)
        statuses.append(render_model_status(outlook.model, status))
        events += notes_of(outlook, findings, status)
    return statuses, tuple(events)


def _requeue_after_s(profiling: Profiling, observed: Observed) -> float | None:
    if profiling.retry_at is None:
        return None
    return max(0.0, (profiling.retry_at - observed.now).total_seconds())
