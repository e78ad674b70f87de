"""What a run that starts now must leave free for those that must start while it runs.

As in EASY backfilling: each waiting run has a moment at which it must start and a GPU% it will need; a run
may overlap that moment only with what is then left.
"""

from collections.abc import Iterable
from typing import NamedTuple

from kneescale.core.device import DeviceState


class Guard(NamedTuple):
    """From `from_ns` on, no more than `spare_percent` may be held by runs that start now."""

    from_ns: int
    spare_percent: int
    partition: str


class FreePercent:
    """The GPU% that is free now and will be as each run in flight ends by its time."""

    def __init__(self, device: DeviceState, now_ns: int) -> None:
        self._now_ns = now_ns
        self._free_percent = device.free_percent
        self._ends = sorted(
            (running.grant.finish_by_ns, running.grant.gpu_percent) for running in device.running.values()
        )

    def guard(self, partition: str, start_ns: int, need_percent: int) -> Guard:
        """The guard of a run of `need_percent` that must start at `start_ns`, or else as soon as it fits."""
        from_ns, free_percent = max(start_ns, self._now_ns), self._free_percent
        for end_ns, gpu_percent in self._ends:
            if end_ns > from_ns:
                if free_percent >= need_percent:
                    break
                from_ns = end_ns
            free_percent += gpu_percent
        return Guard(from_ns, free_percent - need_percent, partition)


def limits(guards: Iterable[Guard], partition: str, now_ns: int) -> list[tuple[int, int]]:
    """What the others' guards leave `partition`: (ns from now, GPU% that a run may hold longer), in order."""
    return sorted((from_ns - now_ns, spare) for from_ns, spare, name in guards if name != partition)
