"""Work on every core that makes room for all else, so that no core falls asleep.

A core that sleeps takes tens of microseconds to wake, on a virtual machine more, and finds its caches empty.
Who waits for a GPU's batch spins meanwhile: there cores are awake.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from subprocess import Popen
from typing import NoReturn


@contextmanager
def busy_cores() -> Iterator[None]:
    """Keep all cores awake while the block runs."""
    with ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            spinning = stack.enter_context(Popen([sys.executable, "-m", "benchmarks.busy_cores"]))
            stack.callback(spinning.kill)
        yield


def _spin() -> NoReturn:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    # Not a bare loop: a kernel that preempts lazily lets that run on until its next tick, 4 ms at 250 Hz,
    # when another core makes a task ready here. Who enters the kernel gives way at once.
    while True:
        os.sched_yield()


if __name__ == "__main__":
    _spin()
