"""The fairness scoreboard: how much GPU area each partition had over about the last ten sessions.

D-STACK (arXiv 2304.13541) keeps GPU runtime over its last sessions; here older area fades out
exponentially instead of dropping off an edge, so that a score never jumps.
"""

from math import exp
from typing import Final

from kneescale.core.units import WHOLE_GPU_PERCENT

SESSIONS: Final = 10

#: Past this many windows the numbers below are scaled back before they grow out of range.
_MOST_WINDOWS: Final = 100


class Scoreboard:
    """Fading GPU area (GPU% x ns) per partition, and of what was refused.

    Rather than to fade all that is old, what is new is counted at e^(time / window): one sum, however many
    partitions.
    """

    def __init__(self) -> None:
        self._areas: dict[str, float] = {}
        self._total = 0.0
        self._refused = 0.0
        self._from_ns = 0
        self._last_ns = 0
        self._last_worth = 1.0
        #: What counts as of late.
        self.window_ns = 1

    def set_session(self, session_ns: int) -> None:
        """The session from now on: the longest SLO on the device. All shares stay what they are."""
        self._scale_back()
        before_ns, self.window_ns = self.window_ns, SESSIONS * session_ns
        self._scale(self.window_ns / before_ns)

    def charge(self, partition: str, gpu_percent: int, duration_ns: int, now_ns: int) -> None:
        """Count a run as it starts; a negative duration takes back what it did not use."""
        area = gpu_percent * duration_ns * self._worth(now_ns)
        self._areas[partition] = self._areas.get(partition, 0.0) + area
        self._total += area

    def refuse(self, area: float, now_ns: int) -> None:
        """Count the area that refused items would have taken."""
        self._refused += area * self._worth(now_ns)

    def forget(self, partition: str) -> None:
        """The partition is gone."""
        self._total -= self._areas.pop(partition, 0.0)

    def area(self, partition: str) -> float:
        """The partition's area, in GPU% x ns, faded to the last charge (so comparable between partitions)."""
        return self._areas.get(partition, 0.0) / self._worth(self._last_ns)

    @property
    def total_area(self) -> float:
        """What all partitions had, faded likewise."""
        return self._total / self._worth(self._last_ns)

    def busy_share(self, now_ns: int) -> float:
        """The part of the whole GPU that was used over the window until now, 0 to about 1."""
        return self._total / self._worth(now_ns) / (WHOLE_GPU_PERCENT * self.window_ns)

    def refused_share(self, now_ns: int) -> float:
        """What was refused over the window until now, as a part of the whole GPU."""
        if not self._refused:
            return 0.0
        return self._refused / self._worth(now_ns) / (WHOLE_GPU_PERCENT * self.window_ns)

    def _worth(self, now_ns: int) -> float:
        if now_ns > self._last_ns:
            self._last_ns = now_ns
            if now_ns - self._from_ns > _MOST_WINDOWS * self.window_ns:
                self._scale_back()
            self._last_worth = exp((now_ns - self._from_ns) / self.window_ns)
        return self._last_worth

    def _scale_back(self) -> None:
        self._scale(exp(-min((self._last_ns - self._from_ns) / self.window_ns, 700.0)))
        self._from_ns = self._last_ns
        self._last_worth = 1.0

    def _scale(self, factor: float) -> None:
        self._areas = {partition: area * factor for partition, area in self._areas.items()}
        self._total *= factor
        self._refused *= factor
