"""A worker that floods its socket, or never reads it, costs others next to nothing.

The test makes the turns of the dispatcher's thread itself: neither a clock nor the machine decides it.
"""

import logging
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from harness.node import dispatcher_host
from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.core.wire import Hello, Measured, Role, encode
from tests.agent.builders import assignment_of, claim_uid
from tests.agent.fake_worker import FakeWorker

_FLOOD = encode(Measured(1, 1, 1, 1, 1, 1, 1)) * 10_000
_HELLO = Hello(Role.SERVE, 0)


@pytest.fixture
def host(short_dir: Path) -> Iterator[DispatcherHost]:
    """A host whose partitions "mad" and "good" have sockets."""
    host = dispatcher_host(short_dir)
    host.assign(assignment_of("mad", "good"))
    host.turn()
    yield host
    host.stop()
    host.run()


@pytest.fixture
def mad(host: DispatcherHost, short_dir: Path) -> Iterator["_MadWorker"]:
    """A worker that said hello and whose socket is full."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(str(_socket(short_dir, "mad")))
        sock.sendall(encode(_HELLO))
        mad = _MadWorker(sock)
        mad.flood()
        _turn_until_connected(host, "mad")
        yield mad


@pytest.fixture
def good(host: DispatcherHost, short_dir: Path) -> Iterator[FakeWorker]:
    """A worker that said hello and has its terms."""
    with FakeWorker(_socket(short_dir, "good")) as worker:
        worker.connect()
        worker.send(_HELLO)
        _turn_until_connected(host, "good")
        worker.receive_terms()
        yield worker


def test_while_one_worker_floods_its_socket_anothers_grant_comes_in_the_next_turn(
    host: DispatcherHost, mad: "_MadWorker", good: FakeWorker
) -> None:
    for _ in range(100):
        mad.flood()
        good.arrive(8)
        host.turn()
        # The turn is over: a grant that is not there by now never comes.
        good.done(good.next_grant())
    assert _is_connected(host, "mad")


def test_turns_read_little_of_a_flood_each(host: DispatcherHost, mad: "_MadWorker") -> None:
    for _ in range(20):
        host.turn()
    # Far less than the socket held.
    assert 0 < mad.flood() <= 20 * 4_096


def test_a_worker_that_connects_and_hangs_up_without_end_hardly_shows_in_the_log(
    host: DispatcherHost, short_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(50):
        with FakeWorker(_socket(short_dir, "mad")) as worker:
            worker.connect()
            worker.send(_HELLO)
            _turn_until_connected(host, "mad")
        while _is_connected(host, "mad"):
            host.turn()
    of_mad = [record.getMessage() for record in caplog.records if "mad" in record.getMessage()]
    # Why it has none, the kernel words in one way or another.
    assert [line.partition(":")[0] for line in of_mad] == [
        "partition mad has a worker",
        "partition mad has no worker",
    ]


def test_one_that_hangs_up_after_saying_hello_twice_is_gone(host: DispatcherHost, short_dir: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(str(_socket(short_dir, "mad")))
        sock.sendall(2 * encode(_HELLO))
    for _ in range(5):
        host.turn()
    assert not _is_connected(host, "mad")


class _MadWorker:
    """Sends one message over and over, as fast as its socket takes it."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._rest = _FLOOD

    def flood(self) -> int:
        """Fill the socket; how many bytes it took."""
        taken = 0
        with suppress(BlockingIOError):
            while True:
                sent = self._sock.send(self._rest)
                taken += sent
                self._rest = self._rest[sent:] or _FLOOD
        return taken


def _socket(folder: Path, name: str) -> Path:
    return folder / f"{claim_uid(name)}.sock"


def _is_connected(host: DispatcherHost, name: str) -> bool:
    return any(view.connected for view in host.views() if view.name == name)


def _turn_until_connected(host: DispatcherHost, name: str) -> None:
    while not _is_connected(host, name):
        host.turn()
