"""Profile probes among served work: each runs alone on the device, so that nothing disturbs its time.

A probe starts when the device is idle and no queued item would miss its SLO by it. Once its patience is
over the device is drained for it: profiles end, and what they may cost the others is bounded.
"""

from kneescale.core.dispatching.device import DeviceState
from kneescale.core.dispatching.partition import Partition
from kneescale.core.dispatching.policy import Run, Wait
from kneescale.core.units import NS_PER_MS

#: A probe waits for a good moment this much longer than the last one ran: on a busy device probes then take
#: about a tenth of the time.
PATIENCE_FACTOR = 10
LEAST_PATIENCE_NS = 100 * NS_PER_MS

_ALONE = Wait("a profile probe has the device to itself")
_DRAINING = Wait("the device drains for a profile probe")


def next_probe(device: DeviceState, now_ns: int) -> Run | Wait | None:
    """The probe to start now, or why nothing else may start; None where probes have no say."""
    if device.probes_running:
        return _ALONE
    partition = _first_asked(device)
    if partition is None:
        return None
    overdue = _patience_ends_ns(partition) <= now_ns
    if device.running:
        return _DRAINING if overdue else None
    if overdue or not _hurts(device, partition.last_probe_ns, now_ns):
        probe = partition.probes[0]
        return Run(partition.name, probe.gpu_percent, probe.batch, is_probe=True)
    return None


def patience_ends_ns(device: DeviceState) -> int | None:
    """When the oldest probe will have the device drained for it; None without one."""
    partition = _first_asked(device)
    return None if partition is None else _patience_ends_ns(partition)


def _first_asked(device: DeviceState) -> Partition | None:
    if not device.probes_waiting:
        return None
    asking = (partition for partition in device.partitions.values() if partition.probes)
    return min(asking, key=lambda partition: partition.probes[0].asked_ns)


def _patience_ends_ns(partition: Partition) -> int:
    patience_ns = max(LEAST_PATIENCE_NS, PATIENCE_FACTOR * partition.last_probe_ns)
    return partition.probes[0].asked_ns + patience_ns


def _hurts(device: DeviceState, duration_ns: int, now_ns: int) -> bool:
    """Whether a queued item would miss its SLO if the device were taken for `duration_ns`."""
    return any(
        partition.latest_start_ns() < now_ns + duration_ns
        for partition in device.partitions.values()
        if partition.items
    )
