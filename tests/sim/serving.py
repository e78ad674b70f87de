"""Tenants and arrivals that several tests of the simulator use."""

from collections.abc import Sequence

import numpy as np

from kneescale.core.surfaces.parametric import Parameters
from kneescale.core.surfaces.surface import LatencySurface, Point
from kneescale.core.units import NS_PER_MS, NS_PER_S
from kneescale.sim.arrivals import Requests
from kneescale.sim.engine import SchedulerFactory, Slowness, System, scheduled
from kneescale.sim.record import Record
from kneescale.sim.tenant import Tenant

MS = NS_PER_MS
LANES = (10, 20, 50, 100)


def surface(
    host_ms: float = 2, work: float = 40, fixed_work: float = 100, max_batch: int = 8
) -> LatencySurface:
    """`host_ms`, or more where batch and GPU% make it so."""
    parameters = Parameters(host_ms=host_ms, serial_ms=0, fixed_work=fixed_work, work=work)
    return parameters.surface(LANES, (1, max_batch))


def flat(ms: float, max_batch: int = 8) -> LatencySurface:
    """Every batch takes `ms` on the whole GPU, and more in proportion on less."""
    return LatencySurface.from_points(Point(100, batch, ms) for batch in {1, max_batch})


def tenant(
    name: str = "a",
    *,
    slo_ms: float = 50,
    rate_rps: float = 100,
    weight: int = 1,
    of: LatencySurface | None = None,
) -> Tenant:
    """A model of a few milliseconds with a knee, unless another surface is given."""
    return Tenant(name, slo_ms, rate_rps, of or surface(), weight)


def mix() -> tuple[Tenant, ...]:
    """Three models of different size, SLO and knee, at about the fluid bound together."""
    return (
        tenant("small", slo_ms=30, rate_rps=600),
        tenant("middle", slo_ms=60, rate_rps=150, of=surface(host_ms=6, work=150)),
        tenant("large", slo_ms=90, rate_rps=70, of=surface(host_ms=5, work=400)),
    )


def serve(
    make_scheduler: SchedulerFactory, tenants: Sequence[Tenant], *arrivals_ms: Sequence[float]
) -> Record:
    """What the scheduler makes of the arrivals, by tenant, in one second."""
    return serve_system(scheduled(make_scheduler), tenants, *arrivals_ms)


def serve_system(system: System, tenants: Sequence[Tenant], *arrivals_ms: Sequence[float]) -> Record:
    """The same for any system."""
    return system(
        tuple(tenants),
        Requests([np.array([round(ms * MS) for ms in of_one], dtype=np.int64) for of_one in arrivals_ms]),
        from_ns=0,
        until_ns=NS_PER_S,
        slowness=Slowness(0, np.random.default_rng(1)),
    )


def shown(record: Record) -> list[tuple[str, int, int, float, float]]:
    """(model, batch, GPU%, start in ms, end in ms) of each run, in order of start."""
    runs = sorted(record.runs, key=lambda run: (run.started_ns, run.model))
    return [
        (record.tenants[run.model].name, run.batch, run.gpu_percent, run.started_ns / MS, run.end_ns / MS)
        for run in runs
    ]
