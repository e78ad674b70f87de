"""What happened to every request of one simulated GPU, and the figures that follow from it."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kneescale.core.units import NS_PER_MS, NS_PER_S, WHOLE_GPU_PERCENT
from kneescale.sim.run import Run
from kneescale.sim.tenant import Tenant

_Exit = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """One model, over the requests that arrived after the warm-up. Dropped ones were sent, and missed."""

    name: str
    sent: int
    answered: int
    dropped: int
    within_slo: int
    goodput_rps: float
    p50_ms: float
    p99_ms: float
    mean_batch: float
    #: The part of the GPU that its answers would take at their cheapest, 0 to 1.
    useful_area: float

    @property
    def attainment(self) -> float:
        """The share of all requests that were answered within the SLO; 1 where there was none."""
        return self.within_slo / self.sent if self.sent else 1.0


class Record:
    """Collects what the engine does. Counts requests that arrive from `from_ns` to `until_ns`."""

    def __init__(
        self,
        tenants: tuple[Tenant, ...],
        arrivals_ns: Sequence[Sequence[int]],
        from_ns: int,
        until_ns: int,
    ) -> None:
        self.tenants = tenants
        self._arrivals_ns = arrivals_ns
        self._span_ns = until_ns - from_ns
        self._first = [bisect_left(times, from_ns) for times in arrivals_ns]
        self.sent = [
            bisect_left(times, until_ns) - first
            for times, first in zip(arrivals_ns, self._first, strict=True)
        ]
        self.within_slo = [0] * len(tenants)
        self.dropped = [0] * len(tenants)
        #: Requests that were refused or answered late, so far.
        self.missed = [0] * len(tenants)
        #: (number of the first request, how many, when answered), by model.
        self._answers: list[list[_Exit]] = [[] for _ in tenants]
        self.runs: list[Run] = []

    def drop(self, model: int, first: int, count: int) -> None:
        """Requests were refused."""
        counted = max(0, first + count - max(first, self._first[model]))
        self.dropped[model] += counted
        self.missed[model] += counted

    def end(self, run: Run) -> None:
        """A batch was answered."""
        model, last = run.model, run.first + run.batch
        counted_from = max(run.first, self._first[model])
        if counted_from < last:
            start_ns = run.end_ns - self.tenants[model].slo_ns
            in_time = last - bisect_left(self._arrivals_ns[model], start_ns, counted_from, last)
            self.within_slo[model] += in_time
            self.missed[model] += last - counted_from - in_time
            self._answers[model].append((counted_from, last - counted_from, run.end_ns))
        self.runs.append(run)

    def figures(self) -> tuple[ModelFigures, ...]:
        """Figures of each model."""
        return tuple(map(self._figures_of, range(len(self.tenants))))

    @property
    def attainment(self) -> float:
        """The worst model's attainment."""
        return min((model.attainment for model in self.figures()), default=1.0)

    @property
    def utilization(self) -> float:
        """The part of the GPU's area that the answers would take at their cheapest: useful work, 0 to 1.

        A GPU that is kept busy badly does not count as used.
        """
        return sum(model.useful_area for model in self.figures())

    @property
    def granted_area(self) -> float:
        """The part of the GPU's area that the batches held, 0 to 1."""
        held = sum(run.gpu_percent * (run.end_ns - run.started_ns) for run in self.runs)
        return held / (WHOLE_GPU_PERCENT * max(1, max((run.end_ns for run in self.runs), default=1)))

    @property
    def fairness(self) -> float:
        """Jain's index of what each model had of what a weighted max-min fair GPU owes it; 1 is fair."""
        tenants = self.tenants
        demands = [
            sent * tenant.area_per_item / (WHOLE_GPU_PERCENT * self._span_ns)
            for sent, tenant in zip(self.sent, tenants, strict=True)
        ]
        owed = fair_shares(demands, [tenant.weight for tenant in tenants])
        served = [
            min(1.0, model.useful_area / share)
            for model, share in zip(self.figures(), owed, strict=True)
            if share > 0
        ]
        return jain(served)

    def _figures_of(self, model: int) -> ModelFigures:
        answers = np.array(self._answers[model], dtype=np.int64).reshape(-1, 3)
        firsts, counts, ends_ns = answers.T
        # Request numbers first .. first + count - 1 of each answer, all in a row.
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        numbers = np.repeat(firsts, counts) + offsets
        waits_ms = (np.repeat(ends_ns, counts) - np.asarray(self._arrivals_ns[model])[numbers]) / NS_PER_MS
        p50_ms, p99_ms = np.percentile(waits_ms, (50, 99)) if waits_ms.size else (float("nan"),) * 2
        area = waits_ms.size * self.tenants[model].area_per_item
        return ModelFigures(
            name=self.tenants[model].name,
            sent=self.sent[model],
            answered=waits_ms.size,
            dropped=self.dropped[model],
            within_slo=self.within_slo[model],
            goodput_rps=self.within_slo[model] * NS_PER_S / self._span_ns,
            p50_ms=float(p50_ms),
            p99_ms=float(p99_ms),
            mean_batch=float(counts.mean()) if counts.size else float("nan"),
            useful_area=area / (WHOLE_GPU_PERCENT * self._span_ns),
        )


def jain(values: Sequence[float]) -> float:
    """Jain's fairness index: 1 where all are equal, 1/n where one has everything; 1 for none or all zero."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def fair_shares(demands: Sequence[float], weights: Sequence[int], whole: float = 1.0) -> list[float]:
    """Weighted max-min fair shares of `whole`: nobody gets more than its demand, nothing wanted is left."""
    shares = [0.0] * len(demands)
    hungry = sorted(range(len(demands)), key=lambda index: demands[index] / weights[index])
    while hungry:
        total_weight = sum(weights[index] for index in hungry)
        index = hungry.pop(0)
        shares[index] = min(demands[index], whole * weights[index] / total_weight)
        whole -= shares[index]
    return shares
