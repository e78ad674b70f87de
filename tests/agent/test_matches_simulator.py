"""The node agent in real time grants and refuses as the simulator says: the same arrivals and dispatcher."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.spans import peak_percent
from kneescale.agent.assignment import Assignment, assign
from kneescale.agent.claims import parse_allocated_claim
from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.api.gpu_schedule import parse_gpu_schedule
from kneescale.core.dispatching.policies import policy_named
from kneescale.core.units import NS_PER_MS, NS_PER_S
from kneescale.core.wire import Grant
from kneescale.sim.arrivals import Requests, Times, poisson
from kneescale.sim.dispatched import Dispatched
from kneescale.sim.engine import Slowness, scheduled
from kneescale.sim.record import Record
from kneescale.sim.tenant import Tenant
from tests.agent.builders import LANES, NODE, allocated_claim, claim_uid, schedule
from tests.agent.builders import partition as a_partition
from tests.agent.fake_worker import FakeWorker
from tests.agent.paced_worker import PacedWorker
from tests.waiting import wait_until

#: Requests per second, and what a batch of one takes at 100 GPU%.
MODELS = {"a": (60, 10.0), "b": (30, 20.0), "c": (20, 30.0)}
#: What timers, sockets and a machine that does other things may change of each model's GPU area, and of the
#: share of its requests that were refused or in time.
NOISE = 0.15
#: The same of its grants, of which there are about eighty: one batch that comes late changes several.
GRANT_NOISE = 0.3


@dataclass(frozen=True, slots=True)
class Case:
    """`times` as many requests to models that are `times` as slow: the load goes by its square."""

    times: int
    slo_ms: int
    duration_s: float


CALM = Case(times=1, slo_ms=250, duration_s=4.0)
#: About one and a half times what batches of eight can answer.
OVERLOAD = Case(times=4, slo_ms=750, duration_s=6.0)


@pytest.mark.parametrize("case", [CALM, OVERLOAD], ids=["calm", "overload"])
def test_grants_and_refusals_in_real_time_are_those_of_the_simulator(
    case: Case, start_host: Callable[[], DispatcherHost], short_dir: Path
) -> None:
    assignment = _assignment(case)
    tenants = _tenants(case, assignment)
    arrivals = [
        poisson(tenant.rate_rps, case.duration_s, np.random.default_rng([1, number]))
        for number, tenant in enumerate(tenants)
    ]
    record = _simulated(case, assignment, tenants, arrivals)
    host = start_host()
    host.assign(assignment)
    workers = _in_real_time(case, short_dir, tenants, arrivals)

    wait_until(lambda: host.trace.running_percent == 0, "the last batches to come back")
    assert host.trace.overcommitted == 0
    assert peak_percent((r.granted_ns, r.ended_ns, r.gpu_percent) for r in host.trace.since(0)) <= 100
    assert peak_percent(span for worker in workers for span in worker.spans) <= 100
    assert (sum(record.dropped) > 0) == (case is OVERLOAD)
    totals = host.trace.totals()
    for number, (tenant, worker) in enumerate(zip(tenants, workers, strict=True)):
        runs = [run for run in record.runs if run.model == number]
        area_ns = sum(run.gpu_percent * (run.end_ns - run.started_ns) for run in runs)
        of_one, sent = totals[tenant.name], len(arrivals[number])
        assert of_one.items == len(worker.waits_ns) == sent - worker.refused
        assert of_one.refused_items == worker.refused
        assert of_one.grants == pytest.approx(len(runs), rel=GRANT_NOISE)
        assert of_one.area_ns == pytest.approx(area_ns, rel=NOISE)
        assert worker.refused / sent == pytest.approx(record.dropped[number] / sent, abs=NOISE)
        in_time = sum(wait_ns <= case.slo_ms * NS_PER_MS for wait_ns in worker.waits_ns)
        assert in_time / sent == pytest.approx(record.within_slo[number] / sent, abs=NOISE)


def _assignment(case: Case) -> Assignment:
    spec = parse_gpu_schedule(schedule([_partition(case, name) for name in MODELS])).spec
    return assign(spec, [parse_allocated_claim(allocated_claim(name), NODE) for name in MODELS])


def _partition(case: Case, name: str) -> dict[str, Any]:
    """Batches of 8 take twice as long as one request; the knee is at 20 GPU%."""
    one_ms = case.times * MODELS[name][1]
    surface = [
        {
            "gpuPercent": percent,
            "batch": batch,
            "latencyMicroseconds": round(1000 * one_ms * (1 + (batch - 1) / 7) * max(1, 20 / percent)),
        }
        for percent in LANES
        for batch in (1, 8)
    ]
    return a_partition(name, sloMilliseconds=case.slo_ms, gpuPercent=20, surface=surface)


def _tenants(case: Case, assignment: Assignment) -> tuple[Tenant, ...]:
    tenants = []
    for of_one in assignment.partitions:
        assert of_one.terms.surface is not None
        rate_rps = case.times * MODELS[of_one.name][0]
        tenants.append(Tenant(of_one.name, case.slo_ms, rate_rps, of_one.terms.surface))
    return tuple(tenants)


def _simulated(
    case: Case, assignment: Assignment, tenants: tuple[Tenant, ...], arrivals: list[Times]
) -> Record:
    terms = {of_one.name: of_one.terms for of_one in assignment.partitions}
    system = scheduled(partial(Dispatched, terms=terms, policy=policy_named("SpatioTemporal")))
    until_ns = int(case.duration_s * NS_PER_S)
    exact = Slowness(0.0, np.random.default_rng())
    return system(tenants, Requests(arrivals), from_ns=0, until_ns=until_ns, slowness=exact)


def _in_real_time(
    case: Case, short_dir: Path, tenants: tuple[Tenant, ...], arrivals: list[Times]
) -> list[PacedWorker]:
    with ExitStack() as stack:
        fakes = [
            stack.enter_context(FakeWorker(short_dir / f"{claim_uid(tenant.name)}.sock"))
            for tenant in tenants
        ]
        for fake in fakes:
            fake.hello()
        start_ns = time.monotonic_ns()
        workers = [
            PacedWorker(fake, start_ns, times.tolist(), partial(_batch_ns, tenant))
            for fake, tenant, times in zip(fakes, tenants, arrivals, strict=True)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(case.duration_s + 20)
    return workers


def _batch_ns(tenant: Tenant, grant: Grant) -> int:
    return tenant.latency_ns(grant.gpu_percent, grant.batch)
