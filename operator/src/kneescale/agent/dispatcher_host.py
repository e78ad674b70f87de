"""The thread of one device: between its workers' sockets and its broker.

One selector waits for connections, messages, new assignments and the dispatcher's next wake-up.
"""

import logging
import select
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Final

from kneescale.agent.assignment import Assignment
from kneescale.agent.broker import GrantBroker, PartitionView
from kneescale.agent.connection import READS_OF_ALL, WorkerConnection
from kneescale.agent.listeners import Listeners
from kneescale.agent.quiet_log import QuietLog
from kneescale.agent.trace import Trace
from kneescale.core.dispatching.policy import Wait
from kneescale.core.errors import ProtocolError
from kneescale.core.units import NS_PER_S
from kneescale.core.wire import Hello, Message, Refuse, Restart

log = logging.getLogger(__name__)

#: At least this often the host looks for workers that are hung.
_LONGEST_SLEEP_NS: Final = NS_PER_S
_STUCK_NS: Final = 10 * NS_PER_S
#: How often it looks for hung workers: well within the least time after which one is.
_FENCE_EVERY_NS: Final = NS_PER_S // 10

_Handler = Callable[[int], None]


class DispatcherHost:
    """Serves the workers of one device from `run` until `stop`; its public methods are for any thread."""

    def __init__(self, device: str, socket_path: Callable[[str], Path], worker_uid: int) -> None:
        self.device = device
        self.trace = Trace()
        #: When it took the device, in monotonic nanoseconds.
        self.began_ns = time.monotonic_ns()
        self._broker = GrantBroker(self.trace)
        self._lock = Lock()
        #: Of what other threads tell this one. They do not wait for its turn, which may be long.
        self._told_lock = Lock()
        self._selector = selectors.EpollSelector()
        self._log = QuietLog(log, self._about)
        self._listeners = Listeners(socket_path, worker_uid, self._selector, self._on_worker, self._log)
        self._connections: dict[str, WorkerConnection] = {}
        self._next_assignment: Assignment | None = None
        #: Workers born before then are to restart.
        self._outdated_before_ns = 0
        self._restarting = False
        self._stopping = False
        self._closed = False
        self._turned_ns = time.monotonic_ns()
        self._fenced_ns = 0
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ, self._on_wake)

    def assign(self, assignment: Assignment) -> None:
        """Take a new assignment as soon as the thread gets to it; the last one counts."""
        with self._told_lock:
            self._next_assignment = assignment
            self._wake()

    def restart_workers(self, born_before_ns: int) -> None:
        """Have the workers end, to be started anew, that were born before then; also who connects later."""
        with self._told_lock:
            if born_before_ns > self._outdated_before_ns:
                self._outdated_before_ns = born_before_ns
                self._restarting = True
                self._wake()

    def stop(self) -> None:
        """Make `run` hang up and return."""
        with self._told_lock:
            self._stopping = True
            self._wake()

    def views(self) -> tuple[PartitionView, ...]:
        """The partitions of the schedule as they are now."""
        with self._lock:
            return self._broker.views(time.monotonic_ns())

    @property
    def waiting(self) -> Wait:
        """What the device waited for when it last looked, and until when."""
        with self._lock:
            return self._broker.waiting

    @property
    def is_turning(self) -> bool:
        """Whether the thread came round lately."""
        return time.monotonic_ns() - self._turned_ns < _STUCK_NS

    def run(self) -> None:
        """Serve until `stop`."""
        while not self._stopping:
            self.turn()
        self._close()

    def turn(self) -> None:
        """Wait for something to do, and do what there is: no more than one read from each worker."""
        is_ready = self._wait()
        polled_ns = time.monotonic_ns()
        ready = self._selector.select(0) if is_ready else []
        with self._lock:
            for key, mask in ready:
                handler: _Handler = key.data
                handler(mask)
            if polled_ns - self._fenced_ns > _FENCE_EVERY_NS:
                self._fenced_ns = polled_ns
                self._fence(polled_ns)
            self._listeners.open_again()
            self._send_decisions()
        self._turned_ns = time.monotonic_ns()

    def _wait(self) -> bool:
        """Return once a socket is ready, or when the dispatcher's next wake-up comes before; whether one is.

        epoll counts in milliseconds, which is too coarse for a schedule; select counts in microseconds but
        takes no descriptor above 1023. So select waits, on the one descriptor of epoll, made before those of
        the device's workers.
        """
        now_ns = time.monotonic_ns()
        wake_ns = self._broker.next_wake_ns(now_ns)
        sleep_ns = _LONGEST_SLEEP_NS if wake_ns is None else max(0, wake_ns - now_ns)
        readable, _, _ = select.select([self._selector], [], [], min(_LONGEST_SLEEP_NS, sleep_ns) / NS_PER_S)
        return bool(readable)

    def _wake(self) -> None:
        # A full pipe will wake the thread just as well.
        if not self._closed:
            with suppress(BlockingIOError):
                self._wake_writer.send(b"\0")

    def _on_wake(self, mask: int) -> None:
        with self._told_lock:
            self._wake_reader.recv(4096)
            assignment, self._next_assignment = self._next_assignment, None
            restarting, self._restarting = self._restarting, False
        if assignment is not None:
            self._apply(assignment)
        if restarting:
            for name in self._broker.born_before(self._outdated_before_ns):
                self._send(name, Restart())

    def _apply(self, assignment: Assignment) -> None:
        for name, terms in self._broker.assign(assignment, time.monotonic_ns()).items():
            if terms is None:
                self._hang_up(name, "the schedule's policy changed")
            else:
                self._send(name, terms)
        claims = {p.name: p.claim_uid for p in assignment.partitions if p.claim_uid}
        self._log.forget_all_but(claims)
        self._listeners.follow(claims)

    def _on_worker(self, name: str, sock: socket.socket) -> None:
        # One worker a partition: the newest is the one whose container lives.
        self._hang_up(name, "its worker connected again")
        connection = WorkerConnection(sock)
        self._connections[name] = connection
        self._selector.register(connection, selectors.EVENT_READ, partial(self._on_ready, name, connection))

    def _on_ready(self, name: str, connection: WorkerConnection, mask: int) -> None:
        if self._connections.get(name) is not connection:
            return  # hung up on while this event waited its turn
        try:
            if mask & selectors.EVENT_WRITE:
                connection.flush()
                self._watch(connection)
            if mask & selectors.EVENT_READ:
                self._take(name, connection.receive())
        except ConnectionError as error:
            self._hang_up(name, str(error))
        except (ProtocolError, OSError) as error:
            self._log.say(logging.WARNING, name, "the worker of partition %s is disconnected: %s", error)
            self._hang_up(name, str(error))

    def _take(self, name: str, messages: list[Message]) -> None:
        # Read after the messages came, so that no honest timestamp is in the future.
        now_ns = time.monotonic_ns()
        for message in messages:
            if name not in self._connections:
                return  # hung up on for an answer to an earlier one
            answer = self._broker.handle(name, message, now_ns)
            if answer is not None:
                self._log.say(logging.INFO, name, "partition %s has a worker")
                self._send(name, answer)
            if isinstance(message, Hello) and message.born_ns < self._outdated_before_ns:
                self._send(name, Restart())

    def _send_decisions(self) -> None:
        """Refusals, then grants; again if a worker had to be hung up on, which makes room for others."""
        connected = -1
        while connected != len(self._connections):
            connected = len(self._connections)
            now_ns = time.monotonic_ns()
            for refused in self._broker.refuse(now_ns):
                self._log.note_refusal(refused.partition, now_ns)
                self._send(refused.partition, Refuse(refused.count))
            # Each goes out as soon as it is decided: the GPU% of the first need not wait for the last.
            for granted in self._broker.tick(now_ns):
                self._send(granted.partition, granted.grant)

    def _send(self, name: str, message: Message) -> None:
        """Send to the worker of a partition; one that cannot be sent to is hung up on."""
        connection = self._connections.get(name)
        if connection is None:
            return  # hung up on since the message was decided
        try:
            connection.send(message)
            self._watch(connection)
        except (ProtocolError, OSError) as error:
            self._hang_up(name, str(error))

    def _watch(self, connection: WorkerConnection) -> None:
        """Wait for room to write only while something is pending."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.has_pending else 0)
        key = self._selector.get_key(connection)
        if key.events != events:
            self._selector.modify(connection, events, key.data)

    def _fence(self, heard_ns: int) -> None:
        """Others get the GPU% of a worker that hangs, by what was to be heard of it at `heard_ns`.

        Not by what the clock says now: this thread may have stood still since, and not the worker.
        """
        for name in self._broker.overdue(heard_ns):
            self._hear_out(name)
        for name in self._broker.fence(heard_ns):
            self._log.warn(name, "a batch of partition %s never ends; its worker is disconnected")
            self._hang_up(name, "it hangs")

    def _hear_out(self, name: str) -> None:
        """Take all that a worker has said: a turn may have read too little to come to its batch's end."""
        connection = self._connections[name]
        for _ in range(READS_OF_ALL):
            if not connection.is_behind:
                break
            self._on_ready(name, connection, selectors.EVENT_READ)

    def _hang_up(self, name: str, reason: str) -> None:
        connection = self._connections.pop(name, None)
        if connection is None:
            return
        self._log.say(logging.INFO, name, "partition %s has no worker: %s", reason)
        self._selector.unregister(connection)
        connection.close()
        self._broker.left(name, time.monotonic_ns())

    def _about(self, name: str) -> dict[str, str]:
        """What a line of the log about a partition is about."""
        namespace, model = self._broker.model_of(name)
        return {"device": self.device, "partition": name, "namespace": namespace, "model": model}

    def _close(self) -> None:
        """Hang up on all; the sockets' files stay, for the next agent to replace."""
        with self._lock:
            # First, so that a worker that connects again does not find the one that ends.
            self._listeners.close()
            for name in list(self._connections):
                self._hang_up(name, "the agent ends")
            self._selector.close()
            with self._told_lock:
                self._closed = True
                self._wake_reader.close()
                self._wake_writer.close()
