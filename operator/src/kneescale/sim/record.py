"""What happened to every request of one simulated GPU."""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kneescale.core.units import NS_PER_MS
from kneescale.sim.run import Run
from kneescale.sim.tenant import Tenant

_Exit = tuple[int, int, int]


class Record:
    """Collects what the engine does. Counts requests that arrive from `from_ns` to `until_ns`.

    It is over when a model has missed more than it may, by `allowed_misses`.
    """

    def __init__(
        self,
        tenants: tuple[Tenant, ...],
        arrivals_ns: Sequence[Sequence[int]],
        from_ns: int,
        until_ns: int,
        allowed_misses: Sequence[int] | None = None,
    ) -> None:
        self.tenants = tenants
        self._arrivals_ns = arrivals_ns
        self._from_ns = from_ns
        self._until_ns = until_ns
        self.span_ns = until_ns - from_ns
        self._first = [bisect_left(times, from_ns) for times in arrivals_ns]
        self.sent = [
            bisect_left(times, until_ns) - first
            for times, first in zip(arrivals_ns, self._first, strict=True)
        ]
        self.within_slo = [0] * len(tenants)
        self.dropped = [0] * len(tenants)
        #: Requests that were refused or answered late, so far.
        self.missed = [0] * len(tenants)
        #: Requests answered from `from_ns` to `until_ns`, whenever they came.
        self.answered_meanwhile = [0] * len(tenants)
        self._allowed_misses = allowed_misses
        self.is_over = False
        #: (number of the first request, how many, when answered), by model.
        self._answers: list[list[_Exit]] = [[] for _ in tenants]
        self.runs: list[Run] = []

    def drop(self, model: int, first: int, count: int) -> None:
        """Requests were refused."""
        counted = max(0, first + count - max(first, self._first[model]))
        self.dropped[model] += counted
        self._miss(model, counted)

    def end(self, run: Run) -> None:
        """A batch was answered."""
        model, last = run.model, run.first + run.batch
        counted_from = max(run.first, self._first[model])
        if counted_from < last:
            start_ns = run.end_ns - self.tenants[model].slo_ns
            in_time = last - bisect_left(self._arrivals_ns[model], start_ns, counted_from, last)
            self.within_slo[model] += in_time
            self._miss(model, last - counted_from - in_time)
            self._answers[model].append((counted_from, last - counted_from, run.end_ns))
        if self._from_ns <= run.end_ns <= self._until_ns:
            self.answered_meanwhile[model] += run.batch
        self.runs.append(run)

    def _miss(self, model: int, count: int) -> None:
        self.missed[model] += count
        if self._allowed_misses is not None and self.missed[model] > self._allowed_misses[model]:
            self.is_over = True

    def waits_ms(self, model: int) -> NDArray[np.float64]:
        """How long each answered request took from its arrival, in the order of arrival."""
        firsts, counts, ends_ns = self._answered(model)
        # The numbers first .. first + count - 1 of each batch, all in a row.
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        numbers = np.repeat(firsts, counts) + offsets
        arrived_ns = np.asarray(self._arrivals_ns[model], dtype=np.int64)[numbers]
        waits_ms: NDArray[np.float64] = (np.repeat(ends_ns, counts) - arrived_ns) / NS_PER_MS
        return waits_ms

    def batches(self, model: int) -> NDArray[np.int64]:
        """How many requests each batch answered."""
        counts: NDArray[np.int64] = self._answered(model)[1]
        return counts

    def _answered(self, model: int) -> NDArray[np.int64]:
        return np.array(self._answers[model], dtype=np.int64).reshape(-1, 3).T
