"""A simulated GPU: batches that run at once, and how fast each one is."""

import heapq
from itertools import count

from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.sim.run import Run
from kneescale.sim.tenant import Tenant


class Gpu:
    """Every run has the GPU% that it asked for while they fit together; else all shrink in proportion.

    A scheduler that grants GPU% never lets it come to that. Without grants, as where processes share a GPU
    on their own, runs that each take all they can get slow each other down.
    """

    def __init__(self, tenants: tuple[Tenant, ...]) -> None:
        self._tenants = tenants
        self._runs: dict[Run, None] = {}
        self._ends: list[tuple[int, int, Run]] = []
        self._sequence = count()
        self._asked_percent = 0

    @property
    def runs(self) -> tuple[Run, ...]:
        """What runs now, oldest first."""
        return tuple(self._runs)

    @property
    def asked_percent(self) -> int:
        """The GPU% that all runs ask for; only without grants is it more than 100."""
        return self._asked_percent

    def start(self, run: Run) -> None:
        """Start a batch, at its `started_ns`."""
        run.since_ns, run.share_percent = run.started_ns, run.gpu_percent
        self._set_end(run)
        self._runs[run] = None
        self._ask(run.gpu_percent, run.started_ns)

    def next_end_ns(self) -> int | None:
        """When the next batch ends."""
        while self._ends and not self._holds(self._ends[0]):
            heapq.heappop(self._ends)
        return self._ends[0][0] if self._ends else None

    def take_ended(self, now_ns: int) -> list[Run]:
        """The batches that have ended by now, in order; their GPU% is free."""
        ended: list[Run] = []
        while (end_ns := self.next_end_ns()) is not None and end_ns <= now_ns:
            run = heapq.heappop(self._ends)[2]
            del self._runs[run]
            ended.append(run)
            self._ask(-run.gpu_percent, end_ns)
        return ended

    def _holds(self, entry: tuple[int, int, Run]) -> bool:
        end_ns, _, run = entry
        return run in self._runs and run.end_ns == end_ns

    def _ask(self, more_percent: int, now_ns: int) -> None:
        before_percent = self._asked_percent
        self._asked_percent += more_percent
        if max(before_percent, self._asked_percent) > WHOLE_GPU_PERCENT:
            self._share_anew(now_ns)

    def _share_anew(self, now_ns: int) -> None:
        divisor = max(self._asked_percent, WHOLE_GPU_PERCENT)
        for run in self._runs:
            share_percent = run.gpu_percent * WHOLE_GPU_PERCENT / divisor
            if share_percent == run.share_percent:
                continue
            run.left -= (now_ns - run.since_ns) / self._whole_ns(run)
            run.since_ns, run.share_percent = now_ns, share_percent
            self._set_end(run)

    def _set_end(self, run: Run) -> None:
        run.end_ns = run.since_ns + max(1, round(max(0.0, run.left) * self._whole_ns(run)))
        heapq.heappush(self._ends, (run.end_ns, next(self._sequence), run))

    def _whole_ns(self, run: Run) -> float:
        return run.slowness * self._tenants[run.model].shared_latency_ns(run.share_percent, run.batch)
