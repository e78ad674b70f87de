"""What a scheduling policy is: it looks at a device and says what runs next, or why nothing does.

A policy holds no state of its own: it reads the device and the time.
"""

from collections.abc import Iterable
from typing import Final, Protocol

from kneescale.core.dispatching.device import DeviceState
from kneescale.core.dispatching.partition import Partition, PartitionTerms


class Run:
    """Grant the partition's oldest `batch` items a lane of `gpu_percent` now; or a probe of that size."""

    def __init__(self, partition: str, gpu_percent: int, batch: int, *, is_probe: bool = False) -> None:
        self.partition: Final = partition
        self.gpu_percent: Final = gpu_percent
        self.batch: Final = batch
        self.is_probe: Final = is_probe


class Wait:
    """Start nothing now, for `reason`; look again at `until_ns`, or at the next event where that is None.

    `partition` is the first of those that wait, where the policy says whose turn it would be.
    """

    def __init__(self, reason: str, until_ns: int | None = None, partition: str | None = None) -> None:
        self.reason: Final = reason
        self.until_ns: Final = until_ns
        self.partition: Final = partition


NOTHING_QUEUED: Final = Wait("nothing is queued")


class Policy(Protocol):
    """Decides one run at a time; it is asked again after each one until it waits."""

    def adapt(self, terms: PartitionTerms) -> PartitionTerms:
        """A partition's terms as this policy uses them."""

    def refusals(self, device: DeviceState, now_ns: int) -> Iterable[tuple[Partition, int]]:
        """How many of the oldest items of which partitions cannot be in time, and are better refused."""

    def next_run(self, device: DeviceState, now_ns: int) -> Run | Wait:
        """The next run to start on `device` at `now_ns`."""
