"""What the requests of the last half minute saw, as the agent reports it upward."""

from collections import deque

import numpy as np

from kneescale.core.units import NS_PER_MS, NS_PER_S, NS_PER_US
from kneescale.core.wire import Measured

WINDOW_NS = 30 * NS_PER_S


class Window:
    """A sliding window over ended requests; pure, the time comes in."""

    def __init__(self, started_ns: int) -> None:
        self._started_ns = started_ns
        #: (end, latency; None for a refused or failed request), oldest first.
        self._ended: deque[tuple[int, int | None]] = deque()

    def answered(self, latency_ns: int, now_ns: int) -> None:
        """A request was answered."""
        self._add(now_ns, latency_ns)

    def failed(self, now_ns: int) -> None:
        """A request was refused, failed or abandoned."""
        self._add(now_ns, None)

    def measure(self, slo_ns: int, now_ns: int) -> Measured:
        """The window's figures against the SLO; percentiles are 0 when nothing was answered."""
        self._forget(now_ns)
        latencies_ns = np.array(
            [latency for _, latency in self._ended if latency is not None], dtype=np.int64
        )
        answered = len(latencies_ns)
        p50_us, p99_us = np.percentile(latencies_ns, (50, 99)) / NS_PER_US if answered else (0, 0)
        return Measured(
            window_ms=min(WINDOW_NS, now_ns - self._started_ns) // NS_PER_MS,
            requests=len(self._ended),
            answered=answered,
            within_slo=int((latencies_ns <= slo_ns).sum()),
            failed=len(self._ended) - answered,
            p50_us=round(p50_us),
            p99_us=round(p99_us),
        )

    def _add(self, now_ns: int, latency_ns: int | None) -> None:
        # Not only when asked: no agent asks a worker that none has greeted.
        self._forget(now_ns)
        self._ended.append((now_ns, latency_ns))

    def _forget(self, now_ns: int) -> None:
        while self._ended and self._ended[0][0] < now_ns - WINDOW_NS:
            self._ended.popleft()
