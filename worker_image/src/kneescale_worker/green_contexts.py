"""Tier green-contexts: one process, one copy of the weights, streams that are tied to certain SMs.

Right for a model that has its GPU to itself. The contexts of two processes may lie on the same SMs, since
each process splits the device for itself, from the same first SM on (ADR 21).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kneescale.core.units import WHOLE_GPU_PERCENT, ceil_div
from kneescale_worker.cuda_driver import CudaDriver, SmResource
from kneescale_worker.errors import ExecutorError
from kneescale_worker.lanes import LaneUse, check_sms, sms_for
from kneescale_worker.sm_places import PlaceBoard, places


class GreenContextLanes:
    """A stream for each place of each lane; all of them share the primary context's memory."""

    homes = 1

    def __init__(self, driver: CudaDriver, gpu_percents: Sequence[int]) -> None:
        self._driver = driver
        self._gpu_percents = gpu_percents
        self._board = PlaceBoard(0)
        self._places: dict[int, list[range]] = {}
        self._streams: dict[int, list[int]] = {}
        self.sms: dict[int, int] = {}

    def homes_of(self, gpu_percent: int) -> int:
        """All share one; see Lanes."""
        return 1

    def open(self) -> None:
        """Split the SMs once, so that any of the groups may go together into one context; see Lanes."""
        whole = self._driver.all_sms()
        groups = self._driver.split_sms(whole)
        self._board = PlaceBoard(len(groups))
        for gpu_percent in self._gpu_percents:
            self._make_lane(gpu_percent, whole, groups)

    @contextmanager
    def at_home(self, home: int) -> Iterator[None]:
        """Nothing to do: the primary context is current in every thread that uses torch."""
        yield

    @contextmanager
    def use(self, gpu_percent: int) -> Iterator[LaneUse]:
        """Never waits: any number of batches may run on a lane, side by side while there are free SMs."""
        candidates = self._places.get(gpu_percent)
        if candidates is None:
            raise ExecutorError(f"there is no lane of {gpu_percent} GPU%")
        index = self._board.occupy(candidates)
        try:
            yield LaneUse(self._streams[gpu_percent][index], 0)
        finally:
            self._board.leave(candidates[index])

    def _make_lane(self, gpu_percent: int, whole: SmResource, groups: Sequence[SmResource]) -> None:
        unit = groups[0].sm_count
        size = min(len(groups), ceil_div(sms_for(gpu_percent, whole.sm_count), unit))
        lane_places = places(len(groups), size)
        # The groups leave some SMs over, which the whole GPU has too.
        resources = (
            [[whole]]
            if gpu_percent == WHOLE_GPU_PERCENT
            else [groups[place.start : place.stop] for place in lane_places]
        )
        made = [self._driver.green_stream(resource) for resource in resources]
        for stream in made:
            check_sms(gpu_percent, stream.sms, whole.sm_count, unit)
        self._places[gpu_percent] = lane_places
        self._streams[gpu_percent] = [stream.stream for stream in made]
        self.sms[gpu_percent] = made[0].sms
