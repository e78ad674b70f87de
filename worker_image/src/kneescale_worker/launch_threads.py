"""Threads that launch batches on a GPU, and have launched all their sizes before."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from threading import Barrier
from typing import TypeVar

R = TypeVar("R")


class LaunchThreads:
    """So many threads, and no others: what torch knows of a batch's size, it knows by thread (ADR 36)."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="launch")

    def on_each(self, work: Callable[[int], None]) -> None:
        """Run `work` with each thread's number, on all at once.

        Raises what the first of them raised, when all are over.
        """
        together = Barrier(self._count)

        def one(number: int) -> None:
            # Nobody is done before all have begun, so that each thread takes one.
            together.wait()
            work(number)

        futures = [self._pool.submit(one, number) for number in range(self._count)]
        wait(futures)
        for future in futures:
            future.result()

    def run(self, work: Callable[[], R]) -> R:
        """Run `work` on one of them, a free one if there is one; raises what it raises."""
        return self._pool.submit(work).result()
