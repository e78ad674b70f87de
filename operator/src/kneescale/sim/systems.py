"""The schedulers that can be compared, by name."""

from collections.abc import Mapping
from functools import partial

from kneescale.core.configuration import choose_configuration
from kneescale.core.dispatcher import PartitionTerms
from kneescale.core.errors import InfeasibleError
from kneescale.core.policy import Policy
from kneescale.core.spatio_temporal import Settings, SpatioTemporal
from kneescale.core.temporal import Temporal
from kneescale.core.wire import Role
from kneescale.sim.dispatched import Dispatched
from kneescale.sim.engine import SchedulerFactory
from kneescale.sim.tenant import Tenant


def _dispatched(policy: Policy, tenants: tuple[Tenant, ...]) -> Dispatched:
    terms = {tenant.name: _terms(tenant) for tenant in tenants}
    return Dispatched(tenants, terms, policy)


def _terms(tenant: Tenant) -> PartitionTerms:
    """Any GPU% of the surface, and the planned run of the highest efficacy."""
    lanes = tenant.surface.gpu_percents
    gpu_percent, batch = _plan(tenant)
    return PartitionTerms(
        role=Role.SERVE,
        slo_ns=tenant.slo_ns,
        weight=tenant.weight,
        gpu_percent=gpu_percent,
        batch=batch,
        lanes=lanes,
        surface=tenant.surface,
    )


def _plan(tenant: Tenant) -> tuple[int, int]:
    """The planned GPU% and batch: single items on the whole GPU where not even one takes half the SLO."""
    lanes = tenant.surface.gpu_percents
    try:
        plan = choose_configuration(
            tenant.surface,
            slo_ms=tenant.slo_ms,
            rate_rps=tenant.rate_rps,
            lanes=lanes,
            max_batch=tenant.max_batch,
        )
    except InfeasibleError:
        return lanes[-1], 1
    return plan.gpu_percent, plan.batch


SYSTEMS: Mapping[str, SchedulerFactory] = {
    "dstack": partial(_dispatched, SpatioTemporal()),
    "dstack-no-fill": partial(_dispatched, SpatioTemporal(Settings(fill=False))),
    "dstack-no-fairness": partial(_dispatched, SpatioTemporal(Settings(fairness=False))),
    "dstack-fixed-batch": partial(_dispatched, SpatioTemporal(Settings(free_batch=False))),
    "temporal": partial(_dispatched, Temporal()),
}
