"""A worker that floods its socket, or never reads it, costs others next to nothing."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.core.units import NS_PER_MS
from kneescale.testing.fake_worker import FakeWorker
from tests.agent.builders import assignment_of, claim_uid
from tests.waiting import wait_until

_GRANTS = 50


def test_while_one_worker_floods_its_socket_anothers_grants_come_soon(
    start_host: Callable[[], DispatcherHost], short_dir: Path
) -> None:
    host = start_host()
    host.assign(assignment_of("mad", "good"))
    with _flood(_socket(short_dir, "mad")), FakeWorker(_socket(short_dir, "good")) as good:
        good.hello()
        wait_until(lambda: _measured(host, "mad"), "the flood")
        waits_ns = [_grant_ns(good) for _ in range(_GRANTS)]
    assert statistics.median(waits_ns) < 15 * NS_PER_MS


def _grant_ns(worker: FakeWorker) -> int:
    """From an item's arrival to its grant."""
    asked_ns = time.monotonic_ns()
    worker.arrive(8)
    grant = worker.next_grant()
    waited_ns = time.monotonic_ns() - asked_ns
    worker.done(grant)
    return waited_ns


def _measured(host: DispatcherHost, name: str) -> bool:
    return any(view.measured is not None for view in host.views() if view.name == name)


def _socket(folder: Path, name: str) -> Path:
    return folder / f"{claim_uid(name)}.sock"


@contextmanager
def _flood(socket: Path) -> Iterator[None]:
    """A process of its own, so that it shares nothing with the agent but the socket."""
    program = Path(__file__).with_name("mad_worker.py")
    with subprocess.Popen([sys.executable, str(program), str(socket)], stderr=subprocess.DEVNULL) as mad:
        try:
            yield
        finally:
            mad.kill()
