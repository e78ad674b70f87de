"""Tier mps-contexts: one process with a context, and a copy of the weights, for each lane.

The contexts are made up front, as NVIDIA recommends, since that takes long and memory; and only in a client
that has CUDA_MPS_ENABLE_PER_CTX_DEVICE_MULTIPROCESSOR_PARTITIONING=1 (NVIDIA, Multi-Process Service). Each
counts as a client of its own.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kneescale_worker.cuda_driver import CappedContext, CudaDriver
from kneescale_worker.lane_pool import LanePool
from kneescale_worker.lanes import LaneUse, check_sms, sms_for

#: Percentages and SM counts are rounded to what the hardware supports (NVIDIA, Multi-Process Service), which
#: no document names for caps. SMs come in eights at the coarsest (green contexts and partitions on Hopper).
CAP_UNIT_SMS = 8


class MpsContextLanes:
    """A pool of contexts; each runs one batch at a time."""

    def __init__(self, driver: CudaDriver, gpu_percents: Sequence[int]) -> None:
        self._driver = driver
        self._gpu_percents = gpu_percents
        self._contexts: list[CappedContext] = []
        self._pool: LanePool[int] = LanePool(())
        self.sms: dict[int, int] = {}

    @property
    def homes(self) -> int:
        """One for each context: memory of one cannot be used in another."""
        return len(self._gpu_percents)

    def homes_of(self, gpu_percent: int) -> int:
        """As many as it has contexts; see Lanes."""
        return self._gpu_percents.count(gpu_percent)

    def open(self) -> None:
        """Make the contexts; see Lanes."""
        sm_count = self._driver.visible_sms()
        for gpu_percent in self._gpu_percents:
            context = self._driver.capped_context(sms_for(gpu_percent, sm_count))
            check_sms(gpu_percent, context.sms, sm_count, CAP_UNIT_SMS)
            self._contexts.append(context)
            self.sms[gpu_percent] = context.sms
        self._pool = LanePool(zip(self._gpu_percents, range(self.homes), strict=True))

    @contextmanager
    def at_home(self, home: int) -> Iterator[None]:
        """Make its context current; see Lanes."""
        self._driver.push(self._contexts[home].context)
        try:
            yield
        finally:
            self._driver.pop()

    @contextmanager
    def use(self, gpu_percent: int) -> Iterator[LaneUse]:
        """Hold a context of that GPU% and make it current; see Lanes."""
        home = self._pool.take(gpu_percent)
        try:
            with self.at_home(home):
                yield LaneUse(self._contexts[home].stream, home)
        finally:
            self._pool.give_back(gpu_percent, home)
