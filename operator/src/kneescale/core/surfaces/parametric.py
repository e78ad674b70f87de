"""A latency surface in four numbers: the form that the catalog's figures are fitted to."""

from collections.abc import Sequence
from dataclasses import dataclass

from kneescale.core.surfaces.surface import LatencySurface, Point


@dataclass(frozen=True, slots=True)
class Parameters:
    """f(p, b) = max(host, serial * b + (fixed_work + work * b) / p), in ms.

    The shape of D-STACK's parallelism model (arXiv 2304.13541): a serial part, and work divided over the SMs.
    To it comes the host's floor: the time to launch a batch's kernels one by one. A limit on the SMs that a
    small batch can use would be hidden by that floor: on the data at hand, fitting one lowered no error.
    """

    #: No batch is faster than this, however small.
    host_ms: float
    #: Part of each item's time that no SM shortens.
    serial_ms: float
    #: ms x GPU% of each batch, whatever its size.
    fixed_work: float
    #: ms x GPU% of each item.
    work: float

    def latency_ms(self, gpu_percent: int, batch: int) -> float:
        """f(p, b)."""
        work = self.fixed_work + self.work * batch
        return max(self.host_ms, self.serial_ms * batch + work / gpu_percent)

    def surface(self, lanes: Sequence[int], batches: Sequence[int]) -> LatencySurface:
        """The surface with a point at each lane and batch."""
        return LatencySurface.from_points(
            Point(lane, batch, self.latency_ms(lane, batch)) for lane in lanes for batch in batches
        )
