"""What an agent and eight workers on one device of a node keep to, against the bars that they are to keep.

    python -m benchmarks.node [--seconds N]

A dispatcher host in this process, eight emulated workers as processes of their own; each has one lane of 12
GPU%, and one request whose items run one by one, some 10 ms each. So eight batches run at a time, one of each
worker, and a grant follows each end.
The dispatcher's thread notes when it decides and hears; the workers say when their batches start and end.
There and back is all the time that a grant holds its GPU% and runs nothing: from when it was decided, or from
the end of the batch that it follows, and until the agent has heard of its end.
Beside it stands what as many processes take that pass nothing but bytes (`bare_loops`). Both are measured
twice: as it is, and while every core is kept awake (`busy_cores`).
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from threading import Thread

import numpy as np
import tritonclient.grpc as grpc  # type: ignore[import-untyped]

from benchmarks import bare_loops
from benchmarks.busy_cores import busy_cores
from harness.node import running_host, running_worker
from harness.spans import Span, edges, peak_percent
from harness.wait import wait_until
from kneescale.agent.assignment import AssignedPartition, Assignment
from kneescale.agent.trace import GrantRecord
from kneescale.core import worker_variables
from kneescale.core.backends import Backend, ModelFormat
from kneescale.core.dispatching.dispatcher import PartitionTerms
from kneescale.core.surfaces.catalog import lookup
from kneescale.core.units import NS_PER_MS, NS_PER_S, NS_PER_US
from kneescale.core.wire import Role, Terms

WORKERS = 8
LANE_PERCENT = 12
FULL_PERCENT = WORKERS * LANE_PERCENT
MODEL, PRODUCT = "shufflenet_v2_x1_0", "V100-SXM2-16GB"
#: Of the start-up, which is not measured.
WARM_UP_S = 2.0
FIRST_PORT = 28000


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run saw: the grants that ended, and the agent's thread's time."""

    records: Sequence[GrantRecord]
    seconds: float
    cpu_s: float
    overcommitted: int


def main() -> int:
    """Print each figure beside its bar."""
    parser = argparse.ArgumentParser(description="Measure an agent and eight emulated workers.")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to measure (default 10)")
    seconds = parser.parse_args().seconds
    sys.stdout.write(f"emulated, on {os.cpu_count()} cores that fall asleep in between:\n")
    _measure_both(seconds)
    sys.stdout.write("the same on cores that are kept awake:\n")
    with busy_cores():
        _measure_both(seconds)
    return 0


def _measure_both(seconds: float) -> None:
    """Agent and workers, and bytes alone; print what was seen."""
    bare_us = bare_loops.ways_us(WORKERS, _batch_ns(), seconds / 2)
    with tempfile.TemporaryDirectory(prefix="ks") as folder:
        measured = _measure(Path(folder), seconds)
    for line in _report(measured, bare_us):
        sys.stdout.write(f"  {line}\n")


def _measure(folder: Path, seconds: float) -> Measured:
    names = [f"w{number}" for number in range(WORKERS)]
    items = round(NS_PER_S * (seconds + 2 * WARM_UP_S) / _batch_ns())
    with ExitStack() as stack:
        host, thread = stack.enter_context(running_host(folder))
        host.assign(Assignment(partitions=tuple(_partition(name, seconds) for name in names)))
        for number, name in enumerate(names):
            env = _env(folder / f"{name}.sock", FIRST_PORT + 3 * number)
            stack.enter_context(running_worker("serve", env, Path(os.devnull)))
        wait_until(lambda: all(view.connected for view in host.views()), "the workers", timeout_s=60.0)
        for number in range(WORKERS):
            Thread(target=_infer, args=(FIRST_PORT + 3 * number + 1, items), daemon=True).start()
        wait_until(lambda: host.trace.running_percent == FULL_PERCENT, "a full device", timeout_s=60.0)
        time.sleep(WARM_UP_S)
        began_ns, cpu_clock = time.monotonic_ns(), time.pthread_getcpuclockid(thread.ident or 0)
        cpu_s = time.clock_gettime(cpu_clock)
        time.sleep(seconds)
        cpu_s = time.clock_gettime(cpu_clock) - cpu_s
        took_s = (time.monotonic_ns() - began_ns) / NS_PER_S
        return Measured(list(host.trace.since(began_ns)), took_s, cpu_s, host.trace.overcommitted)


def _report(measured: Measured, bare_us: Sequence[float]) -> Iterator[str]:
    records = measured.records
    rate = len(records) / measured.seconds
    ways_us = [
        (record.heard_ns - record.granted_ns - (record.ended_ns - record.started_ns)) / NS_PER_US
        for record in records
    ]
    cuts, bare = statistics.quantiles(ways_us, n=100), statistics.quantiles(bare_us, n=100)
    yield f"grant there and back: median {cuts[49]:.0f} us (bar 200), p99 {cuts[98]:.0f} us (bar 1000)"
    yield f"bytes alone there and back: median {bare[49]:.0f} us, p99 {bare[98]:.0f} us"
    gap_us = statistics.median(_gaps_us(records))
    idle = _idle_ns(records) / (records[-1].ended_ns - records[0].ended_ns)
    yield (
        f"lane idle between batches: median {gap_us:.0f} us, "
        f"{gap_us * NS_PER_US / _batch_ns():.1%} of a batch (bar 1%); "
        f"the whole GPU idle: {idle:.2%} of the time"
    )
    core = measured.cpu_s / measured.seconds
    yield (
        f"agent: {core:.1%} of a core at {rate:.0f} grants/s, so {core * 1000 / rate:.1%} at 1000 (bar 25%)"
    )
    yield (
        f"most GPU% at an instant: {peak_percent(_spans(records))} by the workers' times, "
        f"{measured.overcommitted} instants over 100 by the agent's (bars 100, 0)"
    )


def _gaps_us(records: Sequence[GrantRecord]) -> Iterator[float]:
    """How long each lane ran nothing between two batches; every worker has one lane."""
    ended_ns: dict[str, int] = {}
    for record in records:
        if record.partition in ended_ns:
            yield (record.started_ns - ended_ns[record.partition]) / NS_PER_US
        ended_ns[record.partition] = record.ended_ns


def _idle_ns(records: Sequence[GrantRecord]) -> int:
    """How long nothing ran although something always waited."""
    changes = edges(_spans(records))
    sums = accumulate(change for _, change in changes)
    return sum(
        later_ns - earlier_ns
        for ((earlier_ns, _), (later_ns, _)), percent in zip(pairwise(changes), sums, strict=False)
        if percent == 0
    )


def _spans(records: Sequence[GrantRecord]) -> list[Span]:
    """When the workers' batches ran."""
    return [(record.started_ns, record.ended_ns, record.gpu_percent) for record in records]


def _env(socket: Path, port: int) -> dict[str, str]:
    return {
        worker_variables.MODEL_NAME: MODEL,
        worker_variables.MODEL_URI: f"catalog://{MODEL}",
        worker_variables.MODEL_FORMAT: ModelFormat.EMULATED,
        worker_variables.MAX_BATCH: "1",
        worker_variables.QUEUE_LIMIT: "65535",
        worker_variables.BACKEND: Backend.EMULATED,
        worker_variables.PRODUCT: PRODUCT,
        worker_variables.LANES: str(LANE_PERCENT),
        worker_variables.SOCKET: str(socket),
        worker_variables.TERMINATION_PATH: os.devnull,
        worker_variables.HTTP_PORT: str(port),
        worker_variables.GRPC_PORT: str(port + 1),
        worker_variables.METRICS_PORT: str(port + 2),
    }


def _infer(port: int, items: int) -> None:
    """One request, of whose items most are answered; it ends with its worker."""
    tensor = grpc.InferInput("input", [items, 4], "FP32")
    tensor.set_data_from_numpy(np.zeros((items, 4), np.float32))
    with closing(grpc.InferenceServerClient(f"127.0.0.1:{port}")) as client:
        try:
            client.infer(MODEL, [tensor])
        except grpc.InferenceServerException:
            return


def _partition(name: str, seconds: float) -> AssignedPartition:
    surface = lookup(MODEL, PRODUCT).surface((LANE_PERCENT,), (1,))
    slo_ns = round(10 * seconds * NS_PER_S)
    # A pool of one lane: else the worker whose request came first would have all of the GPU for it.
    terms = PartitionTerms(Role.SERVE, slo_ns, 1, LANE_PERCENT, 1, (LANE_PERCENT,), surface, is_pool=True)
    alone = Terms(slo_ns, 1, LANE_PERCENT, 1000)
    return AssignedPartition(name, "bench", MODEL, terms, alone, claim_uid=name)


def _batch_ns() -> int:
    return round(lookup(MODEL, PRODUCT).latency_ms(LANE_PERCENT, 1) * NS_PER_MS)


if __name__ == "__main__":
    sys.exit(main())
