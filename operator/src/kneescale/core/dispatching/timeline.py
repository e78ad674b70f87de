"""The GPU% that is free now and later, and the best place in it for a batch.

As in conservative backfilling: who comes first takes its place, now or later, and who comes after it may only
use what that leaves, so that narrow runs cannot keep a wide one waiting.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import inf
from typing import Final, NamedTuple

from kneescale.core.dispatching.device import DeviceState
from kneescale.core.dispatching.run_costs import Option

#: A run that starts a whole SLO from now would be as dear as one of this much more area.
PRICE_OF_DELAY: Final = 3.0


class Place(NamedTuple):
    """A run and when it could start."""

    start_ns: int
    option: Option


class Room:
    """GPU% that is better left free for a time: something may arrive that needs it."""

    def __init__(self, start_ns: int, end_ns: int, gpu_percent: int) -> None:
        self.start_ns: Final = start_ns
        self.end_ns: Final = end_ns
        self.gpu_percent: Final = gpu_percent


class Timeline:
    """Free GPU% as a step function of time, from now on."""

    def __init__(self, device: DeviceState, now_ns: int) -> None:
        step_ns, free_percent = now_ns, device.free_percent
        self._times_ns = [step_ns]
        self._free_percents = [free_percent]
        for end_ns, _, gpu_percent in device.ends:
            free_percent += gpu_percent
            # What should have ended holds its GPU% still: it may be free in a moment, not now.
            end_ns = max(end_ns, now_ns + 1)
            if end_ns == step_ns:
                self._free_percents[-1] = free_percent
            else:
                step_ns = end_ns
                self._times_ns.append(step_ns)
                self._free_percents.append(free_percent)

    def reserve(self, start_ns: int, duration_ns: int, gpu_percent: int) -> None:
        """Keep `gpu_percent`, or what there is of it, for a run from `start_ns` on."""
        first, last = self._step_at(start_ns), self._step_at(start_ns + duration_ns)
        for index in range(first, last):
            self._free_percents[index] = max(0, self._free_percents[index] - gpu_percent)

    def best_place(
        self,
        options: Sequence[Option],
        end_by_ns: int,
        slo_ns: int,
        *,
        most_starts: int | None = None,
        rooms: Sequence[Room] = (),
    ) -> Place | None:
        """The run and start of the least price, delay counted; None where none is in time.

        Only the first `most_starts` moments at which GPU% comes free are looked at, by default all. Beside
        the run each of `rooms` is left on its own, not all at once: hardly ever everything arrives together.
        """
        now_ns = self._times_ns[0]
        best, best_start_ns, best_price = None, 0, inf
        for step, start_ns in enumerate(self._times_ns[:most_starts]):
            factor = 1 + PRICE_OF_DELAY * (start_ns - now_ns) / slo_ns
            free_percent, within_ns = self._free_percents[step], end_by_ns - start_ns
            for option in options:
                if option.price * factor >= best_price:
                    break
                if option.gpu_percent > free_percent or option.latency_ns > within_ns:
                    continue
                if self._stays_free(step, start_ns + option.latency_ns, option.gpu_percent, rooms):
                    best, best_start_ns, best_price = option, start_ns, option.price * factor
                    break
        return Place(best_start_ns, best) if best else None

    def _stays_free(self, step: int, end_ns: int, gpu_percent: int, rooms: Sequence[Room]) -> bool:
        free_percents = self._free_percents
        for later in range(step + 1, len(free_percents)):
            if self._times_ns[later] >= end_ns:
                break
            if free_percents[later] < gpu_percent:
                return False
        start_ns = self._times_ns[step]
        return not any(self._is_in_the_way(start_ns, end_ns, gpu_percent, room) for room in rooms)

    def _is_in_the_way(self, start_ns: int, end_ns: int, gpu_percent: int, room: Room) -> bool:
        """Whether a run takes of a room what there is of it."""
        if end_ns <= room.start_ns or room.end_ns <= start_ns:
            return False
        free_percent = self._free_percents[bisect_right(self._times_ns, max(start_ns, room.start_ns)) - 1]
        return free_percent - gpu_percent < min(free_percent, room.gpu_percent)

    def _step_at(self, time_ns: int) -> int:
        """The step that begins at that time, from now on; made if there is none."""
        index = bisect_left(self._times_ns, time_ns)
        if index == len(self._times_ns) or self._times_ns[index] != time_ns:
            self._times_ns.insert(index, time_ns)
            self._free_percents.insert(index, self._free_percents[index - 1])
        return index
