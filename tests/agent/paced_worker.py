"""A worker in real time whose requests and batch times are given: a simulated one, over a socket."""

import heapq
import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import Thread

from harness.spans import Span
from kneescale.core.wire import Arrived, Done, Grant, Refuse
from tests.agent.fake_worker import FakeWorker

#: When nothing is due it looks up this often.
_IDLE_NS = 10_000_000


class PacedWorker(Thread):
    """Lets requests arrive `arrivals_ns` after `start_ns`, monotonic, and serves until none is left.

    A grant of `batch_ns(grant)` takes that long; any number run at once, but for those that follow another.
    """

    def __init__(
        self, worker: FakeWorker, start_ns: int, arrivals_ns: Sequence[int], batch_ns: Callable[[Grant], int]
    ) -> None:
        super().__init__(daemon=True)
        self._worker = worker
        self._due_ns = deque(start_ns + arrival_ns for arrival_ns in arrivals_ns)
        self._queued_ns: deque[int] = deque()
        self._batch_ns = batch_ns
        #: When each batch ends, its grant (by id where two end at once), when it started, and when its
        #: requests arrived.
        self._running: list[tuple[int, int, Grant, int, list[int]]] = []
        #: When the batch of each grant ends.
        self._ends_ns: dict[int, int] = {}
        #: When its batches ran, and the GPU% they had.
        self.spans: list[Span] = []
        #: How long each answered request took, and how many were refused.
        self.waits_ns: list[int] = []
        self.refused = 0

    def run(self) -> None:
        """Serve."""
        while self._due_ns or self._queued_ns or self._running:
            for decision in self._worker.decisions_until(self._next_ns()):
                if isinstance(decision, Refuse):
                    self.refused += len(self._take(decision.count))
                else:
                    self._start(decision)
            now_ns = time.monotonic_ns()
            while self._due_ns and self._due_ns[0] <= now_ns:
                self._queued_ns.append(self._due_ns.popleft())
                self._worker.send(Arrived(1, self._queued_ns[-1]))
            while self._running and self._running[0][0] <= now_ns:
                self._end()

    def _next_ns(self) -> int:
        times_ns = [time.monotonic_ns() + _IDLE_NS]
        times_ns += [self._due_ns[0]] if self._due_ns else []
        times_ns += [self._running[0][0]] if self._running else []
        return min(times_ns)

    def _take(self, count: int) -> list[int]:
        return [self._queued_ns.popleft() for _ in range(count)]

    def _start(self, grant: Grant) -> None:
        started_ns = max(time.monotonic_ns(), self._ends_ns.get(grant.follows, 0))
        end_ns = self._ends_ns[grant.grant_id] = started_ns + self._batch_ns(grant)
        heapq.heappush(self._running, (end_ns, grant.grant_id, grant, started_ns, self._take(grant.batch)))

    def _end(self) -> None:
        end_ns, _, grant, started_ns, arrived_ns = heapq.heappop(self._running)
        self._worker.send(Done(grant.grant_id, started_ns, end_ns))
        self.spans.append((started_ns, end_ns, grant.gpu_percent))
        self.waits_ns += [end_ns - each_ns for each_ns in arrived_ns]
