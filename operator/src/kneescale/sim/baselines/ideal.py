"""The ideal: what a GPU could carry if it could be divided and preempted at will, without loss."""

import heapq
from collections.abc import Sequence

from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.sim.arrivals import Requests
from kneescale.sim.engine import Slowness
from kneescale.sim.record import Record
from kneescale.sim.run import Run
from kneescale.sim.tenant import Tenant


def ideal(
    tenants: tuple[Tenant, ...],
    requests: Requests,
    *,
    from_ns: int,
    until_ns: int,
    slowness: Slowness,
    allowed_misses: Sequence[int] | None = None,
) -> Record:
    """Preemptive EDF on GPU area: an upper estimate of what a scheduler of single kernels could do.

    D-STACK (arXiv 2304.13541) compares with an ideal scheduler that gives every kernel its right GPU%.
    Latency surfaces do not show kernels, so this idealises further than any real scheduler can go:

    - a request costs the GPU area per item of the model's cheapest run within the SLO, though it runs alone
      and waits for no batch to fill;
    - the whole GPU can work on that area at once, and be taken away and given back at no cost;
    - it is over when its area is done, but not before the model's fastest latency after it came.

    The request with the earliest deadline has the GPU, and one that cannot be over in time is dropped
    before more is spent on it. EDF meets all deadlines whenever that is possible; under overload, another
    choice of what to drop might save a few more. Each run of the record is one request, as if it had the
    GPU for itself at its end.
    """
    record = Record(tenants, requests.times_by_model, from_ns, until_ns, allowed_misses)
    _Loop(tenants, record).run(requests, slowness)
    return record


class _Loop:
    def __init__(self, tenants: tuple[Tenant, ...], record: Record) -> None:
        self._record = record
        self._tenants = tenants
        self._work_ns = [tenant.area_per_item / WHOLE_GPU_PERCENT for tenant in tenants]
        self._fastest_ns = [tenant.latency_ns(WHOLE_GPU_PERCENT, 1) for tenant in tenants]
        #: (deadline, model, number, work left in ns, all of its work, when it came)
        self._waiting: list[tuple[int, int, int, float, float, int]] = []
        self._now_ns = 0.0

    def run(self, requests: Requests, slowness: Slowness) -> None:
        numbers = [0] * len(self._tenants)
        for arrived_ns, model in zip(*requests.in_order, strict=True):
            self._work_until(arrived_ns)
            if self._record.is_over:
                return
            work_ns = slowness.draw() * self._work_ns[model]
            deadline_ns = arrived_ns + self._tenants[model].slo_ns
            heapq.heappush(self._waiting, (deadline_ns, model, numbers[model], work_ns, work_ns, arrived_ns))
            numbers[model] += 1
        self._work_until(float("inf"))

    def _work_until(self, until_ns: float) -> None:
        waiting = self._waiting
        while waiting and self._now_ns < until_ns:
            deadline_ns, model, number, left_ns, work_ns, arrived_ns = waiting[0]
            start_ns = max(self._now_ns, arrived_ns)
            done_ns = start_ns + left_ns
            end_ns = max(done_ns, arrived_ns + self._fastest_ns[model])
            if end_ns > deadline_ns:
                heapq.heappop(waiting)
                self._record.drop(model, number, 1)
            elif done_ns <= until_ns:
                heapq.heappop(waiting)
                self._now_ns = done_ns
                self._answer(model, number, round(end_ns), round(work_ns))
            else:
                left_ns = done_ns - until_ns
                heapq.heapreplace(waiting, (deadline_ns, model, number, left_ns, work_ns, arrived_ns))
                self._now_ns = until_ns

    def _answer(self, model: int, number: int, end_ns: int, work_ns: int) -> None:
        self._record.end(Run(model, 1, WHOLE_GPU_PERCENT, end_ns - work_ns, number, end_ns=end_ns))
