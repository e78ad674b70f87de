"""Many independent pieces of work on all cores, with a line of progress where they take long."""

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import active_children
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")

#: Whoever waits longer than this is told how far it is, and from then on this often,
PROGRESS_S = 2.0
#: or after so much of the time that it took so far, where that is longer.
_PROGRESS_SHARE = 0.1


def run_all(jobs: Mapping[str, Callable[[], T]]) -> dict[str, T]:
    """The result of each job, by its name; jobs and results can be pickled.

    Progress goes to stderr. The first error of a job, or an interrupt, ends all, and is raised.
    """
    with ProcessPoolExecutor(min(len(jobs), os.cpu_count() or 1), initializer=_start_worker) as pool:
        try:
            futures = {name: pool.submit(job) for name, job in jobs.items()}
            _await(futures)
            return {name: future.result() for name, future in futures.items()}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            # The executor would let those that run go on to their end.
            for worker in active_children():
                worker.terminate()
            raise


@contextmanager
def telling(name: str) -> Iterator[None]:
    """Tell of what this process itself does inside, by that name, as often as of jobs."""
    done = Event()
    teller = Thread(target=_tell_until, args=(done, name), daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def _tell_until(done: Event, name: str) -> None:
    started_s = time.monotonic()
    while not done.wait(_pause_s(time.monotonic() - started_s)):
        _tell(time.monotonic() - started_s, name)


def _start_worker() -> None:
    # A terminal interrupts all processes at once; the workers are ended by the one that started them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Simulations make no cycles, and looking for some takes a twelfth of their time.
    gc.disable()


def _await(futures: Mapping[str, Future[T]]) -> None:
    """Return when all are done; raises the first error."""
    started_s = told_s = time.monotonic()
    running = dict(futures)
    while running:
        for done in wait(running.values(), timeout=PROGRESS_S, return_when=FIRST_COMPLETED).done:
            done.result()
        running = {name: future for name, future in running.items() if not future.done()}
        now_s = time.monotonic()
        if running and now_s - told_s >= _pause_s(now_s - started_s):
            told_s = now_s
            how_far = _how_far(now_s - started_s, len(futures) - len(running), len(futures))
            _tell(now_s - started_s, next(iter(running)), how_far)


def _pause_s(elapsed_s: float) -> float:
    """Between two lines."""
    return max(PROGRESS_S, _PROGRESS_SHARE * elapsed_s)


def _how_far(elapsed_s: float, done: int, total: int) -> str:
    left = f", about {elapsed_s / done * (total - done):.0f} s left" if done else ""
    return f", {done} of {total} done{left}"


def _tell(elapsed_s: float, name: str, how_far: str = "") -> None:
    sys.stderr.write(f"[{elapsed_s:4.0f} s] {name}: running{how_far}\n")
