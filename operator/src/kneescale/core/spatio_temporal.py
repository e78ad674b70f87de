"""D-STACK's schedule in space and time: EDF for what is due, opportunistic fill for the rest.

A partition is *due* when its planned batch is full or its planned run must start now to meet the deadline of
the oldest item. Due runs go in EDF order, on the lane that takes the least area and still ends in time.
A due run that finds too little GPU% free has it reserved, as in EASY backfilling: others may start only where
they do not delay it. The rest fills what is left, least weighted area first.
"""

from collections.abc import Sequence

from kneescale.core.device import DeviceState
from kneescale.core.partition import Partition
from kneescale.core.policy import Run, Wait
from kneescale.core.units import NS_PER_MS

#: What a grant, its answer and a late timer may take; runs are planned to end this much before the deadline.
MARGIN_NS = NS_PER_MS
_FOR_EVER_NS = 1 << 62


class SpatioTemporal:
    """EDF for due runs, reservations for those that do not fit yet, and fair fill."""

    def next_run(self, device: DeviceState, now_ns: int) -> Run | Wait:
        """The next run, or when a queued partition becomes due."""
        waiting = [partition for partition in device.partitions.values() if partition.can_run]
        if not waiting:
            return Wait("nothing is queued")
        due = [partition for partition in waiting if _is_due(partition, now_ns)]
        for partition in sorted(due, key=lambda partition: (partition.deadline_ns, partition.name)):
            within_ns = partition.deadline_ns - MARGIN_NS - now_ns
            option = partition.ready_costs.cheapest(partition.queued, within_ns, device.free_percent)
            if option:
                return Run(partition.name, option.gpu_percent, option.batch)
        for partition in _by_weighted_area(device, waiting):
            within_ns = partition.deadline_ns - MARGIN_NS - now_ns
            option = partition.ready_costs.cheapest(
                partition.queued, within_ns, device.free_percent
            ) or partition.ready_costs.cheapest(partition.queued, _FOR_EVER_NS, device.free_percent)
            if option:
                return Run(partition.name, option.gpu_percent, option.batch)
        return Wait("too little GPU% is free")


def _is_due(partition: Partition, now_ns: int) -> bool:
    return (
        partition.queued >= partition.ready_terms.batch or partition.latest_start_ns() <= now_ns + MARGIN_NS
    )


def _by_weighted_area(device: DeviceState, partitions: Sequence[Partition]) -> list[Partition]:
    return sorted(
        partitions,
        key=lambda partition: (
            device.scoreboard.area(partition.name) / partition.ready_terms.weight,
            partition.deadline_ns,
            partition.name,
        ),
    )
