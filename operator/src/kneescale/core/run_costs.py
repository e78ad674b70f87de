"""What each possible run of a model takes, laid out for the dispatcher's speed."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from kneescale.core.surface import LatencySurface
from kneescale.core.units import WHOLE_GPU_PERCENT, ms_to_ns


class Option(NamedTuple):
    """One way to run: a lane, a batch, how long it takes and the GPU% x ns that each item costs."""

    gpu_percent: int
    batch: int
    latency_ns: int
    area_per_item: float


class RunCosts:
    """The latency of every batch on every lane, in ns; a lane's row never falls, so it can be bisected."""

    def __init__(self, surface: LatencySurface, lanes: Sequence[int]) -> None:
        self.lanes = tuple(sorted(lanes))
        self.max_batch = surface.batches[-1]
        self._rows = {
            lane: [0, *(ms_to_ns(surface.latency_ms(lane, batch)) for batch in range(1, self.max_batch + 1))]
            for lane in self.lanes
        }

    def latency_ns(self, gpu_percent: int, batch: int) -> int:
        """How long `batch` items (1 to `max_batch`) take on the lane of `gpu_percent`."""
        return self._rows[gpu_percent][batch]

    def largest_batch(self, gpu_percent: int, most: int, within_ns: int) -> int:
        """The most items, up to `most`, that end in `within_ns` on that lane; 0 if not even one does."""
        return bisect_right(self._rows[gpu_percent], within_ns, 1, most + 1) - 1

    @property
    def fastest_ns(self) -> int:
        """How long one item takes on the largest lane: nothing is faster."""
        return self._rows[self.lanes[-1]][1]

    def cheapest(
        self,
        items: int,
        within_ns: int,
        free_percent: int = WHOLE_GPU_PERCENT,
        caps: Sequence[tuple[int, int]] = (),
    ) -> Option | None:
        """The run of up to `items` items with the least area per item, among those that end in `within_ns`.

        On lanes of at most `free_percent`; for each (ns, percent) of `caps`, in order of time, a run on a
        larger lane than that must end by then. A tie goes to the smaller lane. None if no run ends in time.
        """
        best: Option | None = None
        most = min(items, self.max_batch)
        for lane in self.lanes:
            if lane > free_percent:
                break
            row = self._rows[lane]
            capped_ns = next((until_ns for until_ns, percent in caps if percent < lane), within_ns)
            batch = bisect_right(row, min(within_ns, capped_ns), 1, most + 1) - 1
            if batch:
                area_per_item = lane * row[batch] / batch
                if best is None or area_per_item < best.area_per_item:
                    best = Option(lane, batch, row[batch], area_per_item)
        return best
