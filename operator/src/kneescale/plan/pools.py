"""Pools of lanes: which GPU%s a worker holds where each lane runs one batch at a time.

With green contexts a worker has every GPU% and runs any number of batches at once. In the other tiers its
lanes are made at start-up, each with weights of its own. They are chosen for the set of models on a device,
and stay chosen: another pool is another worker (docs/adr/0024).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kneescale.api.footprint import footprint
from kneescale.api.inference_model import InferenceModel
from kneescale.api.meta import full_name
from kneescale.api.resource_slice import GpuDevice
from kneescale.api.vocabulary import Role
from kneescale.core.errors import InfeasibleError
from kneescale.core.planning.fluid import Workload
from kneescale.core.planning.lane_queueing import Pool
from kneescale.core.planning.lanes import carried_load, carries
from kneescale.core.planning.reservations import reserved_lanes
from kneescale.core.units import MS_PER_S
from kneescale.plan.eligibility import worker_lanes
from kneescale.plan.sizing import Size, has_grown, planned_lanes
from kneescale.plan.state import Settings
from kneescale.plan.workloads import Claim, ModelKey
from kneescale.sim.pools import choose_pools

#: Each has a copy of the weights; what more of them are worth is in docs/adr/0035.
_MOST_LANES = 4

#: Another choice must carry so much more than the running pools for workers to be swapped for it.
_WORTH_A_SWAP = 1.2

#: A worker is swapped for a smaller one where it has this many times the SMs that it needs for itself.
_WASTE = 2


@dataclass(frozen=True, slots=True)
class Resident:
    """A model with a replica on the device, of so many in all."""

    model: InferenceModel
    size: Size
    replicas: int


@dataclass(frozen=True, slots=True)
class _Tenant:
    """What the choice of pools looks at: `workload` is the replica's part of the rate."""

    workload: Workload
    #: Of one lane.
    memory_bytes: int
    #: The pool of its worker that is there; None where there is none yet.
    running: Pool | None
    #: The one lane that the user or the policy fixes.
    fixed: Pool | None
    #: The lane that its worker gets where no choice is feasible.
    planned: Pool
    #: Whether more arrives than its spec expects: it takes what others leave.
    has_grown: bool

    @property
    def name(self) -> str:
        return self.workload.name


def choose_worker_lanes(
    device: GpuDevice, residents: Sequence[Resident], claims: Iterable[Claim], settings: Settings
) -> Mapping[ModelKey, tuple[int, ...]]:
    """The lanes of each model's worker on the device.

    Pools that run are kept as long as they carry the expected rates beside the rest, and else as long as no
    other choice for all carries a fifth more.
    """
    if not device.tier.has_pools:
        return {each.model.metadata.key: worker_lanes(each.model, device) for each in residents}
    running = {
        claim.model: claim.lanes
        for claim in sorted(claims, key=lambda claim: (claim.metadata.created_at, claim.metadata.name))
        if _may_keep(claim, device)
    }
    tenants = [_tenant(each, device, running.get(each.model.metadata.key), settings) for each in residents]
    pools = (_reserve if device.reserves_sms else _choose)(tenants, device)
    return {each.model.metadata.key: pools[full_name(each.model.metadata.key)] for each in residents}


def _may_keep(claim: Claim, device: GpuDevice) -> bool:
    """Whether the claim's lanes are a pool of the device, which may have had another tier or step before."""
    is_living_worker = claim.role is Role.SERVE and not claim.metadata.deleting
    is_pool = 0 < len(claim.lanes) <= _MOST_LANES and set(claim.lanes) <= set(device.lanes)
    return is_living_worker and claim.device_uuid == device.uuid and is_pool


def _tenant(resident: Resident, device: GpuDevice, running: Pool | None, settings: Settings) -> _Tenant:
    spec, configuration = resident.model.spec, resident.size.configuration
    surface = resident.size.profile.surface_of_late.restricted_to(device.lanes, spec.max_batch)
    slo_ms = spec.slo.latency_milliseconds
    rate_rps = resident.size.rate_ips or configuration.batch * MS_PER_S / slo_ms
    lanes = planned_lanes(worker_lanes(resident.model, device), settings.policy)
    return _Tenant(
        workload=Workload(
            full_name(resident.model.metadata.key),
            rate_rps / resident.replicas,
            slo_ms,
            {device.product_name: surface},
        ),
        memory_bytes=spec.gpu.memory_bytes,
        running=running,
        fixed=lanes if len(lanes) == 1 else None,
        planned=(configuration.gpu_percent,),
        has_grown=has_grown(resident.model, resident.size),
    )


def _choose(tenants: Sequence[_Tenant], device: GpuDevice) -> Mapping[str, Pool]:
    fixed = {tenant.name: tenant.fixed for tenant in tenants if tenant.fixed}
    held = {tenant.name: tenant.running for tenant in tenants if tenant.running} | fixed
    planned = {tenant.name: tenant.planned for tenant in tenants}
    try:
        return planned | _kept_or_anew(tenants, held, fixed, device)
    except InfeasibleError:
        return planned | held


def _kept_or_anew(
    tenants: Sequence[_Tenant], held: dict[str, Pool], fixed: dict[str, Pool], device: GpuDevice
) -> dict[str, Pool]:
    """Pools for all, those held as long as they will do; the fixed ones alone where not all have room.

    Raises InfeasibleError where no run of a model ends in time.
    """
    workloads, product = [tenant.workload for tenant in tenants], device.product_name
    kept = _pools(tenants, held, device)
    if kept and carries(workloads, product, kept):
        return kept
    anew = _pools(tenants, fixed, device)
    if not kept or not anew:
        return anew or fixed
    least = _WORTH_A_SWAP * carried_load(workloads, product, kept)
    return anew if carried_load(workloads, product, anew) > least else kept


def _reserve(tenants: Sequence[_Tenant], device: GpuDevice) -> Mapping[str, Pool]:
    """One lane for each, whose SMs no other has (ADR 30).

    Lanes that run are kept while they carry their rates, all have room, and none has twice what it needs.
    """
    fixed = {tenant.name: tenant.fixed[0] for tenant in tenants if tenant.fixed}
    free = [tenant for tenant in tenants if not tenant.fixed]
    needed = dict(fixed)
    for some in ([each for each in free if not each.has_grown], [each for each in free if each.has_grown]):
        needed |= _needed_lanes(some, tuple(needed.values()), device)
    kept = fixed | {tenant.name: _kept_lane(tenant, needed[tenant.name], device) for tenant in free}
    chosen = kept if _fit_chunks(kept.values(), device) else needed
    return {name: (percent,) for name, percent in chosen.items()}


def _needed_lanes(tenants: Sequence[_Tenant], taken: Sequence[int], device: GpuDevice) -> Mapping[str, int]:
    """The lanes that carry their rates, or what is left beside those that are taken."""
    try:
        return reserved_lanes(
            [tenant.workload for tenant in tenants],
            device.product_name,
            device.lanes,
            lambda lanes: _fit_chunks([*taken, *lanes], device),
        )
    except InfeasibleError:
        return {tenant.name: tenant.planned[0] for tenant in tenants}


def _fit_chunks(lanes: Iterable[int], device: GpuDevice) -> bool:
    return sum(_chunks(device, percent) for percent in lanes) <= device.clients


def _kept_lane(tenant: _Tenant, needed: int, device: GpuDevice) -> int:
    running = max(tenant.running or (0,))
    is_wasteful = _chunks(device, running) >= _WASTE * _chunks(device, needed)
    return running if running >= needed and not is_wasteful else needed


def _chunks(device: GpuDevice, gpu_percent: int) -> int:
    return footprint(device, (gpu_percent,)).clients


def _pools(tenants: Sequence[_Tenant], kept: Mapping[str, Pool], device: GpuDevice) -> dict[str, Pool] | None:
    """Those kept, and as many lanes for each other model as there is room for; None if there is none."""
    lanes = _lanes_each(tenants, kept, device)
    if lanes == 0:
        return None
    if len(kept) == len(tenants):
        return dict(kept)
    return choose_pools([tenant.workload for tenant in tenants], device.product_name, lanes, kept)


def _lanes_each(tenants: Sequence[_Tenant], kept: Mapping[str, Pool], device: GpuDevice) -> int:
    """One lane where it fits; more only as far as any worker's successor fits beside it."""
    fitting = [lanes for lanes in range(1, _MOST_LANES + 1) if _fits(tenants, kept, device, lanes)]
    return max(fitting, default=0)


def _fits(tenants: Sequence[_Tenant], kept: Mapping[str, Pool], device: GpuDevice, lanes: int) -> bool:
    spare_workers = 1 if lanes > 1 else 0
    footprints = [footprint(device, kept.get(tenant.name, (0,) * lanes)) for tenant in tenants]
    clients = [each.clients for each in footprints]
    sizes = [each.copies * tenant.memory_bytes for each, tenant in zip(footprints, tenants, strict=True)]
    return (
        sum(clients) + spare_workers * max(clients) <= device.clients
        and sum(sizes) + spare_workers * max(sizes) <= device.memory_bytes
    )
