"""Real sockets: workers come, go, misbehave, and come back to a new host."""

import errno
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import repeat
from pathlib import Path
from threading import Thread

import pytest

from harness.node import dispatcher_host
from kneescale.agent import listeners
from kneescale.agent.assignment import Assignment
from kneescale.agent.broker import GrantBroker
from kneescale.agent.connection import WorkerConnection, listen, peer_uid
from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.core.dispatching.dispatcher import Granted
from kneescale.core.errors import ProtocolError
from kneescale.core.units import NS_PER_S
from kneescale.core.wire import Arrived, Done, Grant, Hello, Message, Refuse, Restart, Role, Terms, encode
from tests.agent.builders import assignment_of, claim_uid
from tests.agent.fake_worker import FakeWorker, serve
from tests.waiting import wait_until

StartHost = Callable[[], DispatcherHost]


@pytest.fixture
def path(short_dir: Path) -> Path:
    """The socket of partition a."""
    return short_dir / f"{claim_uid('a')}.sock"


@pytest.fixture
def host(start_host: StartHost) -> DispatcherHost:
    host = start_host()
    host.assign(assignment_of("a"))
    return host


def test_a_request_goes_all_the_way(host: DispatcherHost, path: Path) -> None:
    with FakeWorker(path) as worker:
        worker.hello()
        worker.arrive(8)
        grant = worker.next_grant()
        assert grant.batch == 8
        worker.done(grant)
        wait_until(lambda: bool(host.trace.totals()), "the grant to come back")
    (record,) = host.trace.since(0)
    assert (record.partition, record.model, record.batch) == ("a", "lite0", 8)
    assert record.granted_ns <= record.started_ns <= record.ended_ns


def test_a_worker_without_a_place_in_the_schedule_finds_no_socket(host: DispatcherHost, path: Path) -> None:
    wait_until(path.exists, "the socket")
    host.assign(Assignment())
    wait_until(lambda: not path.exists(), "the socket to go")
    host.assign(assignment_of("a"))
    with FakeWorker(path) as worker:
        worker.hello()


def test_who_tells_a_host_something_does_not_wait_for_its_turn_to_end(
    short_dir: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Working out what a new assignment costs takes a while; the next one counts."""
    host = dispatcher_host(short_dir)
    told: list[Assignment] = []
    first, second = assignment_of("b"), assignment_of("a")

    def assign_slowly(broker: GrantBroker, assignment: Assignment, now_ns: int) -> dict[str, Terms | None]:
        told.append(assignment)
        if assignment is first:
            another = Thread(target=host.assign, args=(second,), daemon=True)
            another.start()
            another.join(10)
            assert not another.is_alive()
        return assign(broker, assignment, now_ns)

    assign = GrantBroker.assign
    monkeypatch.setattr(GrantBroker, "assign", assign_slowly)
    host.assign(first)
    host.turn()
    host.turn()
    assert told == [first, second]
    assert path.exists()
    host.stop()
    host.run()


def test_a_claim_that_goes_and_comes_back_between_two_turns_has_its_socket_again(
    short_dir: Path, path: Path
) -> None:
    host = dispatcher_host(short_dir)
    host.assign(assignment_of("a"))
    host.turn()
    # The claim's folder goes with the socket, and the assignment without the claim is never seen.
    path.unlink()
    host.assign(Assignment())
    host.assign(assignment_of("a"))
    host.turn()
    assert path.exists()
    host.stop()
    host.run()


def test_a_socket_that_cannot_be_opened_is_tried_again_and_logged_once(
    start_host: StartHost, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[Path] = []

    def counted(path: Path, worker_uid: int) -> socket.socket:
        tries.append(path)
        return listen(path, worker_uid)

    monkeypatch.setattr(listeners, "listen", counted)
    path.mkdir()  # nothing can be bound there
    start_host().assign(assignment_of("a"))
    wait_until(lambda: len(tries) >= 2, "a second try")
    path.rmdir()
    with FakeWorker(path) as worker:
        worker.hello()
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith(f"cannot listen for partition a at {path}")


class FullSocket(socket.socket):
    """A listening socket of a process that has no descriptor left."""

    def accept(self) -> tuple[socket.socket, object]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_a_host_without_a_descriptor_for_a_worker_takes_it_once_it_has_one(
    start_host: StartHost, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_descriptors(path: Path, worker_uid: int) -> socket.socket:
        monkeypatch.setattr(listeners, "listen", listen)
        return FullSocket(fileno=listen(path, worker_uid).detach())

    monkeypatch.setattr(listeners, "listen", without_descriptors)
    start_host().assign(assignment_of("a"))
    with FakeWorker(path) as worker:
        worker.connect()
        worker.wait_for_hang_up()
    with FakeWorker(path) as worker:
        worker.hello()
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning == "partition a: cannot take its worker: [Errno 24] Too many open files"


def test_a_worker_that_connects_as_its_partition_leaves_is_hung_up_on(short_dir: Path, path: Path) -> None:
    host = dispatcher_host(short_dir)
    host.assign(assignment_of("a"))
    host.turn()
    with FakeWorker(path) as worker:
        # Both before the next turn, the assignment first.
        host.assign(Assignment())
        worker.connect()
        host.turn()
        worker.wait_for_hang_up()
    assert host.views() == ()
    host.stop()
    host.run()


@pytest.mark.parametrize("garbage", [b"\xff" * 64, b"\x03\x01\x00\x00", b"\x03\x07\x13\x00" + b"\0" * 19])
def test_garbage_ends_the_connection_and_nothing_else(
    host: DispatcherHost, path: Path, garbage: bytes
) -> None:
    host.assign(assignment_of("a", "b"))
    with FakeWorker(path) as bad, FakeWorker(path.with_name(f"{claim_uid('b')}.sock")) as good:
        good.hello()
        bad.hello()
        bad.send_bytes(garbage)
        bad.wait_for_hang_up()
        good.arrive(8)
        assert good.next_grant().batch == 8
    with FakeWorker(path) as again:
        again.hello()


def test_a_dead_workers_lane_goes_to_others(host: DispatcherHost, path: Path) -> None:
    host.assign(assignment_of("a", "b"))
    with FakeWorker(path.with_name(f"{claim_uid('b')}.sock")) as survivor:
        survivor.hello()
        with FakeWorker(path) as doomed:
            doomed.hello()
            doomed.arrive(800)
            doomed.next_grant()
        wait_until(lambda: host.trace.running_percent == 0, "the lane to be free")
        survivor.arrive(8)
        survivor.next_grant()
    assert host.trace.overcommitted == 0


def test_a_worker_that_hangs_gives_way_and_only_a_new_one_takes_its_place(
    host: DispatcherHost, path: Path
) -> None:
    with FakeWorker(path, born_ns=1) as worker:
        worker.hello()
        worker.arrive(8)
        worker.next_grant()
        worker.wait_for_hang_up()
    assert host.views()[0].hung
    assert host.trace.running_percent == 0
    with FakeWorker(path, born_ns=1) as same:
        same.connect()
        same.send(Hello(Role.SERVE, 1))
        same.wait_for_hang_up()
    with FakeWorker(path, born_ns=2) as new:
        new.hello()
        assert not host.views()[0].hung
        new.arrive(8)
        new.next_grant()


@pytest.mark.parametrize("said_before", [0, 200], ids=["in one read", "behind more than one turn reads"])
def test_what_a_worker_says_while_the_host_stands_still_is_heard_before_it_is_called_hung(
    short_dir: Path, path: Path, monkeypatch: pytest.MonkeyPatch, said_before: int
) -> None:
    host = dispatcher_host(short_dir)
    host.assign(assignment_of("a", "b"))
    host.turn()
    clock, handle = time.monotonic_ns, GrantBroker.handle
    with FakeWorker(path) as punctual, FakeWorker(path.with_name(f"{claim_uid('b')}.sock")) as other:
        for worker in (punctual, other):
            worker.connect()
            worker.send(Hello(Role.SERVE, 1))
            host.turn()
            host.turn()
            worker.receive_terms()
        punctual.arrive(8)
        host.turn()
        grant = punctual.next_grant()

        def stand_still(broker: GrantBroker, name: str, message: Message, now_ns: int) -> Terms | None:
            punctual.send_bytes(encode(Arrived(1, now_ns)) * said_before)
            punctual.done(grant)
            monkeypatch.setattr(time, "monotonic_ns", lambda: clock() + 60 * NS_PER_S)
            monkeypatch.setattr(GrantBroker, "handle", handle)
            return handle(broker, name, message, now_ns)

        monkeypatch.setattr(GrantBroker, "handle", stand_still)
        other.arrive(1)
        host.turn()
        host.turn()
        assert not any(view.hung for view in host.views())
        assert host.trace.totals()["a"].grants == 1
    host.stop()
    host.run()


def test_the_newest_connection_of_a_partition_counts(host: DispatcherHost, path: Path) -> None:
    with FakeWorker(path) as old, FakeWorker(path) as new:
        old.hello()
        new.hello()
        old.wait_for_hang_up()
        new.arrive(8)
        assert new.next_grant().batch == 8


def test_a_new_host_takes_over_the_socket_and_the_queue(
    host: DispatcherHost, path: Path, start_host: StartHost
) -> None:
    with FakeWorker(path) as worker:
        worker.hello()
        worker.arrive(4)
        host.stop()
        worker.wait_for_hang_up()
    assert path.exists(), "a host that ends leaves its sockets in place"
    start_host().assign(assignment_of("a"))
    with FakeWorker(path) as worker:
        worker.hello()
        worker.arrive(8)
        assert worker.next_grant().batch == 8


def test_workers_are_told_to_restart(host: DispatcherHost, path: Path) -> None:
    with FakeWorker(path) as worker:
        worker.hello()
        host.restart_workers(time.monotonic_ns())
        assert isinstance(worker.receive(Restart), Restart)


def test_a_worker_that_connects_later_is_told_to_restart_if_it_is_as_old(
    host: DispatcherHost, path: Path
) -> None:
    host.restart_workers(born_before_ns=5)
    with FakeWorker(path, born_ns=4) as old:
        old.hello()
        assert isinstance(old.receive(Restart), Restart)
    with FakeWorker(path, born_ns=5) as new:
        new.hello()
        host.restart_workers(born_before_ns=5)
        new.arrive(8)
        new.next_grant()


def test_changed_terms_reach_a_connected_worker(host: DispatcherHost, path: Path) -> None:
    with FakeWorker(path) as worker:
        worker.hello()
        host.assign(assignment_of("a", sloMilliseconds=60))
        worker.receive_terms()
    assert [terms.slo_ns for terms in worker.terms] == [100_000_000, 60_000_000]


def test_what_is_late_is_refused_before_the_rest_is_granted(
    host: DispatcherHost, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with FakeWorker(path) as worker:
        worker.hello()
        for count in (3, 5):
            worker.arrive(8)
            running = worker.next_grant()
            # Nothing is granted behind a batch that should have ended.
            wait_until(partial(_is_past, running.finish_by_ns), "the batch to be late")
            worker.arrive(count)
            wait_until(partial(_is_past, time.monotonic_ns() + worker.terms[0].slo_ns), "the SLO to pass")
            now_ns = time.monotonic_ns()
            # In one piece, so that one turn of the host decides about both.
            worker.send_bytes(encode(Arrived(2, now_ns)) + encode(Done(running.grant_id, now_ns, now_ns)))
            assert worker.next_refusal() == Refuse(count)
            grant = worker.next_grant()
            assert grant.batch == 2
            worker.done(grant)
        wait_until(lambda: host.trace.running_percent == 0, "the last batch to come back")
    assert host.trace.totals()["a"].refused_items == 8
    (warning,) = [record.__dict__ for record in caplog.records if record.levelname == "WARNING"]
    assert warning["message"] == "partition a refuses requests that cannot be in time"
    about = {name: warning[name] for name in ("device", "partition", "namespace", "model")}
    assert about == {"device": "gpu0", "partition": "a", "namespace": "default", "model": "lite0"}


def _is_past(time_ns: int) -> bool:
    return time.monotonic_ns() > time_ns


def test_two_busy_workers_share_without_overcommit(host: DispatcherHost, path: Path) -> None:
    host.assign(assignment_of("a", "b", lateRequests="Serve"))
    with FakeWorker(path) as first, FakeWorker(path.with_name(f"{claim_uid('b')}.sock")) as second:
        for worker in (first, second):
            worker.hello()
            worker.arrive(400)
        threads = [serve(worker, 400, lambda grant: 200_000) for worker in (first, second)]
        for thread in threads:
            thread.join(20)
    assert [sum(grant.batch for grant in worker.grants) for worker in (first, second)] == [400, 400]
    assert host.trace.overcommitted == 0


def test_only_the_workers_user_may_connect(
    host: DispatcherHost, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_uid(ours) == os.getuid()
    monkeypatch.setattr("kneescale.agent.listeners.peer_uid", lambda sock: os.getuid() + 1)
    with FakeWorker(path) as stranger:
        stranger.connect()
        stranger.wait_for_hang_up()


def test_a_worker_that_does_not_read_is_noticed() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = WorkerConnection(ours)
        with pytest.raises(ProtocolError, match="does not read"):
            deque(map(connection.send, repeat(Grant(1, 10, 1, 0))))
        assert connection.has_pending


def test_what_does_not_fit_is_sent_later() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = WorkerConnection(ours)
        sent = 0
        while not connection.has_pending:
            connection.send(Hello(Role.SERVE, sent))
            sent += 1
        peer = WorkerConnection(theirs)
        received = 0
        while received < sent:
            received += len(peer.receive())
            connection.flush()
        assert not connection.has_pending


def test_a_stale_socket_file_is_replaced(short_dir: Path) -> None:
    path = short_dir / "a.sock"
    listen(path, os.getuid()).close()
    with listen(path, os.getuid()), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert client.getpeername() == str(path)


def test_a_wake_up_is_late_by_a_fraction_of_a_millisecond(
    start_host: StartHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    due_ns: list[int] = []
    late_ns: list[int] = []

    def next_wake_ns(broker: GrantBroker, now_ns: int) -> int:
        due_ns.append(now_ns + 1_300_000)
        return due_ns[-1]

    def tick(broker: GrantBroker, now_ns: int) -> list[Granted]:
        late_ns.append(now_ns - due_ns[-1])
        return []

    monkeypatch.setattr(GrantBroker, "next_wake_ns", next_wake_ns)
    monkeypatch.setattr(GrantBroker, "tick", tick)
    start_host()
    wait_until(lambda: len(late_ns) >= 50, "fifty wake-ups")
    # The best of them: what a busy machine adds is not the host's.
    assert 0 <= min(late_ns) < 300_000
