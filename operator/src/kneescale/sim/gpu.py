"""A simulated GPU: batches that run at once, and how fast each one is."""

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
        #: By model and batch, then by GPU%: as the tenants say.
        self._latencies_ns: dict[tuple[int, int], dict[float, float]] = {}
        #: What runs, each with its row of these.
        self._runs: dict[Run, dict[float, float]] = {}
        #: What ends next; None where that is to be found out.
        self._next: Run | None = None
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
        latencies_ns = self._latencies_ns.setdefault((run.model, run.batch), {})
        self._set_end(run, latencies_ns)
        self._runs[run] = latencies_ns
        self._ask(run.gpu_percent, run.started_ns)

    def next_end_ns(self) -> int | None:
        """When the next batch ends."""
        if self._next is None:
            for run in self._runs:
                if self._next is None or run.end_ns < self._next.end_ns:
                    self._next = run
        return self._next.end_ns if self._next else None

    def take_ended(self, now_ns: int) -> list[Run]:
        """The batches that have ended by now, in order; their GPU% is free."""
        ended: list[Run] = []
        while (end_ns := self.next_end_ns()) is not None and end_ns <= now_ns:
            assert self._next is not None
            run, self._next = self._next, None
            del self._runs[run]
            ended.append(run)
            self._ask(-run.gpu_percent, end_ns)
        return ended

    def _ask(self, more_percent: int, now_ns: int) -> None:
        before_percent = self._asked_percent
        self._asked_percent += more_percent
        if max(before_percent, self._asked_percent) > WHOLE_GPU_PERCENT:
            self._share_anew(now_ns)

    def _share_anew(self, now_ns: int) -> None:
        divisor = max(self._asked_percent, WHOLE_GPU_PERCENT)
        for run, latencies_ns in self._runs.items():
            share_percent = run.gpu_percent * WHOLE_GPU_PERCENT / divisor
            if share_percent != run.share_percent:
                run.left = max(0.0, run.left - (now_ns - run.since_ns) / run.whole_ns)
                run.since_ns, run.share_percent = now_ns, share_percent
                self._set_end(run, latencies_ns)

    def _set_end(self, run: Run, latencies_ns: dict[float, float]) -> None:
        latency_ns = latencies_ns.get(run.share_percent)
        if latency_ns is None:
            latency_ns = self._tenants[run.model].shared_latency_ns(run.share_percent, run.batch)
            latencies_ns[run.share_percent] = latency_ns
        run.whole_ns = run.slowness * latency_ns
        run.end_ns = run.since_ns + round(run.left * run.whole_ns)
        if self._next is run:
            self._next = None
        elif self._next is not None and run.end_ns < self._next.end_ns:
            self._next = run
