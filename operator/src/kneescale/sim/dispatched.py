"""The product's own dispatcher as a scheduler of the simulator: the code that the node agent runs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from kneescale.core.dispatching.dispatcher import Dispatcher, PartitionTerms
from kneescale.core.dispatching.policy import Policy
from kneescale.core.dispatching.spatio_temporal import WHOLE, Settings, SpatioTemporal
from kneescale.core.errors import InfeasibleError
from kneescale.core.planning.configuration import choose_configuration
from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.core.wire import Role
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
        self._least_lane = WHOLE_GPU_PERCENT
        self._dispatcher = Dispatcher(policy)
        self._connected: set[str] = set()
        self.configure(terms, 0)

    @property
    def connected(self) -> list[str]:
        """The models that have a worker."""
        return [name for name in self._names if name in self._connected]

    def configure(self, terms: Mapping[str, PartitionTerms], now_ns: int) -> None:
        """Take new terms: new models join, and those without terms are served on until they leave."""
        self._dispatcher.configure(terms)
        for name, of_one in terms.items():
            self._least_lane = min(self._least_lane, *of_one.lanes)
            if name not in self._connected:
                self._dispatcher.joined(name, now_ns)
                self._connected.add(name)

    def leave(self, name: str, now_ns: int) -> None:
        """The model's worker, which has nothing left to do, goes."""
        self._dispatcher.left(name, now_ns)
        self._connected.remove(name)

    def arrived(self, model: int, arrived_ns: int) -> None:
        """Tell the dispatcher."""
        self._dispatcher.arrived(self._names[model], 1, arrived_ns)

    def ended(self, run: Run) -> None:
        """Tell the dispatcher."""
        name = self._names[run.model]
        self._dispatcher.done(name, run.tag, run.started_ns, run.end_ns, run.end_ns)

    def decide(self, queues: Queues, gpu: Gpu, now_ns: int) -> Iterator[Command]:
        """Carry out what it refuses and grants."""
        for refused in self._dispatcher.refuse(now_ns):
            yield Drop(self._numbers[refused.partition], refused.count)
        for granted in self._dispatcher.grants(now_ns):
            grant = granted.grant
            yield Start(self._numbers[granted.partition], grant.batch, grant.gpu_percent, grant.grant_id)

    def wake_ns(self, now_ns: int) -> int | None:
        """When the dispatcher wants to be asked again."""
        return self._dispatcher.next_wake_ns(now_ns)

    def is_blocked(self, gpu: Gpu) -> bool:
        """Whether not even the smallest lane is free."""
        return self._dispatcher.free_percent < self._least_lane


def on_pools(
    tenants: tuple[Tenant, ...],
    pools: Mapping[str, Sequence[int]],
    *,
    settings: Settings = WHOLE,
    refuses: bool = True,
) -> Dispatched:
    """The spatio-temporal policy where models have these lanes; those without may use any GPU% they know."""
    terms = {
        tenant.name: replace(terms_on(tenant, pools.get(tenant.name)), refuses_late=refuses)
        for tenant in tenants
    }
    return Dispatched(tenants, terms, SpatioTemporal(settings))


def terms_on(tenant: Tenant, pool: Sequence[int] | None) -> PartitionTerms:
    """The terms of a worker with a pool of lanes, or without one with any GPU% of the surface."""
    percents = pool if pool and len(pool) == 1 else tenant.surface.gpu_percents
    gpu_percent, batch = planned_run(tenant, percents)
    if pool and gpu_percent not in pool:
        gpu_percent = max(pool)
    return terms_of(tenant, gpu_percent, batch, pool)


def terms_of(
    tenant: Tenant, gpu_percent: int, batch: int, pool: Sequence[int] | None = None
) -> PartitionTerms:
    """The terms of a worker with that planned run; without a pool any GPU% of the surface is a lane."""
    return PartitionTerms(
        role=Role.SERVE,
        slo_ns=tenant.slo_ns,
        weight=tenant.weight,
        gpu_percent=gpu_percent,
        batch=batch,
        lanes=tuple(pool or tenant.surface.gpu_percents),
        surface=tenant.surface,
        is_pool=pool is not None,
    )


def planned_run(tenant: Tenant, percents: Sequence[int]) -> tuple[int, int]:
    """Of these GPU%s the one, and its batch, of the highest efficacy, as in D-STACK (arXiv 2304.13541).

    Where not even one item takes half the SLO: single items on the largest.
    """
    surface = tenant.surface
    try:
        plan = choose_configuration(
            surface,
            slo_ms=tenant.slo_ms,
            rate_rps=tenant.rate_rps,
            lanes=percents,
            max_batch=surface.batches[-1],
        )
    except InfeasibleError:
        return max(percents), 1
    return plan.gpu_percent, plan.batch
