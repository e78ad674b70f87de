"""The fairness scoreboard: how much GPU area each partition had over about the last ten sessions.

D-STACK (arXiv 2304.13541) keeps GPU runtime over its last sessions; here older area fades out
exponentially instead of dropping off an edge, so that a score never jumps.
"""

from math import exp

from kneescale.core.units import WHOLE_GPU_PERCENT

SESSIONS = 10


class Scoreboard:
    """Fading GPU area (GPU% x ns) per partition."""

    def __init__(self) -> None:
        self._areas: dict[str, float] = {}
        self._faded_ns = 0
        #: What counts as of late.
        self.window_ns = 1

    def set_session(self, session_ns: int) -> None:
        """The session from now on: the longest SLO on the device."""
        self.window_ns = SESSIONS * session_ns

    def charge(self, partition: str, gpu_percent: int, duration_ns: int, now_ns: int) -> None:
        """Count a run as it starts; a negative duration takes back what it did not use."""
        self._fade(now_ns)
        self._areas[partition] = self._areas.get(partition, 0.0) + gpu_percent * duration_ns

    def forget(self, partition: str) -> None:
        """The partition is gone."""
        self._areas.pop(partition, None)

    def area(self, partition: str) -> float:
        """The partition's area, in GPU% x ns, faded to the last charge (so comparable between partitions)."""
        return self._areas.get(partition, 0.0)

    @property
    def total_area(self) -> float:
        """What all partitions had, faded likewise."""
        return sum(self._areas.values())

    def busy_share(self, now_ns: int) -> float:
        """The part of the whole GPU that was used over the window until now, 0 to about 1."""
        self._fade(now_ns)
        return self.total_area / (WHOLE_GPU_PERCENT * self.window_ns)

    def share(self, partition: str) -> float:
        """The partition's part of the whole GPU over the window, 0 to about 1."""
        return self.area(partition) / (WHOLE_GPU_PERCENT * self.window_ns)

    def _fade(self, now_ns: int) -> None:
        if now_ns <= self._faded_ns:
            return
        factor = exp((self._faded_ns - now_ns) / self.window_ns)
        for partition in self._areas:
            self._areas[partition] *= factor
        self._faded_ns = now_ns
