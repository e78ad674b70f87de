"""Which pools of lanes to hold: of those that the planner proposes, the ones that serve best in a trial.

What a pool carries depends on how the runs of all models fall together, which no formula of the planner's
tells for every set of models; its proposals under other assumptions are simulated, and compared
(docs/adr/0039).
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from types import MappingProxyType

from kneescale.core.planning.fluid import Workload
from kneescale.core.planning.lane_queueing import Demand, Pool
from kneescale.core.planning.lanes import Pools, demands_in_proportion, proposed_pools
from kneescale.sim.dispatched import on_pools
from kneescale.sim.engine import scheduled
from kneescale.sim.outcome import outcome_of
from kneescale.sim.scenario import Poisson
from kneescale.sim.tenant import Tenant, load_of
from kneescale.sim.trial import Trial

#: A trial has this part of the load that the fluid bound allows: about where pools begin to miss.
_LOAD = 0.85

#: So many requests mostly tell pools apart that carry a few hundredths more or less, in a tenth of a second.
_REQUESTS = 5000
_WARMUP_PART = 0.1

#: Choices that are remembered, one for each GPU whose pools do not carry its rates: every plan asks for them
#: anew, and one of eight models takes about a second.
_REMEMBERED = 256


def choose_pools(
    workloads: Sequence[Workload],
    product: str,
    lanes: int,
    kept: Mapping[str, Pool] = MappingProxyType({}),
) -> dict[str, Pool]:
    """So many lanes for each model, by name, for all of them on one GPU of the product.

    Only the proportions of the rates matter, since the pools are those for the largest load. Models in `kept`
    have the pool that it says. Raises InfeasibleError where no run of a model ends in time.
    """
    demands = demands_in_proportion(workloads, product)
    pools = _best(demands, lanes, tuple(sorted(kept.items())))
    return {demand.name: pool for demand, pool in zip(demands, pools, strict=True)}


@lru_cache(_REMEMBERED)
def _best(demands: tuple[Demand, ...], lanes: int, kept: tuple[tuple[str, Pool], ...]) -> Pools:
    """Of the proposals the one whose worst model has the most requests in time; of equals the likeliest."""
    best, *others = proposed_pools(demands, lanes, dict(kept))
    if not others:
        return best
    tenants = tuple(Tenant(each.name, each.slo_ms, each.rate_rps, each.surface) for each in demands)
    most = _attainment(tenants, best, 0.0)
    for pools in others:
        attainment = _attainment(tenants, pools, most)
        if attainment > most:
            best, most = pools, attainment
    return best


def _attainment(tenants: tuple[Tenant, ...], pools: Pools, least: float) -> float:
    """The part of the worst model's requests that is in time; 0 where that cannot be `least` any more."""
    load = _LOAD / load_of(tenants)
    duration_s = _REQUESTS / sum(load * tenant.rate_rps for tenant in tenants)
    trial = Trial(Poisson(), duration_s, warmup_s=_WARMUP_PART * duration_s)
    by_name = {tenant.name: pool for tenant, pool in zip(tenants, pools, strict=True)}
    system = scheduled(partial(on_pools, pools=by_name))
    record = trial.run(tenants, system, load=load, least_attainment=least)
    if record.is_over:
        return 0.0
    return outcome_of([record]).attainment or 0.0
