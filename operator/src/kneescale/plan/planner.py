"""The whole plan: each step in its own module, in the order in which a model comes into service."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from kneescale.api.gpu_schedule import GPUScheduleSpec, PartitionStatus
from kneescale.api.inference_model import InferenceModel
from kneescale.api.resource_slice import GpuDevice
from kneescale.plan.breaks import find_detours, find_stuck, with_breaks
from kneescale.plan.drift import as_of_late
from kneescale.plan.eligibility import find_devices
from kneescale.plan.inventory import Inventory, take_inventory
from kneescale.plan.notes import notes_of
from kneescale.plan.objects import objects_to_apply, objects_to_delete
from kneescale.plan.outlook import Outlook, find_all
from kneescale.plan.partitions import Partitions, plan_all_partitions
from kneescale.plan.placing import Placing, place_models
from kneescale.plan.profiling import Profiling, ProfilingPlanner
from kneescale.plan.rooms import Rooms
from kneescale.plan.scaling import Scaling, next_silence_due, scale_models
from kneescale.plan.schedules import plan_schedules
from kneescale.plan.sizing import Sizing, size_model
from kneescale.plan.state import Desired, EventNote, Manifest, Observed, Settings
from kneescale.plan.status import (
    model_status,
    profile_statuses,
    rejected_statuses,
    render_model_status,
)
from kneescale.plan.unstartable import find_unstartable
from kneescale.plan.workloads import ModelKey


def plan(observed: Observed, settings: Settings) -> Desired:
    """What the cluster should be, given what it is."""
    models = _living(observed)
    inventory = take_inventory(observed)

    profiling, outlooks = _plan_models(models, inventory, observed, settings)
    schedules = _plan_schedules(outlooks, profiling, inventory, observed, settings)
    statuses, events = _report(outlooks, observed)

    return Desired(
        apply=tuple(objects_to_apply(outlooks, profiling, schedules, observed, settings)),
        status=(*statuses, *rejected_statuses(observed), *profile_statuses(profiling, observed)),
        delete=tuple(objects_to_delete(outlooks, profiling, schedules, observed)),
        events=events,
        requeue_after_s=_requeue_after_s(profiling, inventory, observed),
    )


def outlooks_of(observed: Observed, settings: Settings) -> Sequence[Outlook]:
    """What each step of the plan comes to for every model."""
    return _plan_models(_living(observed), take_inventory(observed), observed, settings)[1]


def _living(observed: Observed) -> list[InferenceModel]:
    return [model for model in observed.models if not model.metadata.deleting]


def _plan_models(
    models: Sequence[InferenceModel], inventory: Inventory, observed: Observed, settings: Settings
) -> tuple[Profiling, list[Outlook]]:
    """Everything that is decided for models, all of them together where they share GPUs."""
    eligible = [(model, find_devices(model, inventory.devices)) for model in models]
    measuring = ProfilingPlanner(
        [(model, found.devices) for model, found in eligible], inventory, observed, settings
    )
    profiles = as_of_late(measuring.profiles, observed)
    scalings = scale_models(
        [(model, found.devices) for model, found in eligible], profiles, observed, settings
    )
    asleep = frozenset(key for key, scaling in scalings.items() if scaling.is_asleep)
    sizings = [
        size_model(model, found.devices, profiles, settings.policy, scalings[model.metadata.key].rate_ips)
        for model, found in eligible
    ]
    places = _find_places(list(zip(models, sizings, strict=True)), asleep, inventory, observed, settings)
    profiling = replace(measuring.start(places.rooms, places.short_of_room), profiles=profiles)
    outlooks = []
    for (model, eligibility), sizing in zip(eligible, sizings, strict=True):
        key = model.metadata.key
        partitions = places.partitions[key]
        outlooks.append(
            Outlook(
                model=model,
                eligibility=eligibility,
                profiling=profiling,
                scaling=scalings[key],
                sizing=sizing,
                placing=places.placings.get(key, Placing()),
                partitions=partitions,
                inventory=inventory,
                measured=_measured(partitions, scalings[key]),
                apply_error=observed.apply_errors.get(key),
            )
        )
    return profiling, outlooks


@dataclass(frozen=True, slots=True)
class _Places:
    """Where models go, what starts and ends for it, and the room that this leaves."""

    placings: Mapping[ModelKey, Placing]
    partitions: Mapping[ModelKey, Partitions]
    rooms: Rooms

    @property
    def short_of_room(self) -> frozenset[str]:
        """The devices that workers wait for, for want of memory or clients."""
        waiting = (target for each in self.partitions.values() for target in each.waiting)
        return frozenset(target.device.uuid for target in waiting)


def _find_places(
    sized: Sequence[tuple[InferenceModel, Sizing]],
    asleep: Collection[ModelKey],
    inventory: Inventory,
    observed: Observed,
    settings: Settings,
) -> _Places:
    """Place the models; those whose new workers have no room, or do not start, then look elsewhere.

    Where there is no room elsewhere either, old workers break.
    """
    awake = [(model, sizing) for model, sizing in sized if model.metadata.key not in asleep]
    start = partial(_start, [model.metadata.key for model, _ in sized], asleep, inventory, observed)
    first = start(place_models(awake, inventory, observed, settings))
    stuck = find_stuck(first.partitions, observed) + find_unstartable(first.partitions, observed)
    if not stuck:
        return first
    detours = find_detours(stuck, inventory.devices, first.rooms)
    elsewhere = place_models(awake, inventory, observed, settings, detours)
    placings = {key: _fuller(elsewhere[key], first.placings[key]) for key in elsewhere}
    second = start(placings)
    stuck = find_stuck(second.partitions, observed)
    broken = with_breaks(second.partitions, stuck, observed, second.rooms, settings.worker_image)
    return replace(second, partitions=broken)


def _fuller(elsewhere: Placing, here: Placing) -> Placing:
    """The detour, unless it costs replicas."""
    return elsewhere if len(elsewhere.targets) >= len(here.targets) else here


def _start(
    keys: Sequence[ModelKey],
    asleep: Collection[ModelKey],
    inventory: Inventory,
    observed: Observed,
    placings: Mapping[ModelKey, Placing],
) -> _Places:
    rooms = Rooms(inventory.open, observed.claims)
    return _Places(placings, plan_all_partitions(placings, keys, asleep, observed, rooms), rooms)


def _measured(partitions: Partitions, scaling: Scaling) -> tuple[PartitionStatus, ...]:
    names = {pod.metadata.name for pod in partitions.pods}
    heard = (report for report in scaling.reports if not report.is_silent and report.nonsense is None)
    return tuple(report.measured for report in heard if report.measured.name in names)


def _plan_schedules(
    outlooks: Sequence[Outlook],
    profiling: Profiling,
    inventory: Inventory,
    observed: Observed,
    settings: Settings,
) -> Mapping[GpuDevice, GPUScheduleSpec]:
    targets = [target for outlook in outlooks for target in outlook.partitions.started]
    return plan_schedules(targets, profiling.runs, inventory.devices, observed, settings)


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


def _requeue_after_s(profiling: Profiling, inventory: Inventory, observed: Observed) -> float | None:
    due = [profiling.retry_at, inventory.due_at, next_silence_due(observed)]
    return min((max(0.0, (at - observed.now).total_seconds()) for at in due if at), default=None)
