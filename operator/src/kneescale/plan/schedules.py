"""The GPUSchedule of each device: its serving, draining and profiling partitions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from kneescale.api.gpu_schedule import GPUScheduleSpec, Partition, spec_of
from kneescale.api.resource_slice import GpuDevice
from kneescale.api.vocabulary import Role
from kneescale.plan.placing import Target
from kneescale.plan.profiling import Run
from kneescale.plan.state import Observed, Settings


def plan_schedules(
    targets: Iterable[Target],
    runs: Iterable[Run],
    devices: Sequence[GpuDevice],
    observed: Observed,
    settings: Settings,
) -> Mapping[GpuDevice, GPUScheduleSpec]:
    """One schedule for each device, also for one on which nothing runs."""
    entries: dict[str, dict[str, Partition]] = {device.uuid: {} for device in devices}
    for uuid, partition in _remaining(observed):
        if uuid in entries:
            entries[uuid][partition.name] = partition
    for target in targets:
        entries[target.device.uuid][target.name] = _serving_partition(target)
    for run in runs:
        entries[run.device.uuid][run.job_name] = _profiling_partition(run)
    return {device: _schedule(device, entries[device.uuid], settings) for device in devices}


def _remaining(observed: Observed) -> Iterator[tuple[str, Partition]]:
    """Partitions as planned before, of pods that are still there: draining, or without a new plan."""
    names = {pod.metadata.name for pod in observed.pods if not pod.lost}
    for schedule in observed.schedules:
        for partition in schedule.spec.partitions:
            if partition.name in names:
                yield schedule.spec.uuid, partition


def _schedule(device: GpuDevice, entries: Mapping[str, Partition], settings: Settings) -> GPUScheduleSpec:
    partitions = tuple(entries[name] for name in sorted(entries))
    return spec_of(device, settings.policy, partitions)


def _serving_partition(target: Target) -> Partition:
    spec, configuration = target.model.spec, target.size.configuration
    return Partition(
        name=target.name,
        namespace=target.model.metadata.namespace,
        model=target.model.metadata.name,
        role=Role.SERVE,
        slo_milliseconds=spec.slo.latency_milliseconds,
        weight=spec.weight,
        gpu_percent=configuration.gpu_percent,
        batch=configuration.batch,
        lanes=target.lanes,
        area_permille=target.area_permille,
        surface=target.size.profile.points_of(target.lanes, spec.max_batch),
        late_requests=spec.slo.late_requests,
        pool=target.is_pool,
    )


def _profiling_partition(run: Run) -> Partition:
    model = run.need.model
    return Partition(
        name=run.job_name,
        namespace=model.metadata.namespace,
        model=model.metadata.name,
        role=Role.PROFILE,
        slo_milliseconds=model.spec.slo.latency_milliseconds,
        weight=model.spec.weight,
        gpu_percent=run.device.lanes[-1],
        batch=model.spec.max_batch,
        lanes=run.device.lanes,
        area_permille=0,
        surface=(),
    )
