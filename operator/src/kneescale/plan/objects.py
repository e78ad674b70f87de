"""Every object that the plan wants, and every one that it wants gone."""

from collections.abc import Iterator, Mapping, Sequence

from kneescale.api.gpu_schedule import KIND as GPU_SCHEDULE
from kneescale.api.gpu_schedule import GPUScheduleSpec, render_gpu_schedule
from kneescale.api.inference_model import KIND as INFERENCE_MODEL
from kneescale.api.meta import Metadata
from kneescale.api.model_profile import KIND as MODEL_PROFILE
from kneescale.api.model_profile import ModelProfile, render_model_profile
from kneescale.api.names import API_VERSION, MODEL_LABEL, model_identity, schedule_name, want_name
from kneescale.api.resource_slice import GpuDevice
from kneescale.api.vocabulary import Role
from kneescale.core.backends import ModelFormat
from kneescale.plan.manifests.services import (
    ENTRANCE_API_VERSION,
    ENTRANCE_KIND,
    render_disruption_budget,
    render_entrance,
    render_service,
)
from kneescale.plan.manifests.workers import (
    render_partition,
    render_prediction,
    render_profiling,
    render_want,
)
from kneescale.plan.outlook import Outlook
from kneescale.plan.profiling import Profiling
from kneescale.plan.state import Deletion, Gate, Manifest, ObjectRef, Observed, Settings

#: What a profile is of, whatever the product: a profile that is not wanted for now is still of use.
_Source = tuple[str, str, ModelFormat]
#: A worker that hangs can neither finish its queue nor end by itself.
_HUNG_GRACE_SECONDS = 1


def objects_to_apply(
    outlooks: Sequence[Outlook],
    profiling: Profiling,
    schedules: Mapping[GpuDevice, GPUScheduleSpec],
    observed: Observed,
    settings: Settings,
) -> Iterator[Manifest]:
    """Yield the manifests: a partition is in its GPUSchedule before its pod asks the agent for grants."""
    for device, spec in schedules.items():
        owner = observed.nodes[device.node].owner
        yield render_gpu_schedule(schedule_name(device.node, device.name), spec, owner)
    for subject, profile in profiling.made.items():
        yield render_model_profile(subject.namespace, subject.profile_name, profile)
    for run in profiling.runs:
        yield from render_profiling(run, settings)
    for prediction in profiling.predictions:
        yield render_prediction(prediction, settings)
    nodes = sorted({device.node for device in schedules})
    for outlook in outlooks:
        if outlook.partitions.wanted or outlook.scaling.is_asleep:
            yield render_service(outlook.model)
            yield render_disruption_budget(outlook.model, len(outlook.partitions.wanted))
        for target in outlook.partitions.started:
            yield from render_partition(target, settings)
        if gate := _entrance(outlook, observed):
            yield render_entrance(outlook.model, gate)
        for name in _wanted(outlook, observed):
            yield from render_want(name, outlook.model, settings, nodes)


def _entrance(outlook: Outlook, observed: Observed) -> Gate | None:
    """Where a model that may sleep is reached while none of its workers answers."""
    scaling = outlook.model.spec.scaling
    if not scaling.may_sleep or scaling.is_off or outlook.partitions.staying:
        return None
    return observed.gates.get(outlook.model.metadata.key)


def _wanted(outlook: Outlook, observed: Observed) -> list[str]:
    """The names of what asks for the GPUs that the model lacks.

    One that is bound holds the GPU that it asked for: it goes, and asks for what is missing when it is gone.
    """
    namespace, model_name = outlook.model.metadata.key
    bound = {want.metadata.key for want in observed.wants if want.is_bound}
    missing = range(1, outlook.placing.missing_gpus + 1)
    names = [want_name(model_name, number) for number in missing]
    return [name for name in names if (namespace, name) not in bound]


def objects_to_delete(
    outlooks: Sequence[Outlook],
    profiling: Profiling,
    schedules: Mapping[GpuDevice, GPUScheduleSpec],
    observed: Observed,
) -> Iterator[Deletion]:
    """Yield what is wanted no more; what belongs to a deleted model goes with it, mostly by itself."""
    for outlook in outlooks:
        for pod in outlook.partitions.released_pods:
            hangs = pod.metadata.name in outlook.partitions.hung
            yield _deletion("v1", "Pod", pod.metadata, _HUNG_GRACE_SECONDS if hangs else None)
        for claim in outlook.partitions.released_claims:
            yield _deletion("resource.k8s.io/v1", "ResourceClaim", claim.metadata)
    yield from _orphans(observed)
    yield from _wants_no_more(outlooks, observed)
    yield from _entrances_no_more(outlooks, observed)
    yield from _ended_profiling(profiling, observed)
    wanted = {schedule_name(device.node, device.name) for device in schedules}
    for schedule in observed.schedules:
        if schedule.metadata.name not in wanted:
            yield _deletion(API_VERSION, GPU_SCHEDULE, schedule.metadata)
    yield from _profiles_no_more(outlooks, observed)


def _orphans(observed: Observed) -> Iterator[Deletion]:
    """Workers that no garbage collector ends: their model was deleted without them."""
    rejected = {(ref.namespace, ref.name) for ref in _rejected_models(observed)}
    models = {model.metadata.key for model in observed.models} | rejected
    for pod in observed.pods:
        if pod.model not in models and not pod.metadata.owners:
            yield _deletion("v1", "Pod", pod.metadata)
    for claim in observed.claims:
        if claim.role is Role.SERVE and claim.model not in models and not claim.metadata.owners:
            yield _deletion("resource.k8s.io/v1", "ResourceClaim", claim.metadata)


def _wants_no_more(outlooks: Sequence[Outlook], observed: Observed) -> Iterator[Deletion]:
    still = {(o.model.metadata.namespace, name) for o in outlooks for name in _wanted(o, observed)}
    for want in observed.wants:
        if want.metadata.key not in still:
            yield _deletion(want.api_version, want.kind, want.metadata)


def _entrances_no_more(outlooks: Sequence[Outlook], observed: Observed) -> Iterator[Deletion]:
    open_to = {outlook.model.metadata.key for outlook in outlooks if _entrance(outlook, observed)}
    for entrance in observed.entrances:
        if (entrance.namespace, entrance.labels.get(MODEL_LABEL, "")) not in open_to:
            yield _deletion(ENTRANCE_API_VERSION, ENTRANCE_KIND, entrance)


def _ended_profiling(profiling: Profiling, observed: Observed) -> Iterator[Deletion]:
    measuring = {run.job_name for run in profiling.runs}
    running = measuring | {run.job_name for run in profiling.predictions}
    for job in observed.jobs:
        if job.metadata.name not in running | profiling.kept_jobs:
            yield _deletion("batch/v1", "Job", job.metadata)
    for claim in observed.claims:
        if claim.role is Role.PROFILE and claim.metadata.name not in running:
            yield _deletion("resource.k8s.io/v1", "ResourceClaim", claim.metadata)


def _profiles_no_more(outlooks: Sequence[Outlook], observed: Observed) -> Iterator[Deletion]:
    """Profiles that no model goes by; one that cannot be read may go by any of its namespace."""
    users = _users(outlooks)
    unclear = {ref.namespace for ref in _rejected_models(observed)}
    for profile in observed.profiles:
        is_used = _source(profile) in users or profile.metadata.namespace in unclear
        if profile.is_ours and not is_used:
            yield _deletion(API_VERSION, MODEL_PROFILE, profile.metadata)


def _rejected_models(observed: Observed) -> Iterator[ObjectRef]:
    return (each.ref for each in observed.rejected if each.ref.kind == INFERENCE_MODEL)


def _users(outlooks: Sequence[Outlook]) -> frozenset[_Source]:
    """Of which there are models; the profiles of the rest go."""
    models = (outlook.model for outlook in outlooks)
    return frozenset(
        (model.metadata.namespace, model_identity(model.spec.model.uri), model.spec.model.format)
        for model in models
    )


def _source(profile: ModelProfile) -> _Source:
    return profile.metadata.namespace, model_identity(profile.spec.model_uri), profile.spec.format


def _deletion(api_version: str, kind: str, metadata: Metadata, grace_s: int | None = None) -> Deletion:
    return Deletion(ObjectRef(api_version, kind, metadata.namespace, metadata.name, metadata.uid), grace_s)
