"""The trial: surfaces measured, then each system under the same loads."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from statistics import median

from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.api.gpu_schedule import Policy
from kneescale.core.surfaces.surface import LatencySurface
from kneescale.core.units import NS_PER_S, WHOLE_GPU_PERCENT
from kneescale.sim.tenant import Tenant
from tools.gpu_trial import systems
from tools.gpu_trial.cpu_clock import CpuClock
from tools.gpu_trial.rig import Answers, Rig, Share
from tools.gpu_trial.subjects import Subject
from tools.gpu_trial.systems import ALONE, SYSTEMS, System

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
    #: Of this machine, meanwhile.
    cpus_busy: float


@dataclass(frozen=True, slots=True)
class Batches:
    """How a model's batches ran: how many, with how many items, and their part of the GPU's area.

    `slowness`: how long they took of what the surface says of each, at the median; `by_size` the same for
    each GPU% and batch, with their count.
    """

    count: int
    items: int
    area_part: float
    slowness: float
    by_size: Sequence[tuple[int, int, int, float]]


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
    """Serve and ask, run by run; `say` hears how far it is, and of systems that do not come up.

    First each model on its own, which tells what the others cost it.
    """
    tenants = systems.at_load_of_one(
        [Tenant(subject.name, subject.slo_ms, 1.0, surfaces[subject.name]) for subject in subjects]
    )
    lanes = systems.pools(tenants)
    for tenant in tenants:
        say(f"{tenant.name}: {tenant.rate_rps:.0f} requests/s at a load of 1, lanes {lanes[tenant.name]}")
    of_subjects = {subject: lanes[subject.name] for subject in subjects}
    for system in (ALONE, *SYSTEMS):
        shares = systems.shares(system, tenants, lanes)
        try:
            # New workers for each: what one system does to them is not the next one's burden.
            with rig.workers(of_subjects), _sharing(rig, system, shares) as host:
                rig.ask(_rates(tenants, _WARM_UP_LOAD), plan.seconds, _WARM_UP_SEED)
                for scene in _scenes(system, tenants, plan):
                    for one_run in _played(rig, host, scene):
                        say(_line(one_run))
                        yield one_run
        except TimeoutError as error:
            say(f"{system.name}: {error}")


@dataclass(frozen=True, slots=True)
class _Scene:
    """Who is asked at once, at which load, and for how long."""

    system: System
    load: float
    tenants: Sequence[Tenant]
    seconds: float


def _scenes(system: System, tenants: Sequence[Tenant], plan: Plan) -> list[_Scene]:
    if system is ALONE:
        return [_Scene(system, min(plan.loads), (tenant,), plan.seconds) for tenant in tenants]
    return [_Scene(system, load, tenants, plan.seconds) for load in plan.loads]


def _played(rig: Rig, host: DispatcherHost | None, scene: _Scene) -> list[OneRun]:
    rates = _rates(scene.tenants, scene.load)
    began_ns, cpu = time.monotonic_ns(), CpuClock()
    answers = rig.ask(rates, scene.seconds, _SEED)
    cpus_busy = cpu.busy_cpus()
    return [
        OneRun(
            scene.system.name,
            scene.load,
            tenant.name,
            tenant.slo_ms,
            rates[tenant.name],
            answers[tenant.name],
            _batches(host, tenant, began_ns, scene.seconds),
            cpus_busy,
        )
        for tenant in scene.tenants
    ]


def _line(run: OneRun) -> str:
    attainment = run.answers.attainment(run.slo_ms)
    slowness = f", {run.batches.slowness:.2f} of the profile's time" if run.batches else ""
    return f"{run.system}, load {run.load}, {run.model}: attainment {attainment:.3f}{slowness}"


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


def _batches(host: DispatcherHost | None, tenant: Tenant, began_ns: int, seconds: float) -> Batches | None:
    if host is None:
        return None
    records = [record for record in host.trace.since(began_ns) if record.partition == tenant.name]
    if not records:
        return None
    ran_ns = [record.ended_ns - record.started_ns for record in records]
    area = sum(record.gpu_percent * ns for record, ns in zip(records, ran_ns, strict=True))
    slowness: dict[tuple[int, int], list[float]] = {}
    for record, ns in zip(records, ran_ns, strict=True):
        run = (record.gpu_percent, record.batch)
        slowness.setdefault(run, []).append(ns / tenant.latency_ns(*run))
    return Batches(
        count=len(records),
        items=sum(record.batch for record in records),
        area_part=area / (WHOLE_GPU_PERCENT * seconds * NS_PER_S),
        slowness=median(chain.from_iterable(slowness.values())),
        by_size=[(*run, len(of_run), round(median(of_run), 2)) for run, of_run in sorted(slowness.items())],
    )


def _rates(tenants: Sequence[Tenant], load: float) -> dict[str, float]:
    return {tenant.name: load * tenant.rate_rps for tenant in tenants}
