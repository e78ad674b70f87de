"""Profile probes, in time that nobody was promised: each runs alone, so that nothing disturbs its own time.

A probe has the device when all that waits, and all that the rates of late promise until it is over, can still
be in time behind it. Where that is never so, it is never granted, and its worker goes without; it holds up no
other probe.
"""

from collections.abc import Iterator
from math import ceil, sqrt
from typing import Final, NamedTuple

from kneescale.core.dispatching.device import DeviceState
from kneescale.core.dispatching.partition import Partition
from kneescale.core.dispatching.policy import Run, Wait
from kneescale.core.units import NS_PER_MS, WHOLE_GPU_PERCENT

#: Fewer items than this promised are none: of a hundred requests, one may be late.
NEGLIGIBLE_ITEMS: Final = 0.01

#: Poisson arrivals are more than this many standard deviations above their mean one time in forty.
SPREAD: Final = 2

#: Lanes carry this part of a device's area in time (docs/results.md).
CARRIED: Final = 0.7

#: This part of an SLO is kept for what nobody foresees.
RESERVE_PART_OF_SLO: Final = 0.25

#: Rates fade with time alone, so a probe that found no time is looked at again.
LOOK_AGAIN_NS: Final = 20 * NS_PER_MS

_ALONE: Final = Wait("a profile probe has the device to itself")
_DRAINING: Final = Wait("the device drains for a profile probe")
_FAR_NS: Final = 1 << 62


class _Claim(NamedTuple):
    """What a partition may need behind a probe: by when, how long its run takes, and how much device time."""

    by_ns: int
    latency_ns: int
    device_ns: int


def next_probe(device: DeviceState, now_ns: int) -> Run | Wait | None:
    """The probe to start now, or why nothing else may start; None where probes have no say."""
    if device.probes_running:
        return _ALONE
    if not device.probes_waiting:
        return None
    fitting = _oldest_that_fits(device, now_ns)
    return _DRAINING if fitting and device.running else fitting


def look_again_ns(device: DeviceState, now_ns: int) -> int | None:
    """When to look again for time for the probes that wait; None without any."""
    return now_ns + LOOK_AGAIN_NS if device.probes_waiting and not device.probes_running else None


def _oldest_that_fits(device: DeviceState, now_ns: int) -> Run | None:
    """Of the probes that leave time, the one that was asked for first."""
    asking = [(partition.probe, name) for name, partition in device.partitions.items() if partition.probe]
    idle_ns = max(now_ns, device.ends[-1][0]) if device.running else now_ns
    too_long_ns = _FAR_NS
    for probe, name in sorted(asking, key=lambda asked: asked[0].asked_ns):
        if probe.lasts_ns >= too_long_ns:
            continue  # not worth the look: this is in every decision
        if _leaves_time(device, idle_ns + probe.lasts_ns, now_ns):
            return Run(name, probe.gpu_percent, probe.batch, is_probe=True)
        too_long_ns = probe.lasts_ns
    return None


def _leaves_time(device: DeviceState, until_ns: int, now_ns: int) -> bool:
    """Whether all is in time, earliest deadline first, although nothing starts before `until_ns`."""
    busy_until_ns = until_ns
    for claim in sorted(_claims(device, until_ns, now_ns)):
        busy_until_ns += claim.device_ns
        if max(busy_until_ns, until_ns + claim.latency_ns) > claim.by_ns:
            return False
    return True


def _claims(device: DeviceState, until_ns: int, now_ns: int) -> Iterator[_Claim]:
    for partition in device.partitions.values():
        if partition.costs is None or not partition.connected:
            continue
        promised = partition.rate.promised_items(now_ns, until_ns - now_ns)
        if partition.queue.count or promised >= NEGLIGIBLE_ITEMS:
            items = partition.queue.count + ceil(promised + SPREAD * sqrt(promised))
            yield _claim(partition, items, until_ns, now_ns)


def _claim(partition: Partition, items: int, until_ns: int, now_ns: int) -> _Claim:
    by_ns = partition.end_by_ns if partition.queue.count else partition.end_by_of(now_ns)
    by_ns -= int(RESERVE_PART_OF_SLO * partition.ready_terms.slo_ns)
    run = partition.ready_costs.best(items, int((by_ns - until_ns) / partition.slowness))
    if run is None:
        return _Claim(by_ns, _FAR_NS, 0)
    area = items * run.area_per_item * partition.slowness
    return _Claim(by_ns, int(run.latency_ns * partition.slowness), int(area / WHOLE_GPU_PERCENT / CARRIED))
