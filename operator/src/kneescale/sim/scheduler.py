"""What the simulator asks of a scheduler of one GPU, whether the product's own or a baseline.

Models are numbers: the places of the tenants that the scheduler was made for.
"""

from collections.abc import Iterable
from typing import Final, Protocol

from kneescale.sim.gpu import Gpu
from kneescale.sim.queues import Queues
from kneescale.sim.run import Run


class Start:
    """Run the model's oldest `batch` requests, on at most `gpu_percent`; the run gets the `tag`."""

    def __init__(self, model: int, batch: int, gpu_percent: int, tag: int = 0) -> None:
        self.model: Final = model
        self.batch: Final = batch
        self.gpu_percent: Final = gpu_percent
        self.tag: Final = tag


class Drop:
    """Refuse the model's oldest `count` requests; they count as missed."""

    def __init__(self, model: int, count: int) -> None:
        self.model: Final = model
        self.count: Final = count


Command = Start | Drop


class Scheduler(Protocol):
    """Events in, commands out. It has no clock and no randomness, so that a seed fixes what it does."""

    def arrived(self, model: int, arrived_ns: int) -> None:
        """A request joined the tail of the model's queue."""

    def ended(self, run: Run) -> None:
        """A batch ended, at `run.end_ns`."""

    def decide(self, queues: Queues, gpu: Gpu, now_ns: int) -> Iterable[Command]:
        """What to do now.

        Each command is carried out before the next one is asked for, so `queues` and `gpu` show it.
        """

    def wake_ns(self, now_ns: int) -> int | None:
        """When to be asked again if nothing happens before: later than now; None for never."""

    def is_blocked(self, gpu: Gpu) -> bool:
        """Whether no arrival can change anything before the next end or wake."""
