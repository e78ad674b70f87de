"""Temporal sharing: the whole GPU for one batch at a time, earliest deadline first."""

from collections.abc import Iterator

from kneescale.sim.baselines.base import WholeGpu
from kneescale.sim.gpu import Gpu
from kneescale.sim.queues import Queues
from kneescale.sim.scheduler import Command, Start


class Temporal(WholeGpu):
    """The model with the earliest deadline runs as many of its requests as that deadline allows.

    The time-sharing baseline of D-STACK (arXiv 2304.13541), as recalled, is GPU time in turns with
    adaptive batches; EDF is the best order for one batch at a time that knows nothing of what will come.
    Requests that not even a batch of one would answer in time are refused.
    """

    def decide(self, queues: Queues, gpu: Gpu, now_ns: int) -> Iterator[Command]:
        """The most urgent batch, once the GPU is free."""
        if gpu.asked_percent:
            return
        yield from self.refuse_late(queues, now_ns)
        waiting = [model for model in range(len(queues)) if queues.length(model)]
        if waiting:
            model = min(waiting, key=queues.deadline_ns)
            slack_ns = queues.deadline_ns(model) - now_ns
            yield Start(model, self.tenants[model].largest_batch(100, queues.length(model), slack_ns), 100)
