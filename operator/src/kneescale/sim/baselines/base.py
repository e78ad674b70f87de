"""The parts of a scheduler that a baseline need not write itself."""

from collections.abc import Iterator

from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.sim.gpu import Gpu
from kneescale.sim.queues import Queues
from kneescale.sim.run import Run
from kneescale.sim.scheduler import Command, Drop
from kneescale.sim.tenant import Tenant


class Baseline:
    """A scheduler that looks at the queues when it is asked, and never needs to be woken."""

    def __init__(self, tenants: tuple[Tenant, ...]) -> None:
        self.tenants = tenants

    def arrived(self, model: int, arrived_ns: int) -> None:
        """The queues show it."""

    def ended(self, run: Run) -> None:
        """The GPU shows it."""

    def wake_ns(self, now_ns: int) -> int | None:
        """Never."""
        return None

    def is_blocked(self, gpu: Gpu) -> bool:
        """No arrival is overlooked."""
        return False


class WholeGpu(Baseline):
    """A scheduler that runs one batch at a time, on the whole GPU."""

    def is_blocked(self, gpu: Gpu) -> bool:
        """Whether a batch runs."""
        return gpu.asked_percent > 0

    def refuse_late(self, queues: Queues, now_ns: int) -> Iterator[Command]:
        """Drop what not even a batch of one would answer in time."""
        for model, tenant in enumerate(self.tenants):
            alone_ns = tenant.latency_ns(WHOLE_GPU_PERCENT, 1)
            if late := queues.count_before(model, now_ns + alone_ns - tenant.slo_ns):
                yield Drop(model, late)
