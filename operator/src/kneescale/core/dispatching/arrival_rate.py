"""How far apart a partition's items come, and so when the next ones may."""

from typing import Final

#: A rate is the mean over about this many arrivals.
RATE_ARRIVALS: Final = 50

#: So many gaps without an arrival are chance; after that the next items are further off, the longer it lasts.
SURE_GAPS: Final = 5


class ArrivalRate:
    """The rate of late, in nanoseconds between two items."""

    def __init__(self) -> None:
        #: The mean gap, and its mean deviation; 0 while fewer than two arrivals are known.
        self.gap_ns = 0.0
        self.deviation_ns = 0.0
        self._gaps = 0
        self._last_ns = 0

    @property
    def is_known(self) -> bool:
        """Whether two arrivals were seen."""
        return self._gaps > 0

    def arrived(self, count: int, now_ns: int) -> None:
        """So many items came at once; those from before the last ones are told again, and say nothing."""
        if now_ns < self._last_ns:
            return
        if self._last_ns:
            more_ns = (now_ns - self._last_ns) / count - self.gap_ns
            if self._gaps:
                gaps = max(count, min(RATE_ARRIVALS - 1, self._gaps + count - 1))
                self.deviation_ns += (abs(more_ns) - self.deviation_ns) * count / gaps
            # Each of the items had that gap.
            self._gaps = min(RATE_ARRIVALS, self._gaps + count)
            self.gap_ns += more_ns * count / max(count, self._gaps)
        self._last_ns = now_ns

    def promised_items(self, now_ns: int, duration_ns: int) -> float:
        """How many items come in so long; the rate fades while none does."""
        if not self._gaps:
            return 0.0
        return duration_ns / max(self.gap_ns, now_ns - self._last_ns, 1)

    def last_start_ns(self, more: int, start_ns: float) -> float:
        """Until when to wait for so many more items if none comes: they are to start by `start_ns`.

        They are counted on one mean deviation further apart than they come: of Poisson's gaps many are long.
        """
        by_rate_ns = start_ns - more * (self.gap_ns + self.deviation_ns)
        gaps = more / SURE_GAPS
        by_silence_ns = (start_ns + gaps * self._last_ns) / (1 + gaps)
        return min(by_rate_ns, by_silence_ns)
