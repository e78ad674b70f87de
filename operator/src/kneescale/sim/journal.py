"""What became of each request of a GPU that serves on and on."""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kneescale.core.units import NS_PER_MS
from kneescale.sim.run import Run

_PENDING, _REFUSED = -1, -2


class Journal:
    """Collects what the engine does. `arrivals_ns` are the requests by model, and may grow at their end."""

    #: It goes on for ever.
    is_over = False

    def __init__(self, arrivals_ns: Sequence[Sequence[int]]) -> None:
        self._arrivals_ns = arrivals_ns
        #: How long each request took, by model and number; or what it is instead of answered.
        self._waits_ns: list[list[int]] = [[] for _ in arrivals_ns]
        #: GPU area (GPU% x ns) that was granted, and GPU time of all batches that have ended, by model.
        self.area = [0] * len(arrivals_ns)
        self.busy_ns = [0] * len(arrivals_ns)

    def drop(self, model: int, first: int, count: int) -> None:
        """Requests were refused."""
        self._note(model, first, [_REFUSED] * count)

    def end(self, run: Run) -> None:
        """A batch was answered."""
        arrived_ns = self._arrivals_ns[run.model][run.first : run.first + run.batch]
        self._note(run.model, run.first, [run.end_ns - at_ns for at_ns in arrived_ns])
        took_ns = run.end_ns - run.started_ns
        self.busy_ns[run.model] += took_ns
        self.area[run.model] += run.gpu_percent * took_ns

    def _note(self, model: int, first: int, waits_ns: Sequence[int]) -> None:
        known = self._waits_ns[model]
        known.extend([_PENDING] * (first + len(waits_ns) - len(known)))
        known[first : first + len(waits_ns)] = waits_ns

    def arrived_ns(self, model: int) -> NDArray[np.int64]:
        """When each request came."""
        return np.array(self._arrivals_ns[model], dtype=np.int64)

    def waits_ms(self, model: int) -> NDArray[np.float64]:
        """How long each request took from then on; infinite where it was refused, or was never answered."""
        waits = np.full(len(self._arrivals_ns[model]), np.inf)
        known = np.array(self._waits_ns[model], dtype=np.float64)
        waits[: len(known)] = np.where(known < 0, np.inf, known / NS_PER_MS)
        return waits

    def over_since(self, model: int, since_ns: int) -> NDArray[np.float64]:
        """How long those requests took, in ms, that came since then and are over; infinite where refused."""
        first = bisect_left(self._arrivals_ns[model], since_ns)
        waits_ns = np.array(self._waits_ns[model][first:], dtype=np.float64)
        over = waits_ns[waits_ns != _PENDING]
        return np.where(over == _REFUSED, np.inf, over / NS_PER_MS)

    def in_flight(self, model: int, from_ns: int, until_ns: int, slo_ns: int) -> float:
        """How many requests waited or ran in the mean over that time.

        One that was refused counts for the length of the SLO, about when that becomes known; one that took
        ten times the SLO and more is not seen.
        """
        arrivals_ns = self._arrivals_ns[model]
        first, last = bisect_left(arrivals_ns, from_ns - 10 * slo_ns), bisect_left(arrivals_ns, until_ns)
        arrived = np.array(arrivals_ns[first:last], dtype=np.float64)
        waits = np.full(last - first, float(_PENDING))
        known = self._waits_ns[model][first:last]
        waits[: len(known)] = known
        ends = np.where(waits == _REFUSED, arrived + slo_ns, arrived + waits)
        ends[waits == _PENDING] = until_ns
        spans = np.minimum(ends, until_ns) - np.maximum(arrived, from_ns)
        return float(np.maximum(spans, 0).sum()) / (until_ns - from_ns)
