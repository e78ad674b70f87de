"""The product's own systems: its dispatcher on whatever lanes its workers may have."""

from collections.abc import Mapping, Sequence

from kneescale.core.dispatching.spatio_temporal import WHOLE, Settings
from kneescale.core.dispatching.temporal import Temporal
from kneescale.core.surfaces.knee import find_knee
from kneescale.sim.dispatched import Dispatched, on_pools, planned_run, terms_on
from kneescale.sim.pools import choose_pools
from kneescale.sim.tenant import Tenant, workloads_of

#: Which lanes a worker has: any GPU% for each batch, or as D-STACK has it the one of the highest efficacy, or
#: the one at its knee.
FREE, EFFICACY, KNEE = "free", "efficacy", "knee"

#: A simulated GPU needs no name for its product.
_PRODUCT = ""


def dispatched(
    tenants: tuple[Tenant, ...],
    *,
    lanes: int | str = FREE,
    settings: Settings = WHOLE,
    refuses: bool = True,
) -> Dispatched:
    """The spatio-temporal policy on lanes as the planner chooses them: FREE, so many, or one by that rule."""
    return on_pools(tenants, _pools(tenants, lanes), settings=settings, refuses=refuses)


def dispatched_in_turns(tenants: tuple[Tenant, ...]) -> Dispatched:
    """The product's own temporal policy: the whole GPU for one batch at a time."""
    return Dispatched(tenants, {tenant.name: terms_on(tenant, None) for tenant in tenants}, Temporal())


def _pools(tenants: tuple[Tenant, ...], lanes: int | str) -> Mapping[str, Sequence[int]]:
    if isinstance(lanes, int):
        return choose_pools(workloads_of(tenants, _PRODUCT), _PRODUCT, lanes)
    if lanes == FREE:
        return {}
    one_of = _at_knee if lanes == KNEE else _most_efficient
    return {tenant.name: (one_of(tenant),) for tenant in tenants}


def _at_knee(tenant: Tenant) -> int:
    return find_knee(tenant.surface) or tenant.surface.gpu_percents[-1]


def _most_efficient(tenant: Tenant) -> int:
    return planned_run(tenant, tenant.surface.gpu_percents)[0]
