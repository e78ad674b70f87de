"""GPUSchedule: what one GPU runs and on which terms (spec), and how it goes (status, by the agent)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from kneescale.api.codec import Items, JsonName, Text, decode, encode
from kneescale.api.conditions import Conditions
from kneescale.api.meta import Metadata, Owner, parse_metadata
from kneescale.api.names import API_VERSION, MANAGED_BY, MANAGED_BY_LABEL
from kneescale.api.resource_slice import GpuDevice
from kneescale.api.vocabulary import (
    Batch,
    Count,
    ErrorPercent,
    Generation,
    GpuPercent,
    Label,
    LateRequests,
    MeasuredSeconds,
    Measurement,
    Milliseconds,
    Number,
    ObjectName,
    Permille,
    ProductName,
    Role,
    SloMilliseconds,
    SurfacePoint,
    Time,
    Weight,
)
from kneescale.core.backends import Backend
from kneescale.core.errors import InvalidInputError
from kneescale.core.tiers import Tier

KIND = "GPUSchedule"


class Policy(StrEnum):
    """How the dispatcher shares the GPU: in space and time, or one batch at a time."""

    SPATIO_TEMPORAL = "SpatioTemporal"
    TEMPORAL = "Temporal"


class PartitionState(StrEnum):
    """A partition as the agent sees it: no worker yet, its worker connected, lost, or hung in a batch."""

    WAITING = "Waiting"
    SERVING = "Serving"
    GONE = "Gone"
    HUNG = "Hung"


@dataclass(frozen=True, slots=True)
class Partition:
    """One model's share of this GPU: its terms for the dispatcher."""

    name: Label
    namespace: Label
    model: Label
    role: Role
    slo_milliseconds: SloMilliseconds
    weight: Weight
    gpu_percent: GpuPercent
    batch: Batch
    lanes: Annotated[tuple[GpuPercent, ...], Items(max_items=100, min_items=1)]
    area_permille: Permille
    #: f(p, b) at each lane and batch; empty for a partition that is being profiled.
    surface: Annotated[tuple[SurfacePoint, ...], Items(max_items=1000)]
    late_requests: LateRequests = LateRequests.REFUSE
    #: Whether each of `lanes` runs one batch at a time; a GPU% may then be there more than once.
    pool: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name), as its pod or Job has them."""
        return self.namespace, self.name


@dataclass(frozen=True, slots=True)
class GPUScheduleSpec:
    """One GPU, as its agent last published it, and its desired partitions.

    The lists are replaced as wholes: the operator is their only author, and an item that somebody
    adds by hand does not survive its next apply.
    """

    node_name: ObjectName
    device: Label
    uuid: Annotated[str, Text(max_length=320, min_length=1)]
    product_name: ProductName
    backend: Backend
    tier: Tier
    lane_percent_step: GpuPercent
    memory_bytes: Count
    #: Most partitions at once; a pool of processes counts once for each lane.
    clients: Count
    policy: Policy
    partitions: Annotated[tuple[Partition, ...], Items(max_items=64)]


@dataclass(frozen=True, slots=True)
class ProfilingProgress:
    """How far a partition is that profiles: so many of its grid's runs are measured."""

    measured: Count
    runs: Count
    #: Nine in ten runs are known to this standard deviation by then.
    error_percent: ErrorPercent


@dataclass(frozen=True, slots=True)
class PartitionTraffic:
    """What arrived at a partition's queue, in items, by the count of the agent's dispatcher."""

    #: Over the last five seconds, and over the last `steady_seconds`, thirty at the most.
    recent_items_per_second: Measurement
    steady_items_per_second: Measurement
    steady_seconds: MeasuredSeconds
    #: What the rate gains each second.
    trend_items_per_second: Number
    #: Variance of the counts over their mean, in permille: 1000 for single items at random.
    dispersion_permille: Permille
    #: The same of counts of five seconds; 0 while too little is known.
    slow_dispersion_permille: Permille = 0
    #: Over the last `long_seconds`, two minutes at the most; of an agent that does not tell, nothing.
    long_items_per_second: Measurement = "0"
    long_seconds: Measurement = "0"


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition as the agent measured it over the last `window_seconds`."""

    name: Label
    state: PartitionState
    requests_per_second: Measurement = "0.0"
    requests: Count = 0
    answered: Count = 0
    within_slo: Annotated[Count, JsonName("withinSLO")] = 0
    failed: Count = 0
    p50_milliseconds: Milliseconds | None = None
    p99_milliseconds: Milliseconds | None = None
    window_seconds: Count = 0
    #: Batches that took much longer than their grant, since the agent knows the partition.
    overruns: Count = 0
    #: Median of measured over predicted batch time; None while there is too little evidence.
    latency_ratio_permille: Permille | None = None
    #: Of a partition that profiles, from its first run on.
    profiling: ProfilingProgress | None = None
    traffic: PartitionTraffic | None = None


@dataclass(frozen=True, slots=True)
class GPUScheduleStatus:
    """What the agent applied and measured."""

    observed_generation: Generation | None = None
    conditions: Conditions = ()
    #: When this was written; an agent writes at least every ten seconds.
    measured_at: Time | None = None
    #: One line for people: "lite0 40%x8, vad 10%x4".
    summary: Annotated[str | None, Text(max_length=1024)] = None
    #: GPU area of the partitions' plans, in permille of the GPU.
    area_planned_permille: Permille | None = None
    #: GPU area granted over the last ten seconds or so, in permille of the GPU.
    area_used_permille: Permille | None = None
    partitions: Annotated[tuple[PartitionStatus, ...], Items(max_items=64, map_keys=("name",))] = ()


@dataclass(frozen=True, slots=True)
class GPUSchedule:
    """The resource."""

    metadata: Metadata
    spec: GPUScheduleSpec
    status: GPUScheduleStatus = GPUScheduleStatus()

    @property
    def reports(self) -> Iterator[tuple[Partition, PartitionStatus]]:
        """What the agent says of the partitions planned here; of others it has nothing to say."""
        planned = {partition.name: partition for partition in self.spec.partitions}
        for status in self.status.partitions:
            if status.name in planned:
                yield planned[status.name], status


def parse_gpu_schedule(obj: Mapping[str, Any]) -> GPUSchedule:
    """A GPUSchedule as the API server gives it; a status that is wrong says nothing.

    Raises InvalidInputError naming the field that is wrong.
    """
    spec = decode(GPUScheduleSpec, obj.get("spec"), "spec")
    for partition in spec.partitions:
        _check_partition(partition)
    return GPUSchedule(parse_metadata(obj), spec, _read_status(obj, spec))


def render_gpu_schedule(name: str, spec: GPUScheduleSpec, owner: Owner) -> dict[str, Any]:
    """The manifest that the operator applies."""
    labels = {MANAGED_BY_LABEL: MANAGED_BY}
    metadata = {"name": name, "labels": labels, "ownerReferences": [owner.render()]}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": encode(spec)}


def spec_of(device: GpuDevice, policy: Policy, partitions: tuple[Partition, ...]) -> GPUScheduleSpec:
    """The schedule of a device, which it is remembered by."""
    return GPUScheduleSpec(
        node_name=device.node,
        device=device.name,
        uuid=device.uuid,
        product_name=device.product_name,
        backend=device.backend,
        tier=device.tier,
        lane_percent_step=device.lane_percent_step,
        memory_bytes=device.memory_bytes,
        clients=device.clients,
        policy=policy,
        partitions=partitions,
    )


def device_of(spec: GPUScheduleSpec) -> GpuDevice:
    """The device of a schedule, all but what ails it and its driver, which only its agent tells."""
    return GpuDevice(
        node=spec.node_name,
        name=spec.device,
        uuid=spec.uuid,
        product_name=spec.product_name,
        backend=spec.backend,
        tier=spec.tier,
        lane_percent_step=spec.lane_percent_step,
        memory_bytes=spec.memory_bytes,
        clients=spec.clients,
    )


def _read_status(obj: Mapping[str, Any], spec: GPUScheduleSpec) -> GPUScheduleStatus:
    """What the agent says; where that is nonsense, it counts as one that has long been silent.

    The plan in the spec, with workers that drain, must not be lost for it.
    """
    try:
        return decode(GPUScheduleStatus, obj.get("status") or {}, "status")
    except InvalidInputError:
        unknown = (PartitionStatus(partition.name, PartitionState.WAITING) for partition in spec.partitions)
        return GPUScheduleStatus(partitions=tuple(unknown))


def _check_partition(partition: Partition) -> None:
    """The cross-field rules of the CRD."""
    path = f"partition {partition.name}"
    if partition.gpu_percent not in partition.lanes:
        raise InvalidInputError(f"{path}: gpuPercent must be one of lanes")
    if partition.role is Role.SERVE and not partition.surface:
        raise InvalidInputError(f"{path}: a partition that serves needs a surface")
