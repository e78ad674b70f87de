"""Clockwork: one model at a time, the batch whose latest possible start comes first (OSDI 2020)."""

from collections.abc import Iterator

from kneescale.sim.baselines.base import WholeGpu
from kneescale.sim.gpu import Gpu
from kneescale.sim.queues import Queues
from kneescale.sim.scheduler import Command, Start


class Clockwork(WholeGpu):
    """One batch on the whole GPU, which is never shared in space.

    From the paper and its project's scheduler (`infer5_scheduler.cpp`): a model has a strategy for each batch
    size, whose priority is the latest start that still answers its oldest request in time; the earliest goes
    first, with as large a batch as has enough requests and is in time. What not even a batch of one can
    answer is refused at once. Models stay loaded, so that it has no weights to move.

    Two things are kinder than there: each model has every batch size, not 1, 2, 4, 8 and 16 alone; and no
    request is refused because a larger batch without it could run. Both raise the load at which nearly
    all is in time.
    """

    def decide(self, queues: Queues, gpu: Gpu, now_ns: int) -> Iterator[Command]:
        """The most urgent strategy, once the GPU is free."""
        if gpu.asked_percent:
            return
        yield from self.refuse_late(queues, now_ns)
        strategies = [
            self._strategy(model, queues, now_ns) for model in range(len(queues)) if queues.length(model)
        ]
        if strategies:
            _, model, batch = min(strategies)
            yield Start(model, batch, 100)

    def _strategy(self, model: int, queues: Queues, now_ns: int) -> tuple[int, int, int]:
        """(latest start, model, batch) of the largest batch that is in time."""
        tenant, deadline_ns = self.tenants[model], queues.deadline_ns(model)
        batch = tenant.largest_batch(100, queues.length(model), deadline_ns - now_ns)
        return deadline_ns - tenant.latency_ns(100, batch), model, batch
