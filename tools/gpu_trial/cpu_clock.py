"""How busy this machine's CPUs are, all processes together."""

import os
import time
from pathlib import Path

_STAT = Path("/proc/stat")
#: Columns of its first line (proc(5)): user, nice, system, irq and softirq; not idle, nor waiting for a disk.
_BUSY = (0, 1, 2, 5, 6)


class CpuClock:
    """Started when it is made."""

    def __init__(self) -> None:
        self._began_s, self._busy_s = time.monotonic(), _busy_s()

    def busy_cpus(self) -> float:
        """CPUs that were busy since then, in the mean."""
        return (_busy_s() - self._busy_s) / (time.monotonic() - self._began_s)


def _busy_s() -> float:
    _, *ticks = _STAT.read_text().split("\n", 1)[0].split()
    return sum(int(ticks[column]) for column in _BUSY) / os.sysconf("SC_CLK_TCK")
