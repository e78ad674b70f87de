"""Gates: where requests to a model without a worker wait for the one that they wake.

A gate holds connections, not requests: what REST and gRPC clients send is passed on as it is, byte for byte,
once a worker is ready. Nothing is read before, so nothing is lost, and TCP itself tells clients to wait.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import cast

from kneescale.controller.observe import Key
from kneescale.core.worker_pod import GRPC_PORT, HTTP_PORT
from kneescale.plan.state import Gate

logger = logging.getLogger(__name__)

#: A worker is pulled, loaded and warmed in this time, or the connection ends without an answer.
PATIENCE_S = 120.0
#: A worker that is well takes a connection at once; one whose node is gone never says that it does not.
_CONNECT_PATIENCE_S = 5.0
#: Each takes two files of the process, and memory once it is passed on; what is more is closed at once.
_MOST_CONNECTIONS_OF_A_MODEL = 500
_MOST_CONNECTIONS = 1000
_CHUNK_BYTES = 1 << 16


class Gates:
    """The gates of all models that may sleep.

    `address` is where the cluster reaches this process, `find_worker` the address of a model's ready worker,
    None while there is none; `wake` is called for each connection that comes to wait.
    """

    def __init__(
        self, address: str, find_worker: Callable[[Key], str | None], wake: Callable[[], None]
    ) -> None:
        self._address = address
        self._find_worker = find_worker
        self._wake = wake
        self._gates: dict[Key, _OpenGate] = {}
        self._connections = 0
        self._looked = asyncio.Condition()
        self._looks = 0
        #: What the last look found, of the models that somebody waits for.
        self._found: dict[Key, str | None] = {}

    async def keep(self, keys: Collection[Key]) -> Mapping[Key, Gate]:
        """Have a gate for each of these models and for no other; return them, to be planned with.

        One that cannot be opened is left out, and tried again the next time.
        """
        for key in self._gates.keys() - keys:
            self._gates.pop(key).close()
        for key in sorted(keys - self._gates.keys()):
            try:
                self._gates[key] = await self._open(key)
            except OSError as error:
                logger.warning("%s/%s: nobody can wake it, no gate can be opened: %s", *key, error)
        for gate in self._gates.values():
            gate.tell_who_was_turned_away()
        return {key: gate.seen(self._address) for key, gate in self._gates.items()}

    async def look(self) -> None:
        """Have everyone who waits look for a worker: there may be one now."""
        async with self._looked:
            self._looks += 1
            self._found.clear()
            self._looked.notify_all()

    async def _open(self, key: Key) -> "_OpenGate":
        gate = _OpenGate(key)
        try:
            for port in (HTTP_PORT, GRPC_PORT):
                take = partial(self._take, gate, port)
                gate.servers[port] = await asyncio.start_server(take, self._address, 0)
        except OSError:
            gate.close()
            raise
        return gate

    async def _take(
        self, gate: "_OpenGate", port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Hold a connection and pass it on, where there are not too many."""
        # What the client says waits in the kernel's buffer until somebody wants it, and not in ours.
        _transport(writer).pause_reading()
        if gate.connections >= _MOST_CONNECTIONS_OF_A_MODEL or self._connections >= _MOST_CONNECTIONS:
            gate.turned_away += 1
            await _close(writer)
            return
        gate.connections += 1
        self._connections += 1
        try:
            await self._hold(gate, port, (reader, writer))
        finally:
            gate.connections -= 1
            self._connections -= 1

    async def _hold(self, gate: "_OpenGate", port: int, client: "_Connection") -> None:
        _, writer = client
        try:
            worker = await self._worker(gate, port)
        except TimeoutError:
            logger.warning("%s/%s: no worker for a held connection", *gate.key)
            await _close(writer)
            return
        _transport(writer).resume_reading()
        await _join(client, worker)

    async def _worker(self, gate: "_OpenGate", port: int) -> "_Connection":
        """A connection to a worker, as soon as one is ready and takes it. Raises TimeoutError."""
        gate.waiting += 1
        self._wake()
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._first_connection(gate.key, port)
        finally:
            gate.waiting -= 1

    async def _first_connection(self, key: Key, port: int) -> "_Connection":
        while True:
            looks = self._looks
            if connection := await self._connect(key, port):
                return connection
            async with self._looked:
                # Not simply the next one: there may have been one while a worker let us wait.
                while self._looks == looks:
                    await self._looked.wait()

    async def _connect(self, key: Key, port: int) -> "_Connection | None":
        """None where no worker is ready, or the one that seems to be takes no connection."""
        if key not in self._found:
            self._found[key] = self._find_worker(key)
        if (host := self._found[key]) is None:
            return None
        try:
            async with asyncio.timeout(_CONNECT_PATIENCE_S):
                return await asyncio.open_connection(host, port)
        except OSError as error:  # a TimeoutError is one
            logger.warning("%s/%s: the worker at %s takes no connection: %r", *key, host, error)
            return None


class _OpenGate:
    """The listening sockets of one model, and its connections: all of them, and those that wait."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.servers: dict[int, asyncio.Server] = {}
        self.connections = 0
        self.waiting = 0
        self.turned_away = 0

    def seen(self, address: str) -> Gate:
        http_port, grpc_port = (_port(self.servers[port]) for port in (HTTP_PORT, GRPC_PORT))
        return Gate(address, http_port, grpc_port, self.waiting)

    def tell_who_was_turned_away(self) -> None:
        """Once for all since the last time: they come in floods."""
        if self.turned_away:
            logger.warning("%s/%s: too many connections, %d closed at once", *self.key, self.turned_away)
        self.turned_away = 0

    def close(self) -> None:
        """Take no more connections; those that are there go on."""
        for server in self.servers.values():
            server.close()


def _port(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def _transport(writer: asyncio.StreamWriter) -> asyncio.Transport:
    """A connection's, which reads, too."""
    return cast(asyncio.Transport, writer.transport)


async def _join(client: _Connection, worker: _Connection) -> None:
    """Pass on what each says to the other, until both have ended."""
    await asyncio.gather(_pass_on(client[0], worker[1]), _pass_on(worker[0], client[1]))
    for _, writer in (client, worker):
        await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    # After a reset, too: it is all that tells the other one.
    with suppress(OSError):
        writer.write_eof()
