"""A worker that computes nothing: speaks the grant protocol over a real socket, and misbehaves on request."""

import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import TracebackType

from kneescale.core.units import NS_PER_S
from kneescale.core.wire import (
    Arrived,
    Decoder,
    Done,
    Grant,
    Hello,
    Measured,
    Message,
    Refuse,
    Role,
    Terms,
    encode,
)
from tests.waiting import wait_until

_DEADLINE_S = 60.0


class FakeWorker:
    """One connection to an agent. Everything received is kept in `terms` and `grants`."""

    def __init__(self, socket_path: Path, *, born_ns: int | None = None) -> None:
        self._socket_path = socket_path
        self._born_ns = time.monotonic_ns() if born_ns is None else born_ns
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._decoder = Decoder()
        self._received: deque[Message] = deque()
        self.terms: list[Terms] = []
        self.grants: list[Grant] = []

    def __enter__(self) -> "FakeWorker":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def connect(self) -> None:
        """Connect as soon as somebody listens; TimeoutError when nobody does by the deadline."""
        wait_until(self._reaches_the_agent, f"an agent at {self._socket_path}", timeout_s=_DEADLINE_S)
        self._sock.settimeout(_DEADLINE_S)

    def _reaches_the_agent(self) -> bool:
        try:
            self._sock.connect(str(self._socket_path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    def hello(self, role: Role = Role.SERVE) -> None:
        """Connect, introduce oneself and wait for the terms."""
        self.connect()
        self.send(Hello(role, self._born_ns))
        self.receive_terms()

    def receive_terms(self) -> Terms:
        """The next message, which must be terms."""
        message = self.receive(Terms)
        assert isinstance(message, Terms)
        return message

    def send(self, message: Message) -> None:
        """Send one message."""
        self._sock.sendall(encode(message))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes, which need not be a message."""
        self._sock.sendall(data)

    def arrive(self, count: int = 1) -> None:
        """Say that `count` items arrived now."""
        self.send(Arrived(count, time.monotonic_ns()))

    def done(self, grant: Grant, started_ns: int | None = None) -> None:
        """Say that a batch ended now."""
        now_ns = time.monotonic_ns()
        self.send(Done(grant.grant_id, now_ns if started_ns is None else started_ns, now_ns))

    def measured(self, requests: int, p99_us: int) -> None:
        """Say that `requests` were answered in time over the last ten seconds."""
        self.send(Measured(10_000, requests, requests, requests, 0, p99_us, p99_us))

    def decisions_until(self, end_ns: int) -> list[Grant | Refuse]:
        """The next grants and refusals: as soon as there are some, or none by `end_ns`, monotonic."""
        while not self._received:
            self._sock.settimeout(max(1e-6, (end_ns - time.monotonic_ns()) / NS_PER_S))
            try:
                self._received += self._decoder.feed(self._sock.recv(65_536))
            except TimeoutError:
                return []
        messages, self._received = self._received, deque()
        return [message for message in messages if isinstance(message, Grant | Refuse)]

    def receive(self, kind: type[Message]) -> Message:
        """The next message, which must be of that kind.

        Raises TimeoutError when none comes by the deadline, ConnectionError when the agent hung up.
        """
        while not self._received:
            data = self._sock.recv(65_536)
            if not data:
                raise ConnectionResetError("the agent hung up")
            self._received += self._decoder.feed(data)
        message = self._received.popleft()
        if isinstance(message, Terms):
            self.terms.append(message)
        if isinstance(message, Grant):
            self.grants.append(message)
        if not isinstance(message, kind):
            raise TypeError(f"expected {kind.__name__}, got {message}")
        return message

    def next_grant(self) -> Grant:
        """The next message, which must be a grant."""
        message = self.receive(Grant)
        assert isinstance(message, Grant)
        return message

    def next_refusal(self) -> Refuse:
        """The next message, which must be a refusal."""
        message = self.receive(Refuse)
        assert isinstance(message, Refuse)
        return message

    def wait_for_hang_up(self) -> None:
        """Return once the agent hangs up; TimeoutError when it does not."""
        # A peer that closes with something of ours unread resets the connection.
        with suppress(ConnectionResetError):
            while self._sock.recv(65_536):
                pass

    def close(self) -> None:
        """Die."""
        self._sock.close()


def serve(worker: FakeWorker, items: int, batch_ns: Callable[[Grant], int]) -> Thread:
    """A started thread in which `worker` runs its grants, one by one, until `items` items are done."""

    def run() -> None:
        left = items
        while left > 0:
            grant = worker.next_grant()
            started_ns = time.monotonic_ns()
            time.sleep(batch_ns(grant) / NS_PER_S)
            worker.done(grant, started_ns)
            left -= grant.batch

    thread = Thread(target=run, daemon=True)
    thread.start()
    return thread
