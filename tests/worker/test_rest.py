"""The REST server in the test's own process, where a fault can be put behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession

from harness.ports import free_ports
from kneescale_worker import accounts, connection_age
from kneescale_worker.accounts import RequestAccounts
from kneescale_worker.dataplane import DataPlane, State
from kneescale_worker.metrics import Metrics
from kneescale_worker.queue import ItemQueue
from kneescale_worker.rest import RestServer
from tests.waiting import until
from tests.worker.fake_executor import DoublingExecutor


class _Rig:
    """A server whose model answers nothing."""

    def __init__(self) -> None:
        self.queue = ItemQueue(limit=100)
        self.plane = DataPlane(
            "m", DoublingExecutor.metadata, self.queue, lambda items, arrived_ns: None, emulated=False
        )
        self.plane.state = State.SERVING
        metrics = Metrics("m", "cpu", "cpu")
        self.accounts = RequestAccounts(metrics)
        self._server = RestServer(self.plane, self.accounts, metrics)
        self.port, self._metrics_port = free_ports(2)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ClientSession]:
        """A client whose requests are paths."""
        await self._server.start(self.port, self._metrics_port)
        try:
            async with ClientSession(f"http://127.0.0.1:{self.port}") as client:
                yield client
        finally:
            await self._server.stop()


async def test_an_old_connection_is_closed_with_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for age_s, says in ((10, None), (0, "close")):
        monkeypatch.setattr(connection_age, "CONNECTION_AGE_S", age_s)
        async with _Rig().serving() as client, client.get("/v2/health/live") as response:
            assert (response.status, response.headers.get("Connection")) == (200, says)


async def test_bodies_that_are_half_sent_count_and_more_than_fit_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accounts, "LARGEST_HELD_BYTES", 100)
    rig, path = _Rig(), "/v2/models/m/infer"
    async with rig.serving() as client:
        _, slow = await asyncio.open_connection("127.0.0.1", rig.port)
        slow.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n\r\n".encode() + bytes(60))
        await until(lambda: rig.accounts.held_bytes == 60)
        async with client.post(path, data=b" " * 41) as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
            assert "101 bytes of requests" in (await refused.json())["error"]
        async with client.post(path, data=b" " * 40) as invalid:
            assert invalid.status == 400
        slow.close()
        await until(lambda: rig.accounts.held_bytes == 0)


async def test_an_error_that_nobody_foresaw_is_an_error_object_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig = _Rig()
    monkeypatch.setattr(rig.plane, "metadata", None)
    async with rig.serving() as client, client.get("/v2/models/m") as response:
        assert (response.status, await response.json()) == (
            500,
            {"error": "GET /v2/models/m: the worker failed; its log says why"},
        )
    assert "AttributeError" in caplog.text
