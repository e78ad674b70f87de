"""A worker in real time whose requests and batch times are given: a simulated one, over a socket."""

import heapq
import time
from collections.abc import Callable, Sequence
from threading import Thread

from kneescale.core.wire import Arrived, Done, Grant
from kneescale.testing.fake_worker import FakeWorker

#: When nothing is due it looks up this often.
_IDLE_NS = 10_000_000


class PacedWorker(Thread):
    """Lets requests arrive `arrivals_ns` after `start_ns`, monotonic, and runs its grants until all are done.

    A grant of `batch_ns(grant)` takes that long; any number run at once.
    """

    def __init__(
        self, worker: FakeWorker, start_ns: int, arrivals_ns: Sequence[int], batch_ns: Callable[[Grant], int]
    ) -> None:
        super().__init__(daemon=True)
        self._worker = worker
        self._due_ns = [start_ns + arrival_ns for arrival_ns in arrivals_ns]
        self._batch_ns = batch_ns
        self._running: list[tuple[int, int, Grant]] = []
        #: When each batch ended, after `start_ns`, and how many requests it had.
        self.answers: list[tuple[int, int]] = []
        self._start_ns = start_ns

    def run(self) -> None:
        """Serve."""
        arrived = answered = 0
        while answered < len(self._due_ns):
            next_ns = min(
                self._due_ns[arrived] if arrived < len(self._due_ns) else 1 << 62,
                self._running[0][0] if self._running else 1 << 62,
                time.monotonic_ns() + _IDLE_NS,
            )
            for grant in self._worker.grants_until(next_ns):
                started_ns = time.monotonic_ns()
                end_ns = started_ns + self._batch_ns(grant)
                heapq.heappush(self._running, (end_ns, started_ns, grant))
            now_ns = time.monotonic_ns()
            while arrived < len(self._due_ns) and self._due_ns[arrived] <= now_ns:
                self._worker.send(Arrived(1, self._due_ns[arrived]))
                arrived += 1
            answered += self._end_due(now_ns)

    def _end_due(self, now_ns: int) -> int:
        answered = 0
        while self._running and self._running[0][0] <= now_ns:
            end_ns, started_ns, grant = heapq.heappop(self._running)
            self._worker.send(Done(grant.grant_id, started_ns, end_ns))
            self.answers.append((end_ns - self._start_ns, grant.batch))
            answered += grant.batch
        return answered
