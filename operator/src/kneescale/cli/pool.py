"""Many independent pieces of work on all cores, with a line of progress where they take long."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import TypeVar

T = TypeVar("T")

#: Whoever waits longer than this is told how far it is, and from then on this often.
_PROGRESS_S = 2.0


def run_all(jobs: Mapping[str, Callable[[], T]]) -> dict[str, T]:
    """The result of each job, by its name; jobs and results can be pickled.

    Progress goes to stderr. The first error of a job ends all, and is raised.
    """
    started_s = told_s = time.monotonic()
    results: dict[str, T] = {}
    with ProcessPoolExecutor(min(len(jobs), os.cpu_count() or 1)) as pool:
        names: dict[Future[T], str] = {pool.submit(job): name for name, job in jobs.items()}
        try:
            for done in as_completed(names):
                results[names[done]] = done.result()
                if time.monotonic() - told_s > _PROGRESS_S:
                    told_s = time.monotonic()
                    _tell(told_s - started_s, names[done], len(results), len(jobs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {name: results[name] for name in jobs}


def _tell(elapsed_s: float, name: str, done: int, total: int) -> None:
    left_s = elapsed_s / done * (total - done)
    sys.stderr.write(f"[{elapsed_s:4.0f} s] {name}: {done} of {total} done, about {left_s:.0f} s left\n")
