"""The statuses that the operator writes: of InferenceModels from their outlook, of ModelProfiles."""

from collections.abc import Iterable, Iterator, Mapping
from math import ceil
from typing import Any

from kneescale.api.codec import render_status
from kneescale.api.conditions import Condition, carried_over, format_time
from kneescale.api.gpu_schedule import PartitionStatus
from kneescale.api.inference_model import KIND as MODEL_KIND
from kneescale.api.inference_model import (
    InferenceModel,
    InferenceModelStatus,
    Measured,
    Placement,
    PlacementState,
)
from kneescale.api.model_profile import KIND as PROFILE_KIND
from kneescale.api.model_profile import (
    ModelProfile,
    ModelProfileSpec,
    ModelProfileStatus,
    ProfileSource,
)
from kneescale.api.names import API_VERSION
from kneescale.core.units import PERMILLE
from kneescale.core.worker_pod import HTTP_PORT
from kneescale.plan.finding import Finding, fails, holds, unknown
from kneescale.plan.manifests.metadata import serving_labels
from kneescale.plan.outlook import ACCEPTED, Outlook, count_requests, in_one_line, knee_of
from kneescale.plan.profiles import Profile, make_profile, subject_of_profile
from kneescale.plan.profiling import Profiling
from kneescale.plan.scaling import scaling_status
from kneescale.plan.scaling_words import decided
from kneescale.plan.state import Manifest, Observed
from kneescale.plan.workloads import Pod

COMPLETE = "Complete"

_MAX_LINE = 1024


def model_status(
    outlook: Outlook, findings: Mapping[str, Finding], observed: Observed
) -> InferenceModelStatus:
    """The status that says what was decided and what came of it."""
    model, chosen = outlook.model, outlook.chosen
    previous = model.status
    placements = tuple(_placements(outlook))
    plan = chosen.size.configuration if chosen else None
    name, namespace = model.metadata.name, model.metadata.namespace
    return InferenceModelStatus(
        observed_generation=model.metadata.generation,
        conditions=conditions_of(findings, previous.conditions, model.metadata.generation, observed),
        backend=chosen.device.backend if chosen else previous.backend,
        profile=chosen.size.profile.name if chosen else previous.profile,
        knee_percent=chosen.size.profile.knee_percent if chosen else previous.knee_percent,
        gpu_percent=plan.gpu_percent if plan else previous.gpu_percent,
        batch=plan.batch if plan else previous.batch,
        predicted_latency_milliseconds=(
            ceil(plan.latency_ms) if plan else previous.predicted_latency_milliseconds
        ),
        placements=placements,
        placed_on=_short(", ".join(f"{placement.node}/{placement.device}" for placement in placements)),
        replicas=sum(placement.state is not PlacementState.DRAINING for placement in placements),
        selector=",".join(f"{label}={value}" for label, value in serving_labels(name).items()),
        url=f"http://{name}.{namespace}.svc:{HTTP_PORT}",
        measured=_measured(outlook.measured),
        scaling=scaling_status(outlook.scaling, observed.now, decided(outlook.scaling)),
        reason=_short(in_one_line(findings)),
    )


def conditions_of(
    findings: Mapping[str, Finding], previous: Iterable[Condition], generation: int, observed: Observed
) -> tuple[Condition, ...]:
    """The findings as conditions, keeping the time of their last transition."""
    previous = tuple(previous)
    return tuple(
        carried_over(
            Condition(
                type=kind,
                status=finding.status,
                last_transition_time=format_time(observed.now),
                reason=finding.reason,
                message=finding.message,
                observed_generation=generation,
            ),
            previous,
        )
        for kind, finding in findings.items()
    )


def render_model_status(model: InferenceModel, status: InferenceModelStatus) -> Manifest:
    """The manifest to apply to the status subresource."""
    return _manifest(MODEL_KIND, model.metadata.key, render_status(status))


def rejected_statuses(observed: Observed) -> Iterator[Manifest]:
    """Yield a status for each InferenceModel that cannot be read: it says what to change."""
    for rejected in observed.rejected:
        if rejected.ref.kind == MODEL_KIND:
            findings = {ACCEPTED: fails("InvalidSpec", rejected.message)}
            status = InferenceModelStatus(
                observed_generation=rejected.generation,
                conditions=conditions_of(findings, rejected.conditions, rejected.generation, observed),
                reason=_short(rejected.message),
            )
            key = rejected.ref.namespace, rejected.ref.name
            yield _manifest(MODEL_KIND, key, render_status(status))


def profile_statuses(profiling: Profiling, observed: Observed) -> Iterator[Manifest]:
    """Yield what each ModelProfile shows: its knee, how sure it is, and how far it is with measuring."""
    for profile in observed.profiles:
        generation = profile.metadata.generation
        spec, subject = profile.spec, subject_of_profile(profile)
        known = make_profile(profile.metadata.name, spec) if spec.points else None
        knee = f"; {knee_of(known)}" if known else ""
        findings = {
            ACCEPTED: holds("Accepted", f"{_points_in_words(spec)}{knee}"),
            COMPLETE: _complete(profile, profiling.findings.get(subject)),
        }
        status = ModelProfileStatus(
            observed_generation=generation,
            conditions=conditions_of(findings, profile.status.conditions, generation, observed),
            knee_percent=known.knee_percent if known else None,
            progress=profiling.progress.get(subject),
            latency_ratio_permille=_ratio_permille(profile, profiling.profiles.get(subject)),
        )
        yield _manifest(PROFILE_KIND, profile.metadata.key, render_status(status))


def _ratio_permille(profile: ModelProfile, used: Profile | None) -> int | None:
    """How much slower workers are of late than the profile says, if it is the one in use and they are."""
    if used is None or used.name != profile.metadata.name or used.slowness == 1:
        return None
    return round(PERMILLE * used.slowness)


def _complete(profile: ModelProfile, to_measure: Finding | None) -> Finding:
    """Whether there is nothing left to measure; `to_measure` is what is said of it where there is."""
    source = profile.spec.source
    if to_measure:
        return to_measure
    if source in (ProfileSource.PENDING, ProfileSource.PREDICTED):
        return unknown("NoGPU", "there is no GPU at present that it could be measured on")
    return holds(source, "nothing is left to measure")


def _points_in_words(spec: ModelProfileSpec) -> str:
    if spec.source is ProfileSource.PENDING:
        return "nothing is known of it before it is measured"
    if spec.source is ProfileSource.PREDICTED:
        error = f"nine in ten are off by up to {spec.expected_error_percent} %"
        return f"{len(spec.points)} points, predicted; {error}"
    count, fitted = len(spec.points), sum(point.fitted for point in spec.points)
    words = f"{count - fitted} of {count} points measured, the rest fitted" if fitted else f"{count} points"
    if spec.expected_error_percent is not None:
        words += f", nine in ten to {spec.expected_error_percent} %"
    if spec.prediction_error_percent is not None:
        words += f"; the prediction from its layers was {spec.prediction_error_percent} % off at the median"
    return words


def _manifest(kind: str, key: tuple[str, str], status: Mapping[str, Any]) -> Manifest:
    namespace, name = key
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"namespace": namespace, "name": name},
        "status": status,
    }


def _placements(outlook: Outlook) -> Iterable[Placement]:
    pods = {pod.metadata.name: pod for pod in outlook.partitions.pods}
    uuids = {pod.metadata.name: pod.device_uuid for pod in pods.values()}
    uuids |= {target.name: target.device.uuid for target in outlook.partitions.started}
    for name in sorted(uuids):
        site = outlook.inventory.by_uuid.get(uuids[name])
        if site is not None:
            state = _state(pods.get(name), outlook)
            yield Placement(name, site.device.node, site.device.name, state)


def _state(pod: Pod | None, outlook: Outlook) -> PlacementState:
    if pod is None:
        return PlacementState.STARTING
    if pod.metadata.deleting:
        return PlacementState.DRAINING
    if pod.lost or pod.problem or pod.metadata.name in outlook.partitions.hung:
        return PlacementState.FAILED
    serves = pod.metadata.name in outlook.partitions.serving
    return PlacementState.SERVING if serves else PlacementState.STARTING


def _measured(partitions: tuple[PartitionStatus, ...]) -> Measured | None:
    if not partitions:
        return None
    requests, within = count_requests(partitions)
    p50s = [partition.p50_milliseconds for partition in partitions if partition.p50_milliseconds is not None]
    p99s = [partition.p99_milliseconds for partition in partitions if partition.p99_milliseconds is not None]
    return Measured(
        requests_per_second=f"{sum(float(partition.requests_per_second) for partition in partitions):.1f}",
        window_seconds=max(partition.window_seconds for partition in partitions),
        p50_milliseconds=max(p50s, default=None),
        p99_milliseconds=max(p99s, default=None),
        attainment_percent=f"{100 * within / requests:.1f}" if requests else None,
    )


def _short(line: str) -> str | None:
    return line[:_MAX_LINE] or None
