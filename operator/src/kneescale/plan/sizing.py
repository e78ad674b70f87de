"""Which GPU% and batch a model runs with on each kind of device that it may use and has a profile for."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from kneescale.api.gpu_schedule import Policy
from kneescale.api.inference_model import InferenceModel, Overrides
from kneescale.api.resource_slice import GpuDevice, one_of_each_kind
from kneescale.core.errors import InfeasibleError
from kneescale.core.planning.configuration import Configuration, choose_configuration
from kneescale.core.planning.fluid import Workload
from kneescale.core.planning.reservations import reserved_lane
from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.plan.eligibility import worker_lanes
from kneescale.plan.finding import Finding, fails
from kneescale.plan.profiles import Profile, Subject, subject_of


@dataclass(frozen=True, slots=True)
class Size:
    """A model's configuration on one kind of device, for its whole rate, and the profile behind it.

    `rate_ips` is that rate, in items per second; None where nothing is known of it.
    """

    configuration: Configuration
    profile: Profile
    rate_ips: float | None


@dataclass(frozen=True, slots=True)
class Sizing:
    """A model's size by kind of device; `obstacle` says why there is none although there are profiles."""

    by_kind: Mapping[str, Size]
    obstacle: Finding | None = None


def size_model(
    model: InferenceModel,
    devices: tuple[GpuDevice, ...],
    profiles: Mapping[Subject, Profile],
    policy: Policy,
    rate_ips: float | None,
) -> Sizing:
    """Choose the configuration for each kind of device among `devices` that has a profile."""
    by_kind: dict[str, Size] = {}
    infeasible: list[str] = []
    for kind, device in one_of_each_kind(devices).items():
        profile = profiles.get(subject_of(model, device))
        if profile is None:
            continue
        try:
            plan = configure(model, device, profile, policy, rate_ips)
            by_kind[kind] = Size(plan, profile, rate_ips)
        except InfeasibleError as error:
            infeasible.append(f"{kind}: {error}")
    obstacle = fails("InfeasibleSLO", "; ".join(infeasible)) if infeasible and not by_kind else None
    return Sizing(by_kind, obstacle)


def size_on_lanes(model: InferenceModel, size: Size, lanes: tuple[int, ...]) -> Size:
    """The same on the lanes of a pool; where none of them keeps the rules, the batch on the largest lane."""
    overrides = model.spec.overrides or Overrides()
    surface, plan = size.profile.surface_of_late, size.configuration
    try:
        plan = choose_configuration(
            surface,
            slo_ms=model.spec.slo.latency_milliseconds,
            rate_rps=size.rate_ips,
            lanes=sorted(set(lanes)),
            max_batch=model.spec.max_batch,
            batch=overrides.batch,
        )
    except InfeasibleError:
        percent = max(lanes)
        plan = replace(plan, gpu_percent=percent, latency_ms=surface.latency_ms(percent, plan.batch))
    return replace(size, configuration=plan)


def configure(
    model: InferenceModel, device: GpuDevice, profile: Profile, policy: Policy, rate_ips: float | None
) -> Configuration:
    """The planned run on one kind of device for that rate. Raises InfeasibleError, with the numbers."""
    overrides = model.spec.overrides or Overrides()
    lanes = planned_lanes(worker_lanes(model, device), policy)
    if device.reserves_sms and rate_ips and len(lanes) > 1:
        lanes = _reserved(model, device, profile, rate_ips)
    return choose_configuration(
        profile.surface_of_late,
        slo_ms=model.spec.slo.latency_milliseconds,
        rate_rps=rate_ips,
        lanes=lanes,
        max_batch=model.spec.max_batch,
        gpu_percent=overrides.gpu_percent,
        batch=overrides.batch,
    )


def _reserved(model: InferenceModel, device: GpuDevice, profile: Profile, rate_ips: float) -> tuple[int, ...]:
    """The one lane that is to be reserved for that rate, among those on which a batch is fast enough."""
    slo_ms = model.spec.slo.latency_milliseconds
    surface = profile.surface_of_late.restricted_to(device.lanes, model.spec.max_batch)
    lanes = [percent for percent in device.lanes if surface.latency_ms(percent, 1) <= slo_ms / 2]
    if not lanes:
        return device.lanes
    workload = Workload(model.metadata.name, rate_ips, slo_ms, {device.product_name: surface})
    return (reserved_lane(workload, device.product_name, lanes),)


def has_grown(model: InferenceModel, size: Size) -> bool:
    """Whether more arrives than the spec says."""
    return (size.rate_ips or 0) > (model.spec.expected_requests_per_second or 0)


def planned_lanes(lanes: tuple[int, ...], policy: Policy) -> tuple[int, ...]:
    """Sharing in time alone gives each batch the whole GPU, on the same worker: its other lanes lie idle."""
    if policy is Policy.TEMPORAL and WHOLE_GPU_PERCENT in lanes:
        return (WHOLE_GPU_PERCENT,)
    return lanes
