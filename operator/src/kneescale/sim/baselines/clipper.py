"""Clipper: a batch size per model that feels its way to the latency objective (NSDI 2017)."""

from collections.abc import Iterator

from kneescale.sim.baselines.base import WholeGpu
from kneescale.sim.gpu import Gpu
from kneescale.sim.queues import Queues
from kneescale.sim.run import Run
from kneescale.sim.scheduler import Start
from kneescale.sim.tenant import Tenant

#: Additive increase and multiplicative decrease of the largest batch (Clipper).
_INCREASE = 1
_DECREASE = 0.9


class Clipper(WholeGpu):
    """Batches grow by one while they end within the objective, and shrink by a tenth when one does not.

    From the paper (arXiv 1612.03079): each model is in a container of its own, with a queue and a
    largest batch found by AIMD on the measured latency of its batches; a free container gets what is
    queued, up to that. It refuses nothing: a late answer is replaced by a default one, which is a miss
    here. Clipper does not control the GPU, on which processes take turns without MPS: here in the order
    in which their batches came, each with all that is queued when it starts.

    `objective` is the part of the SLO that a batch may take. The rest is left for waiting.
    """

    def __init__(self, tenants: tuple[Tenant, ...], *, objective: float) -> None:
        super().__init__(tenants)
        self._objectives_ns = [objective * tenant.slo_ns for tenant in tenants]
        self._largest = [1.0] * len(tenants)
        self._free_since_ns = [0] * len(tenants)

    def ended(self, run: Run, queues: Queues) -> None:
        """Adapt the model's largest batch to how long this one took."""
        model, largest = run.model, self._largest[run.model]
        self._free_since_ns[model] = run.end_ns
        if run.end_ns - run.started_ns > self._objectives_ns[model]:
            self._largest[model] = max(1.0, largest * _DECREASE)
        elif run.batch >= int(largest):
            self._largest[model] = min(self.tenants[model].max_batch, largest + _INCREASE)

    def decide(self, queues: Queues, gpu: Gpu, now_ns: int) -> Iterator[Start]:
        """The batch that came first, once the GPU is free."""
        waiting = [model for model in range(len(queues)) if queues.length(model)]
        if waiting and not gpu.asked_percent:
            model = min(waiting, key=lambda one: max(self._free_since_ns[one], queues.oldest_ns(one)))
            yield Start(model, min(queues.length(model), int(self._largest[model])), 100)
