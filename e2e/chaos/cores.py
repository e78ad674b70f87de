"""When this machine had no core for who wanted to run, by the kernel's own account.

Pressure stall information (the kernel's Documentation/accounting/psi.rst): for how long at least one task had
to wait for a core. A cluster's nodes, its control plane and the clients share the cores of one machine, and
what they lack there says nothing of the software under test.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from kneescale.core.units import US_PER_S

_PRESSURE = Path("/proc/pressure/cpu")
#: Between two looks.
PERIOD_S = 1.0
#: Where some task had to wait for this part of a period or more, the cores were short.
_SHORT = 0.8


@contextmanager
def watched_cores() -> Iterator[Sequence[float]]:
    """Watch the cores; the list holds when (monotonic seconds) each period began in which they were short.

    It stays empty where the kernel does not tell.
    """
    short_s: list[float] = []
    if not _PRESSURE.exists():
        yield short_s
        return
    stop = Event()
    thread = Thread(target=_watch, args=(_now(), short_s, stop), daemon=True)
    thread.start()
    try:
        yield short_s
    finally:
        stop.set()
        thread.join()


def waited_s(pressure: str) -> float:
    """For how long some task has waited since the machine started, of the text of /proc/pressure/cpu."""
    (some,) = (line for line in pressure.splitlines() if line.startswith("some "))
    return int(some.rpartition("total=")[2]) / US_PER_S


def _watch(before: tuple[float, float], short_s: list[float], stop: Event) -> None:
    while not stop.wait(PERIOD_S):
        (began_s, waited_before_s), (now_s, waited_now_s) = before, _now()
        if waited_now_s - waited_before_s >= _SHORT * (now_s - began_s):
            short_s.append(began_s)
        before = now_s, waited_now_s


def _now() -> tuple[float, float]:
    """The time, and for how long some task has waited until now."""
    return time.monotonic(), waited_s(_PRESSURE.read_text())
