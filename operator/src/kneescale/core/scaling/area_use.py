"""How much of a device is used: what an autoscaler tells lateness for lack of GPU by."""

from collections import deque

from kneescale.core.units import NS_PER_S, PERMILLE, WHOLE_GPU_PERCENT

_WINDOW_NS = 10 * NS_PER_S


class AreaUse:
    """The share of a device's GPU area that was granted over the last ten seconds or so."""

    def __init__(self) -> None:
        #: Since the oldest within the window, or the one before it.
        self._samples: deque[tuple[int, int]] = deque()

    def add(self, now_ns: int, area: int) -> None:
        """So much (GPU% times nanoseconds) has been granted in all by now; later than the last time."""
        self._samples.append((now_ns, area))
        while len(self._samples) > 2 and self._samples[1][0] <= now_ns - _WINDOW_NS:
            self._samples.popleft()

    @property
    def permille(self) -> int:
        """In permille; 0 before there are two samples."""
        (start_ns, before), (end_ns, after) = self._samples[0], self._samples[-1]
        if end_ns == start_ns:
            return 0
        return round(PERMILLE * (after - before) / (WHOLE_GPU_PERCENT * (end_ns - start_ns)))
