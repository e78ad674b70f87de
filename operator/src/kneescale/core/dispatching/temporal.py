"""Plain temporal sharing, which the spatio-temporal policy is measured against: one batch at a time.

It has all that sharing in time alone can use: the same EDF, look-ahead and fair fill, on the largest lane,
with the batch of the best efficacy there.
"""

from collections.abc import Iterable
from dataclasses import replace

from kneescale.core.dispatching.device import DeviceState
from kneescale.core.dispatching.partition import Partition, PartitionTerms
from kneescale.core.dispatching.policy import Run, Wait
from kneescale.core.dispatching.spatio_temporal import SpatioTemporal
from kneescale.core.errors import InfeasibleError
from kneescale.core.planning.configuration import choose_configuration
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.core.units import ns_to_ms


class Temporal:
    """The whole GPU for one batch at a time."""

    def __init__(self) -> None:
        self._one_lane = SpatioTemporal()

    def adapt(self, terms: PartitionTerms) -> PartitionTerms:
        """The terms with the largest lane alone, and a planned batch for it."""
        lane = max(terms.lanes)
        batch = _batch(terms.surface, lane, terms.slo_ns) if terms.surface else terms.batch
        return replace(terms, lanes=(lane,), gpu_percent=lane, batch=batch)

    def refusals(self, device: DeviceState, now_ns: int) -> Iterable[tuple[Partition, int]]:
        """As with the whole GPU."""
        return self._one_lane.refusals(device, now_ns)

    def next_run(self, device: DeviceState, now_ns: int) -> Run | Wait:
        """The next run, once nothing else runs."""
        if device.running:
            return Wait("a batch has the whole GPU")
        return self._one_lane.next_run(device, now_ns)


def _batch(surface: LatencySurface, lane: int, slo_ns: int) -> int:
    """The batch of the highest efficacy on that lane; 1 where not even one item takes half the SLO."""
    try:
        return choose_configuration(
            surface, slo_ms=ns_to_ms(slo_ns), rate_rps=None, lanes=[lane], max_batch=surface.batches[-1]
        ).batch
    except InfeasibleError:
        return 1
