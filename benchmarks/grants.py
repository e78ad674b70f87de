"""How long a grant takes there and back: from an item's arrival at a worker to its grant, over a real socket.

Fake workers run every batch in no time, so what is measured is the agent alone: socket, broker, dispatcher,
socket. Usage: python benchmarks/grants.py [--workers N] [--grants N]
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from threading import Thread

from kneescale.agent.assignment import AssignedPartition, Assignment
from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.core.dispatching.dispatcher import PartitionTerms
from kneescale.core.surfaces.surface import LatencySurface, Point
from kneescale.core.units import NS_PER_MS, NS_PER_US
from kneescale.core.wire import Role, Terms
from kneescale.testing.fake_worker import FakeWorker

_LANES = tuple(range(10, 101, 10))
_SLO_NS = 100 * NS_PER_MS


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="Measure the way of a grant there and back.")
    parser.add_argument("--workers", type=int, default=4, help="workers on the device (default 4)")
    parser.add_argument("--grants", type=int, default=2_000, help="grants per worker (default 2000)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ks") as folder:
        for workers in sorted({1, arguments.workers}):
            _print(workers, _measure(Path(folder), workers, arguments.grants))
    return 0


def _measure(folder: Path, workers: int, grants: int) -> list[int]:
    """Nanoseconds there and back of each grant."""
    host = DispatcherHost("gpu0", lambda uid: folder / f"{uid}.sock", os.getuid())
    thread = Thread(target=host.run)
    thread.start()
    host.assign(Assignment(partitions=tuple(_partition(f"p{index}") for index in range(workers))))
    round_trips: list[int] = []
    clients = [
        Thread(target=_ask, args=(folder / f"p{index}.sock", grants, round_trips)) for index in range(workers)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    host.stop()
    thread.join()
    return round_trips


def _ask(path: Path, grants: int, round_trips: list[int]) -> None:
    with FakeWorker(path) as worker:
        worker.hello()
        for _ in range(grants):
            asked_ns = time.monotonic_ns()
            worker.arrive(1)
            grant = worker.next_grant()
            round_trips.append(time.monotonic_ns() - asked_ns)
            worker.done(grant)


def _partition(name: str) -> AssignedPartition:
    # Batches of one: nothing is worth waiting for.
    surface = LatencySurface.from_points(Point(percent, 1, 100 / percent) for percent in _LANES)
    terms = PartitionTerms(
        Role.SERVE, slo_ns=_SLO_NS, weight=1, gpu_percent=20, batch=1, lanes=_LANES, surface=surface
    )
    worker_terms = Terms(slo_ns=_SLO_NS, batch=1, gpu_percent=20, share_permille=1000)
    return AssignedPartition(name, "lite0", terms, worker_terms, claim_uid=name)


def _print(workers: int, round_trips: list[int]) -> None:
    percentiles = statistics.quantiles(round_trips, n=1000)
    figures = ", ".join(
        f"{label} {percentiles[index] / NS_PER_US:.0f} us"
        for label, index in (("median", 499), ("p99", 989), ("p99.9", 998))
    )
    sys.stdout.write(f"{workers} worker(s), {len(round_trips)} grants there and back: {figures}\n")


if __name__ == "__main__":
    sys.exit(main())
