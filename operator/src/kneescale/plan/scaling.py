"""What each model is provided for, by what its agents measured: the core's autoscaler, its memory in status.

All that a decision is made from is in the observed cluster, so that a new operator goes on where the last one
was, and needs no metrics system.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from kneescale.api.conditions import format_time, parse_time
from kneescale.api.gpu_schedule import GPUSchedule, PartitionStatus, PartitionTraffic
from kneescale.api.inference_model import InferenceModel, ScalingDecision, ScalingPeak, ScalingStatus
from kneescale.api.resource_slice import GpuDevice, one_of_each_kind
from kneescale.api.vocabulary import Role
from kneescale.core.errors import InfeasibleError
from kneescale.core.scaling.arrivals import Traffic, together
from kneescale.core.scaling.autoscaler import (
    LEAST_IPS,
    Decision,
    Peak,
    Reason,
    ScalingState,
    Tail,
    decide,
    forecast_ips,
    misses_too_many,
)
from kneescale.core.scaling.headroom import burst_factor
from kneescale.core.units import PERMILLE
from kneescale.plan.eligibility import worker_lanes
from kneescale.plan.profiles import Profile, Subject, subject_of
from kneescale.plan.sizing import configure
from kneescale.plan.state import Observed, Settings
from kneescale.plan.workloads import ModelKey

#: Agents write at least every ten seconds: one that is silent for longer measures nothing that counts.
SILENT_AFTER = timedelta(seconds=20)
_MOST_DECISIONS = 5


@dataclass(frozen=True, slots=True)
class Report:
    """One partition's measurements, and the agent's figures on its GPU."""

    measured: PartitionStatus
    schedule: GPUSchedule
    is_silent: bool

    @property
    def nonsense(self) -> str | None:
        """What in the worker's own figures cannot be; None where they can."""
        seen = self.measured
        if seen.within_slo > seen.answered or seen.answered + seen.failed > seen.requests:
            return f"{seen.within_slo} of {seen.answered} answers in time, {seen.requests} requests in all"
        if (seen.p50_milliseconds or 0) > (seen.p99_milliseconds or 0):
            return f"a median of {seen.p50_milliseconds} ms above the p99 of {seen.p99_milliseconds} ms"
        return None


@dataclass(frozen=True, slots=True)
class Scaling:
    """What a model is provided for, and what that was decided by.

    `rate_ips` is the items per second to plan for, None where nothing is known of it.
    """

    rate_ips: float | None
    decision: Decision
    before: ScalingStatus
    traffic: Traffic | None
    tail: Tail | None
    reports: tuple[Report, ...]
    #: Since when nothing came, of a model that may sleep.
    idle_since: datetime | None
    #: Whether it is to have no worker for now.
    is_asleep: bool

    @property
    def silent(self) -> tuple[Report, ...]:
        """The reports that are too old to count."""
        return tuple(report for report in self.reports if report.is_silent)

    @property
    def is_change(self) -> bool:
        """Whether this plan changes what is provided for."""
        return self.decision.reason not in (Reason.STEADY, Reason.NO_METRICS)


def scale_models(
    eligible: Sequence[tuple[InferenceModel, Sequence[GpuDevice]]],
    profiles: Mapping[Subject, Profile],
    observed: Observed,
    settings: Settings,
) -> Mapping[ModelKey, Scaling]:
    """Decide for every model."""
    reports = _reports(observed)
    return {
        model.metadata.key: _scale(model, devices, profiles, reports[model.metadata.key], observed, settings)
        for model, devices in eligible
    }


def next_silence_due(observed: Observed) -> datetime | None:
    """When the first agent that measures will count as silent, unless it writes before."""
    ages = (
        observed.age_of(schedule.metadata)
        for schedule in observed.schedules
        if schedule.status.measured_at and schedule.status.partitions
    )
    left = min((SILENT_AFTER - age for age in ages if age <= SILENT_AFTER), default=None)
    return None if left is None else observed.now + left


def _reports(observed: Observed) -> Mapping[ModelKey, list[Report]]:
    by_model: defaultdict[ModelKey, list[Report]] = defaultdict(list)
    # On a node that is lost pods end for ever, and their agent is silent for as long: that is nobody's part.
    there = {pod.metadata.key for pod in observed.pods if not (pod.lost or pod.metadata.deleting)}
    for schedule in observed.schedules:
        is_silent = schedule.status.measured_at is None or observed.age_of(schedule.metadata) > SILENT_AFTER
        for partition, measured in schedule.reports:
            is_gone = is_silent and (partition.namespace, partition.name) not in there
            if partition.role is Role.SERVE and not is_gone:
                by_model[partition.namespace, partition.model].append(Report(measured, schedule, is_silent))
    return by_model


def _scale(
    model: InferenceModel,
    devices: Sequence[GpuDevice],
    profiles: Mapping[Subject, Profile],
    reports: Sequence[Report],
    observed: Observed,
    settings: Settings,
) -> Scaling:
    before = model.status.scaling or ScalingStatus()
    state = _state(before)
    heard = [report for report in reports if not report.is_silent]
    traffic, tail = _traffic(heard), _tail(model, heard)
    factor = max(_factors(model, devices, profiles, traffic, settings), default=1.0)
    expected_ips = model.spec.expected_requests_per_second or 0
    # Of a silent agent's part nothing is known but that it was there: it is neither less, nor idle.
    is_unheard = len(heard) < len(reports)
    held_ips = (state.provided_ips or 0.0) if is_unheard else 0.0
    idle_since = None if is_unheard else _idle_since(model, before, traffic, observed)
    decision = decide(
        state,
        traffic,
        tail,
        now_s=observed.now.timestamp(),
        factor=factor,
        least_ips=max(expected_ips, held_ips),
    )
    return Scaling(
        rate_ips=_rate_ips(decision.state.provided_ips, expected_ips),
        decision=decision,
        before=before,
        traffic=traffic,
        tail=tail,
        reports=tuple(reports),
        idle_since=idle_since,
        is_asleep=_is_asleep(model, idle_since, observed.now),
    )


def _idle_since(
    model: InferenceModel, before: ScalingStatus, traffic: Traffic | None, observed: Observed
) -> datetime | None:
    """Since when nothing came; a connection that waits for a worker is something.

    Of a model that is off it is not counted: another `kubectl scale` is to wake it. Nor is it while a worker
    starts: where that takes longer than whoever woke the model waits, it would never get ready.
    """
    if not model.spec.scaling.may_sleep or model.spec.scaling.is_off:
        return None
    gate = observed.gates.get(model.metadata.key)
    if (gate and gate.waiting) or (traffic and traffic.recent_ips > 0):
        return None
    if _is_starting(model.metadata.key, observed):
        return None
    # A time to come was written by a clock that was ahead.
    return min(parse_time(before.idle_since), observed.now) if before.idle_since else observed.now


def _is_starting(key: ModelKey, observed: Observed) -> bool:
    """Whether the model has no worker that answers, and one that may yet."""
    pods = [pod for pod in observed.pods if pod.model == key and not pod.metadata.deleting]
    return not any(pod.ready for pod in pods) and any(pod.is_starting(observed.now) for pod in pods)


def _is_asleep(model: InferenceModel, idle_since: datetime | None, now: datetime) -> bool:
    scaling = model.spec.scaling
    if idle_since is None:
        return scaling.is_off
    return scaling.is_off or now >= idle_since + timedelta(seconds=scaling.idle_seconds)


def _rate_ips(provided_ips: float | None, expected_ips: int) -> float | None:
    if provided_ips is None:
        return expected_ips or None
    return max(provided_ips, expected_ips, LEAST_IPS)


def _traffic(reports: Iterable[Report]) -> Traffic | None:
    known = [report.measured.traffic for report in reports if report.measured.traffic]
    return together(map(_parsed, known)) if known else None


def _parsed(traffic: PartitionTraffic) -> Traffic:
    return Traffic(
        recent_ips=float(traffic.recent_items_per_second),
        steady_ips=float(traffic.steady_items_per_second),
        steady_s=float(traffic.steady_seconds),
        trend_ips2=float(traffic.trend_items_per_second),
        dispersion=traffic.dispersion_permille / PERMILLE,
        slow_dispersion=traffic.slow_dispersion_permille / PERMILLE,
        long_ips=float(traffic.long_items_per_second),
        long_s=float(traffic.long_seconds),
    )


def _tail(model: InferenceModel, reports: Iterable[Report]) -> Tail | None:
    """How requests fared, by the workers whose figures can be."""
    sane = [report for report in reports if report.nonsense is None and report.measured.requests]
    if not sane:
        return None
    slo = model.spec.slo
    requests = sum(report.measured.requests for report in sane)
    missed = requests - sum(report.measured.within_slo for report in sane)
    return Tail(
        ratio=max(report.measured.p99_milliseconds or 0 for report in sane) / slo.latency_milliseconds,
        is_late=misses_too_many(missed, requests, slo.percentile),
        busy_permille=max(report.schedule.status.area_used_permille or 0 for report in sane),
    )


def _factors(
    model: InferenceModel,
    devices: Sequence[GpuDevice],
    profiles: Mapping[Subject, Profile],
    traffic: Traffic | None,
    settings: Settings,
) -> Iterator[float]:
    """By what to multiply the rate on each kind of device, for a GPU filled to its limit to keep the SLO."""
    demand_ips = forecast_ips(traffic) if traffic else 0.0
    if traffic is None or not demand_ips:
        return
    for device in one_of_each_kind(devices).values():
        if profile := profiles.get(subject_of(model, device)):
            try:
                yield _factor(model, device, profile, demand_ips, traffic.dispersion, settings)
            except InfeasibleError:
                continue  # sizing says so


def _factor(
    model: InferenceModel,
    device: GpuDevice,
    profile: Profile,
    rate_ips: float,
    dispersion: float,
    settings: Settings,
) -> float:
    slo = model.spec.slo
    return burst_factor(
        profile.surface_of_late.restricted_to(worker_lanes(model, device), model.spec.max_batch),
        configure(model, device, profile, settings.policy, rate_ips),
        rate_ips=rate_ips,
        dispersion=dispersion,
        slo_ms=slo.latency_milliseconds,
        percentile=slo.percentile,
        area_limit_permille=settings.area_limit_permille,
    )


def _state(status: ScalingStatus) -> ScalingState:
    provided = status.provided_items_per_second
    return ScalingState(
        provided_ips=None if provided is None else float(provided),
        boost=status.boost_permille / PERMILLE,
        changed_s=parse_time(status.changed_at).timestamp() if status.changed_at else 0.0,
        rose_s=parse_time(status.rose_at).timestamp() if status.rose_at else None,
        peaks=tuple(
            Peak(parse_time(peak.since).timestamp(), float(peak.items_per_second)) for peak in status.peaks
        ),
    )


def scaling_status(scaling: Scaling, now: datetime, message: str) -> ScalingStatus:
    """What the next plan must know, with this one's decision, told by `message`, if it is one."""
    state, before = scaling.decision.state, scaling.before
    idle_since = format_time(scaling.idle_since) if scaling.idle_since else None
    if state == _state(before):
        return replace(before, idle_since=idle_since)
    decisions = before.decisions
    if scaling.is_change:
        decided = ScalingDecision(format_time(now), scaling.decision.reason, message)
        decisions = (decided, *decisions)[:_MOST_DECISIONS]
    return ScalingStatus(
        provided_items_per_second=None if state.provided_ips is None else _at_least(state.provided_ips),
        boost_permille=round(PERMILLE * state.boost),
        changed_at=_time(state.changed_s) if state.changed_s else None,
        rose_at=None if state.rose_s is None else _time(state.rose_s),
        idle_since=idle_since,
        peaks=tuple(ScalingPeak(_time(peak.since_s), f"{peak.needed_ips:.2f}") for peak in state.peaks),
        decisions=decisions,
    )


def _at_least(ips: float) -> str:
    """Rounded up: where the next plan read less than is needed, it would rise again."""
    nearest_ips = round(ips, 2)
    return f"{nearest_ips if nearest_ips >= ips else nearest_ips + 0.01:.2f}"


def _time(seconds: float) -> str:
    return format_time(datetime.fromtimestamp(seconds, UTC))
