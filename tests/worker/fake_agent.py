"""A fake of the agent's end of one claim's socket: records what a worker says, and injects faults."""

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from kneescale.core.units import NS_PER_S
from kneescale.core.wire import Arrived, Decoder, Done, Grant, Hello, Message, Probe, Refuse, Terms, encode

M = TypeVar("M", bound=Message)
_RECEIVE_BYTES = 65536
_DEADLINE_S = 60.0
_FINISH_WITHIN_NS = NS_PER_S


@dataclass(frozen=True, slots=True)
class Received:
    """A message of the worker; `connection` counts its connections from 0."""

    message: Message
    at_ns: int
    connection: int


class FakeAgent:
    """Sends its terms to each worker that connects; with `generous` it also grants all that waits.

    Generous means: each probe at once, and items in batches of the terms' size, one batch at a time. Without
    terms it accepts connections and says nothing, like an agent that does not know the partition yet.
    Usable from one test thread; a thread of its own serves the socket.
    """

    def __init__(self, path: Path, terms: Terms | None, *, generous: bool = False) -> None:
        self._path = path
        self._terms = terms
        self._generous = generous
        self._changed = threading.Condition()
        self._received: list[Received] = []
        self._granted: list[Grant] = []
        self._connection: socket.socket | None = None
        self._connections = 0
        self._running = 0
        #: Items announced on this connection and neither granted nor refused yet.
        self.waiting = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(self._path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, args=(self._listener,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Fault: the agent goes away, its socket too."""
        self._path.unlink(missing_ok=True)
        # Closing alone would not wake the thread that accepts.
        self._listener.shutdown(socket.SHUT_RDWR)
        self.hang_up()
        self._thread.join()
        self._listener.close()

    def hang_up(self) -> None:
        """Fault: the connection breaks, while the agent goes on listening."""
        with self._changed:
            if self._connection is not None:
                self._connection.shutdown(socket.SHUT_RDWR)

    def send_bytes(self, data: bytes) -> None:
        """Fault: bytes that need not be a message."""
        with self._changed:
            if self._connection is None:
                raise ConnectionError("no worker is connected")
            self._connection.sendall(data)

    def send(self, message: Message) -> None:
        """Send a message to the connected worker."""
        self.send_bytes(encode(message))

    def grant(self, batch: int, gpu_percent: int, follows: int = 0) -> Grant:
        """Grant a batch, whether or not so many items wait."""
        with self._changed:
            finish_by_ns = time.monotonic_ns() + _FINISH_WITHIN_NS
            grant = Grant(len(self._granted) + 1, gpu_percent, batch, finish_by_ns, follows)
            self._granted.append(grant)
            self._running += 1
            self.waiting = max(0, self.waiting - batch)
            self.send(grant)
            return grant

    def refuse(self, count: int) -> None:
        """Refuse the oldest items, whether or not so many wait."""
        with self._changed:
            self.waiting = max(0, self.waiting - count)
            self.send(Refuse(count))

    @property
    def granted(self) -> list[Grant]:
        """Every grant so far."""
        with self._changed:
            return list(self._granted)

    @property
    def log(self) -> list[Received]:
        """Everything received so far."""
        with self._changed:
            return list(self._received)

    def received(self, kind: type[M], connection: int | None = None) -> list[M]:
        """Every message of a kind so far, of one connection or of all."""
        with self._changed:
            return [
                entry.message
                for entry in self._received
                if isinstance(entry.message, kind) and connection in (None, entry.connection)
            ]

    def wait_for(self, kind: type[M], count: int = 1, connection: int | None = None) -> list[M]:
        """Wait until `count` messages of a kind came; all of them.

        Raises TimeoutError.
        """
        self.wait_until(lambda: len(self.received(kind, connection)) >= count, f"{count} {kind.__name__}")
        return self.received(kind, connection)

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition over what was received holds.

        Raises TimeoutError.
        """
        with self._changed:
            if not self._changed.wait_for(condition, _DEADLINE_S):
                raise TimeoutError(f"the fake agent saw no {what} within {_DEADLINE_S:.0f} s")

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with self._changed:
                self._connection = connection
                self._running = self.waiting = 0
            self._listen_to(connection)
            with self._changed:
                self._connection = None
                self._connections += 1
            connection.close()

    def _listen_to(self, connection: socket.socket) -> None:
        decoder = Decoder()
        try:
            while data := connection.recv(_RECEIVE_BYTES):
                for message in decoder.feed(data):
                    self._take(message)
        except ConnectionError:
            return

    def _take(self, message: Message) -> None:
        with self._changed:
            self._received.append(Received(message, time.monotonic_ns(), self._connections))
            match message:
                case Hello() if self._terms is not None:
                    self.send(self._terms)
                case Arrived():
                    self.waiting += message.count
                case Done():
                    self._running -= 1
                case Probe() if self._generous:
                    self.grant(message.batch, message.gpu_percent)
            if self._generous:
                self._grant_waiting()
            self._changed.notify_all()

    def _grant_waiting(self) -> None:
        if self._terms is not None and self.waiting and not self._running:
            self.grant(min(self.waiting, self._terms.batch), self._terms.gpu_percent)
