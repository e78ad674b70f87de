"""Clipper: a batch size per model that feels its way to the latency objective (NSDI 2017)."""

from collections.abc import Iterator

from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.sim.baselines.base import Baseline
from kneescale.sim.gpu import Gpu
from kneescale.sim.queues import Queues
from kneescale.sim.run import Run
from kneescale.sim.scheduler import Start
from kneescale.sim.tenant import Tenant

#: Additive increase and multiplicative decrease of the largest batch (Clipper).
_INCREASE = 1
_DECREASE = 0.9


class Clipper(Baseline):
    """Batches grow by one while they end within the objective, and shrink by a tenth when one does not.

    From the paper (arXiv 1612.03079): each model is in a container of its own, with a queue and a
    largest batch found by AIMD on the measured latency of its batches; a free container gets what is
    queued, up to that. It refuses nothing: a late answer is replaced by a default one, which is a miss
    here. Clipper does not control the GPU. Where processes take turns on it, as they do without MPS, it is
    in the order in which their batches came, each with all that is queued when it starts; else they run at
    once and share the GPU, as Triton's instances do here.

    `objective` is the part of the SLO that a batch may take. The rest is left for waiting.
    """

    def __init__(self, tenants: tuple[Tenant, ...], *, objective: float, in_turns: bool) -> None:
        super().__init__(tenants)
        self._in_turns = in_turns
        self._is_busy = [False] * len(tenants)
        self._objectives_ns = [objective * tenant.slo_ns for tenant in tenants]
        self._largest = [1.0] * len(tenants)
        self._free_since_ns = [0] * len(tenants)

    def ended(self, run: Run) -> None:
        """Adapt the model's largest batch to how long this one took."""
        model, largest = run.model, self._largest[run.model]
        self._is_busy[model] = False
        self._free_since_ns[model] = run.end_ns
        if run.end_ns - run.started_ns > self._objectives_ns[model]:
            self._largest[model] = max(1.0, largest * _DECREASE)
        elif run.batch >= int(largest):
            self._largest[model] = min(self.tenants[model].max_batch, largest + _INCREASE)

    def is_blocked(self, gpu: Gpu) -> bool:
        """Whether no container could start a batch."""
        return any(self._is_busy) if self._in_turns else all(self._is_busy)

    def decide(self, queues: Queues, gpu: Gpu, now_ns: int) -> Iterator[Start]:
        """A batch for each free container; where they take turns the one that came first has the GPU."""
        if self.is_blocked(gpu):
            return
        ready = [model for model, busy in enumerate(self._is_busy) if queues.length(model) and not busy]
        ready.sort(key=lambda model: max(self._free_since_ns[model], queues.oldest_ns(model)))
        for model in ready[:1] if self._in_turns else ready:
            self._is_busy[model] = True
            batch = min(queues.length(model), int(self._largest[model]))
            yield Start(model, batch, WHOLE_GPU_PERCENT)
