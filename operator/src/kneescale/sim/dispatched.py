"""The product's own dispatcher as a scheduler of the simulator: the code that the node agent runs."""

from collections.abc import Iterator, Mapping

from kneescale.core.dispatcher import Dispatcher, PartitionTerms
from kneescale.core.policy import Policy
from kneescale.sim.gpu import Gpu
from kneescale.sim.queues import Queues
from kneescale.sim.run import Run
from kneescale.sim.scheduler import Command, Drop, Start
from kneescale.sim.tenant import Tenant


class Dispatched:
    """Drives a dispatcher as the agent does; every worker is there, and messages take no time."""

    def __init__(
        self, tenants: tuple[Tenant, ...], terms: Mapping[str, PartitionTerms], policy: Policy
    ) -> None:
        self._names = [tenant.name for tenant in tenants]
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self._least_lane = min(min(of_one.lanes) for of_one in terms.values())
        self._dispatcher = Dispatcher(policy)
        self._dispatcher.configure(terms, 0)
        for name in self._names:
            self._dispatcher.joined(name, 0)

    def arrived(self, model: int, arrived_ns: int) -> None:
        """Tell the dispatcher."""
        self._dispatcher.arrived(self._names[model], 1, arrived_ns, arrived_ns)

    def ended(self, run: Run, queues: Queues) -> None:
        """Tell the dispatcher."""
        name = self._names[run.model]
        self._dispatcher.done(name, run.tag, run.started_ns, run.end_ns, run.end_ns)

    def decide(self, queues: Queues, gpu: Gpu, now_ns: int) -> Iterator[Command]:
        """Carry out what it refuses and grants."""
        for refused in self._dispatcher.refuse(now_ns):
            yield Drop(self._numbers[refused.partition], refused.count)
        for granted in self._dispatcher.tick(now_ns):
            grant = granted.grant
            yield Start(self._numbers[granted.partition], grant.batch, grant.gpu_percent, grant.grant_id)

    def wake_ns(self, queues: Queues, now_ns: int) -> int | None:
        """When the dispatcher wants to be asked again."""
        return self._dispatcher.next_wake_ns(now_ns)

    def is_blocked(self, gpu: Gpu) -> bool:
        """Whether not even the smallest lane is free."""
        return self._dispatcher.free_percent < self._least_lane
