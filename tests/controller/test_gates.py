"""Connections are held until a worker is ready, then passed on byte for byte; over real sockets."""

import asyncio
import errno
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from kneescale.controller import gates as gates_module
from kneescale.controller.gates import Gates
from kneescale.controller.observe import Key
from tests.waiting import until

MODEL: Key = ("shop", "vad")
OTHER: Key = ("shop", "asr")
LOCAL = "127.0.0.1"
#: Nothing listens there.
GONE = "127.0.0.2"


class Cluster:
    """A worker that is there or not, and how often somebody asked to be woken."""

    def __init__(self) -> None:
        self.worker: str | None = None
        self.wakes = 0
        self.searches = 0
        self.gates = Gates(LOCAL, self._find_worker, self._wake)

    def _find_worker(self, _: Key) -> str | None:
        self.searches += 1
        return self.worker

    def _wake(self) -> None:
        self.wakes += 1

    async def waiting(self, models: set[Key] = {MODEL}) -> int:  # noqa: B006 - never changed
        return (await self.gates.keep(models))[MODEL].waiting


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """When the test is over its gates are closed, and nothing that they began goes on."""
    cluster = Cluster()
    yield cluster
    await cluster.gates.keep(set())
    await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})


@asynccontextmanager
async def echoing(port_name: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """A worker that says back what it hears, on the port that workers have for REST or gRPC."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1024):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, LOCAL, 0)
    monkeypatch.setattr(gates_module, port_name, server.sockets[0].getsockname()[1])
    async with server:
        yield


async def ended(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


async def until_waiting(cluster: Cluster, number: int) -> None:
    await until(lambda: cluster.wakes >= number)
    assert await cluster.waiting() == number


async def ask_before_the_worker_is_there(
    cluster: Cluster, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """What is asked of a gate is answered once a worker is at LOCAL, which is found at the next look."""
    writer.write(b"is this speech?")
    await until_waiting(cluster, 1)
    cluster.worker = LOCAL
    await cluster.gates.look()
    async with asyncio.timeout(5):
        assert await reader.readexactly(15) == b"is this speech?"


@pytest.mark.parametrize("port_name", ["HTTP_PORT", "GRPC_PORT"])
async def test_a_request_is_held_and_answered(
    port_name: str, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with echoing(port_name, monkeypatch):
        gate = (await cluster.gates.keep({MODEL}))[MODEL]
        port = gate.http_port if port_name == "HTTP_PORT" else gate.grpc_port
        reader, writer = await asyncio.open_connection(LOCAL, port)
        writer.write(b"is this speech?")
        await until_waiting(cluster, 1)
        assert cluster.wakes == 1
        cluster.worker = LOCAL
        await cluster.gates.look()
        assert await reader.readexactly(15) == b"is this speech?"
        assert await cluster.waiting() == 0
        writer.write_eof()
        assert await reader.read() == b""
        await ended(writer)


async def test_everybody_who_waits_is_answered(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    async with echoing("HTTP_PORT", monkeypatch):
        gate = (await cluster.gates.keep({MODEL}))[MODEL]
        connections = [await asyncio.open_connection(LOCAL, gate.http_port) for _ in range(20)]
        await until_waiting(cluster, 20)
        cluster.worker = LOCAL
        cluster.searches = 0
        await cluster.gates.look()
        for number, (reader, writer) in enumerate(connections):
            writer.write(b"%3d" % number)
            assert await reader.readexactly(3) == b"%3d" % number
            await ended(writer)
        assert cluster.searches == 1, "all of them wait for the same worker"


async def test_where_no_worker_comes_the_connection_ends(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates_module, "PATIENCE_S", 0.05)
    gate = (await cluster.gates.keep({MODEL}))[MODEL]
    reader, writer = await asyncio.open_connection(LOCAL, gate.http_port)
    assert await reader.read() == b""
    assert await cluster.waiting() == 0
    await ended(writer)


async def test_a_worker_that_resets_the_connection_ends_the_clients(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.worker = LOCAL
    async with resetting(monkeypatch):
        gate = (await cluster.gates.keep({MODEL}))[MODEL]
        reader, writer = await asyncio.open_connection(LOCAL, gate.http_port)
        writer.write(b"is this speech?")
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        await ended(writer)


@asynccontextmanager
async def resetting(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """A worker that dies in the middle of a request."""

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    server = await asyncio.start_server(reset, LOCAL, 0)
    monkeypatch.setattr(gates_module, "HTTP_PORT", server.sockets[0].getsockname()[1])
    async with server:
        yield


async def test_a_worker_that_takes_no_connection_is_not_the_last_one(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with echoing("HTTP_PORT", monkeypatch):
        gate = (await cluster.gates.keep({MODEL}))[MODEL]
        cluster.worker = GONE
        reader, writer = await asyncio.open_connection(LOCAL, gate.http_port)
        await ask_before_the_worker_is_there(cluster, reader, writer)
        assert await cluster.waiting() == 0
        await ended(writer)


async def test_a_worker_that_does_not_answer_is_waited_for_no_longer_than_one_that_does_not_come(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_connection = asyncio.open_connection

    async def no_answer(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(gates_module, "PATIENCE_S", 0.05)
    monkeypatch.setattr(asyncio, "open_connection", no_answer)
    cluster.worker = LOCAL
    gate = (await cluster.gates.keep({MODEL}))[MODEL]
    reader, writer = await open_connection(LOCAL, gate.http_port)
    async with asyncio.timeout(5):
        assert await reader.read() == b""
    await ended(writer)


async def test_a_worker_that_does_not_answer_is_given_up_for_the_next_one(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_connection = asyncio.open_connection

    async def answer_local_alone(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if host == GONE:
            await asyncio.Event().wait()
        return await open_connection(host, port)

    monkeypatch.setattr(gates_module, "_CONNECT_PATIENCE_S", 0.05)
    monkeypatch.setattr(asyncio, "open_connection", answer_local_alone)
    async with echoing("HTTP_PORT", monkeypatch):
        gate = (await cluster.gates.keep({MODEL}))[MODEL]
        cluster.worker = GONE
        reader, writer = await open_connection(LOCAL, gate.http_port)
        await ask_before_the_worker_is_there(cluster, reader, writer)
        await ended(writer)


@pytest.mark.parametrize(
    ("bound", "held"), [("_MOST_CONNECTIONS_OF_A_MODEL", [2, 2]), ("_MOST_CONNECTIONS", [2, 0])]
)
async def test_more_connections_than_can_be_held_are_closed_at_once(
    bound: str, held: list[int], cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates_module, bound, 2)
    async with echoing("HTTP_PORT", monkeypatch):
        gates = await cluster.gates.keep({MODEL, OTHER})
        ports = [gates[key].http_port for key in (MODEL, OTHER)]
        connections = [await asyncio.open_connection(LOCAL, port) for port in ports for _ in range(4)]
        await until(lambda: sum(reader.at_eof() for reader, _ in connections) == 8 - sum(held))
        gates = await cluster.gates.keep({MODEL, OTHER})
        assert [gates[key].waiting for key in (MODEL, OTHER)] == held
        cluster.worker = LOCAL
        await cluster.gates.look()
        for _, writer in connections:
            await ended(writer)


async def test_a_gate_that_cannot_be_opened_is_tried_again_and_stops_no_other(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_server = asyncio.start_server
    failures = [None, OSError(errno.EMFILE, "Too many open files")]

    async def start_if_it_can(*arguments: Any, **options: Any) -> asyncio.Server:  # noqa: ANN401
        if failures and (failure := failures.pop(0)):
            raise failure
        return await start_server(*arguments, **options)

    monkeypatch.setattr(asyncio, "start_server", start_if_it_can)
    assert (await cluster.gates.keep({MODEL, OTHER})).keys() == {MODEL}
    assert (await cluster.gates.keep({MODEL, OTHER})).keys() == {MODEL, OTHER}


async def test_the_gate_of_a_model_that_may_sleep_no_more_is_closed(cluster: Cluster) -> None:
    gate = (await cluster.gates.keep({MODEL}))[MODEL]
    assert await cluster.gates.keep({MODEL}) == {MODEL: gate}
    assert await cluster.gates.keep(set()) == {}
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(LOCAL, gate.http_port)
