"""The trial: surfaces measured, then each system under the same loads."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.api.gpu_schedule import Policy
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.core.units import NS_PER_S, WHOLE_GPU_PERCENT
from kneescale.sim.tenant import Tenant
from tools.gpu_trial import systems
from tools.gpu_trial.rig import Answers, Rig, Share
from tools.gpu_trial.subjects import Subject
from tools.gpu_trial.systems import System

#: Before a run counts: what is slow the first time is not asked of anybody.
_WARM_UP_LOAD, _WARM_UP_SEED = 0.3, 1_000
_SEED = 1


@dataclass(frozen=True, slots=True)
class OneRun:
    """What one model saw of one system under one load; the load is a part of the fluid bound."""

    system: str
    load: float
    model: str
    slo_ms: float
    rate_rps: float
    answers: Answers
    #: None where no dispatcher saw them.
    batches: "Batches | None"


@dataclass(frozen=True, slots=True)
class Batches:
    """How a model's batches ran: how many, with how many items, and their part of the GPU's area.

    `slowness`: how long they took of what the surface says of each, at the median.
    """

    count: int
    items: int
    area_part: float
    slowness: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The loads to try, in parts of the fluid bound, and for how long."""

    loads: Sequence[float]
    seconds: float


def run(
    rig: Rig,
    subjects: Sequence[Subject],
    surfaces: Mapping[str, LatencySurface],
    plan: Plan,
    say: Callable[[str], None],
) -> Iterator[OneRun]:
    """Serve and ask, run by run; `say` hears how far it is."""
    tenants = systems.at_load_of_one(
        [Tenant(subject.name, subject.slo_ms, 1.0, surfaces[subject.name]) for subject in subjects]
    )
    lanes = systems.pools(tenants)
    for tenant in tenants:
        say(f"{tenant.name}: {tenant.rate_rps:.0f} requests/s at a load of 1, lanes {lanes[tenant.name]}")
    with rig.workers({subject: lanes[subject.name] for subject in subjects}):
        for system in systems.SYSTEMS:
            yield from _under(rig, system, tenants, lanes, plan, say)


def _under(
    rig: Rig,
    system: System,
    tenants: Sequence[Tenant],
    lanes: Mapping[str, Sequence[int]],
    plan: Plan,
    say: Callable[[str], None],
) -> Iterator[OneRun]:
    shares = systems.shares(system, tenants, lanes)
    with _sharing(rig, system, shares) as host:
        rig.ask(_rates(tenants, _WARM_UP_LOAD), plan.seconds, _WARM_UP_SEED)
        for load in plan.loads:
            rates = _rates(tenants, load)
            began_ns = time.monotonic_ns()
            answers = rig.ask(rates, plan.seconds, _SEED)
            for tenant in tenants:
                of_one, batches = answers[tenant.name], _batches(host, tenant, began_ns, plan)
                rate_rps = rates[tenant.name]
                yield OneRun(system.name, load, tenant.name, tenant.slo_ms, rate_rps, of_one, batches)
            worst = min(answers[tenant.name].attainment(tenant.slo_ms) for tenant in tenants)
            say(f"{system.name}, load {load}: worst attainment {worst:.3f}")


@contextmanager
def _sharing(rig: Rig, system: System, shares: Mapping[str, Share]) -> Iterator[DispatcherHost | None]:
    if system.policy is not None:
        with rig.shared(system.policy, shares) as host:
            yield host
        return
    # Workers go on by the terms that they had last once their dispatcher is gone.
    with rig.shared(Policy.SPATIO_TEMPORAL, shares):
        pass
    yield None


def _batches(host: DispatcherHost | None, tenant: Tenant, began_ns: int, plan: Plan) -> Batches | None:
    if host is None:
        return None
    records = [record for record in host.trace.since(began_ns) if record.partition == tenant.name]
    if not records:
        return None
    ran_ns = [record.ended_ns - record.started_ns for record in records]
    area = sum(record.gpu_percent * ns for record, ns in zip(records, ran_ns, strict=True))
    return Batches(
        count=len(records),
        items=sum(record.batch for record in records),
        area_part=area / (WHOLE_GPU_PERCENT * plan.seconds * NS_PER_S),
        slowness=median(
            ns / tenant.latency_ns(record.gpu_percent, record.batch)
            for record, ns in zip(records, ran_ns, strict=True)
        ),
    )


def _rates(tenants: Sequence[Tenant], load: float) -> dict[str, float]:
    return {tenant.name: load * tenant.rate_rps for tenant in tenants}
