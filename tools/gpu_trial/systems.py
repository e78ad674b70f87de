"""The systems under trial, as what each gives to a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kneescale.agent.assignment import margin_ns
from kneescale.api.gpu_schedule import Policy
from kneescale.core import wire
from kneescale.core.dispatching.dispatcher import PartitionTerms
from kneescale.core.planning.configuration import efficient_configuration
from kneescale.core.units import WHOLE_GPU_PERCENT
from kneescale.core.wire import Role
from kneescale.sim.pools import choose_pools
from kneescale.sim.tenant import Tenant, load_of, workloads_of
from tools.gpu_trial.rig import Share

#: Of each model, beside the whole GPU.
_LANES_IN_POOL = 2
_PRODUCT = ""
_WHOLE_SHARE_PERMILLE = 1000


@dataclass(frozen=True, slots=True)
class System:
    """How the device is shared: by a dispatcher of that policy, or, without one, by whoever comes first."""

    name: str
    policy: Policy | None


#: One model at a time has requests.
ALONE = System("alone", Policy.SPATIO_TEMPORAL)
SHARED = System("shared by Kneescale", Policy.SPATIO_TEMPORAL)
IN_TURNS = System("in turns", Policy.TEMPORAL)
#: Each worker batches what waits, half an SLO's worth at most, on 100 GPU%: MPS as it is without limits.
UNMANAGED = System("MPS without limits", None)
SYSTEMS = (SHARED, IN_TURNS, UNMANAGED)


def at_load_of_one(tenants: Sequence[Tenant]) -> tuple[Tenant, ...]:
    """The tenants at one rate for all, at which they take the whole of the GPU's area (fluid bound)."""
    rate_rps = 1 / load_of(tuple(replace(tenant, rate_rps=1.0) for tenant in tenants))
    return tuple(replace(tenant, rate_rps=rate_rps) for tenant in tenants)


def pools(tenants: Sequence[Tenant]) -> dict[str, tuple[int, ...]]:
    """The lanes of each model's worker: those that the planner chooses, and the whole GPU."""
    workloads = workloads_of(tenants, _PRODUCT)
    chosen = choose_pools(workloads, _PRODUCT, _LANES_IN_POOL)
    return {
        name: tuple(pool) if WHOLE_GPU_PERCENT in pool else (*pool, WHOLE_GPU_PERCENT)
        for name, pool in chosen.items()
    }


def shares(system: System, tenants: Sequence[Tenant], lanes: Mapping[str, Sequence[int]]) -> dict[str, Share]:
    """What each model gets under the system."""
    return {tenant.name: _share(system, tenant, tuple(lanes[tenant.name])) for tenant in tenants}


def _share(system: System, tenant: Tenant, lanes: tuple[int, ...]) -> Share:
    plan = efficient_configuration(tenant.surface, slo_ms=tenant.slo_ms, rate_rps=tenant.rate_rps)
    most = tenant.largest_batch(WHOLE_GPU_PERCENT, tenant.max_batch, tenant.slo_ns // 2)
    whole_batch = max(1, most)
    # A planned run must be on one of the lanes.
    gpu_percent = plan.gpu_percent if plan.gpu_percent in lanes else max(lanes)
    terms = PartitionTerms(
        role=Role.SERVE,
        slo_ns=tenant.slo_ns,
        weight=1,
        gpu_percent=gpu_percent,
        batch=plan.batch,
        lanes=lanes,
        surface=tenant.surface,
        margin_ns=margin_ns(tenant.slo_ns),
        is_pool=True,
    )
    batch = plan.batch if system.policy else whole_batch
    return Share(terms, wire.Terms(tenant.slo_ns, batch, WHOLE_GPU_PERCENT, _WHOLE_SHARE_PERMILLE))
