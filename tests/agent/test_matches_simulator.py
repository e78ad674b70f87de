"""The node agent in real time grants as the simulator says: the same arrivals, surfaces and dispatcher."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kneescale.agent.assignment import Assignment, assign
from kneescale.agent.claims import parse_allocated_claim
from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.api.gpu_schedule import parse_gpu_schedule
from kneescale.core.dispatching.policies import policy_named
from kneescale.core.units import NS_PER_MS, NS_PER_S
from kneescale.core.wire import Grant
from kneescale.sim.arrivals import Times, poisson
from kneescale.sim.dispatched import Dispatched
from kneescale.sim.engine import Slowness, scheduled
from kneescale.sim.record import Record
from kneescale.sim.tenant import Tenant
from kneescale.testing.fake_worker import FakeWorker
from kneescale.testing.paced_worker import PacedWorker
from tests.agent.builders import LANES, NODE, allocated_claim, claim_uid, schedule
from tests.agent.builders import partition as a_partition
from tests.waiting import wait_until

#: Requests per second, and what a batch of one takes at 100 GPU%.
MODELS = {"a": (60, 10.0), "b": (30, 20.0), "c": (20, 30.0)}
SLO_MS = 250
DURATION_S = 4.0
#: What timers, sockets and a machine that does other things may change of each model's grants and GPU area.
NOISE = 0.15


def test_grants_in_real_time_are_those_of_the_simulator(
    start_host: Callable[[], DispatcherHost], short_dir: Path
) -> None:
    assignment = _assignment()
    tenants = _tenants(assignment)
    arrivals = [
        poisson(tenant.rate_rps, DURATION_S, np.random.default_rng([1, number]))
        for number, tenant in enumerate(tenants)
    ]
    record = _simulated(assignment, tenants, arrivals)
    host = start_host()
    host.assign(assignment)
    attainments = _in_real_time(short_dir, tenants, arrivals)

    wait_until(lambda: host.trace.running_percent == 0, "the last batches to come back")
    assert host.trace.overcommitted == 0
    totals = host.trace.totals()
    for number, tenant in enumerate(tenants):
        runs = [run for run in record.runs if run.model == number]
        area_ns = sum(run.gpu_percent * (run.end_ns - run.started_ns) for run in runs)
        assert totals[tenant.name].items == len(arrivals[number])
        assert totals[tenant.name].grants == pytest.approx(len(runs), rel=NOISE)
        assert totals[tenant.name].area_ns == pytest.approx(area_ns, rel=NOISE)
        simulated = record.within_slo[number] / len(arrivals[number])
        assert attainments[number] == pytest.approx(simulated, abs=NOISE)


def _assignment() -> Assignment:
    spec = parse_gpu_schedule(schedule([_partition(name) for name in MODELS])).spec
    return assign(spec, [parse_allocated_claim(allocated_claim(name), NODE) for name in MODELS])


def _partition(name: str) -> dict[str, Any]:
    """Batches of 8 take twice as long as one request; the knee is at 20 GPU%."""
    _, one_ms = MODELS[name]
    surface = [
        {
            "gpuPercent": percent,
            "batch": batch,
            "latencyMicroseconds": round(1000 * one_ms * (1 + (batch - 1) / 7) * max(1, 20 / percent)),
        }
        for percent in LANES
        for batch in (1, 8)
    ]
    return a_partition(name, sloMilliseconds=SLO_MS, gpuPercent=20, surface=surface)


def _tenants(assignment: Assignment) -> tuple[Tenant, ...]:
    tenants = []
    for of_one in assignment.partitions:
        assert of_one.terms.surface is not None
        tenants.append(Tenant(of_one.name, SLO_MS, MODELS[of_one.name][0], of_one.terms.surface))
    return tuple(tenants)


def _simulated(assignment: Assignment, tenants: tuple[Tenant, ...], arrivals: list[Times]) -> Record:
    terms = {of_one.name: of_one.terms for of_one in assignment.partitions}
    system = scheduled(partial(Dispatched, terms=terms, policy=policy_named("SpatioTemporal")))
    until_ns = int(DURATION_S * NS_PER_S)
    exact = Slowness(0.0, np.random.default_rng())
    return system(tenants, arrivals, from_ns=0, until_ns=until_ns, slowness=exact)


def _in_real_time(short_dir: Path, tenants: tuple[Tenant, ...], arrivals: list[Times]) -> list[float]:
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
            worker.join(DURATION_S + 20)
    return [_attainment(worker, times) for worker, times in zip(workers, arrivals, strict=True)]


def _batch_ns(tenant: Tenant, grant: Grant) -> int:
    return tenant.latency_ns(grant.gpu_percent, grant.batch)


def _attainment(worker: PacedWorker, arrivals: Times) -> float:
    ends_ns = np.repeat([end_ns for end_ns, _ in worker.answers], [batch for _, batch in worker.answers])
    assert len(ends_ns) == len(arrivals)
    return float(np.mean(np.sort(ends_ns) - arrivals <= SLO_MS * NS_PER_MS))
