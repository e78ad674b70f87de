"""Asking for probes, over a real socket: what comes of a grant that nobody waits for any more."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kneescale.core.units import NS_PER_MS
from kneescale.core.wire import Decoder, Done, Grant, Hello, Message, Probe, encode
from kneescale_worker.probes import ProbeClient

_RECEIVE_BYTES = 4096
_DEADLINE_S = 10.0


async def received(connection: socket.socket) -> AsyncIterator[Message]:
    """What the worker says."""
    decoder = Decoder()
    while data := await asyncio.get_running_loop().sock_recv(connection, _RECEIVE_BYTES):
        for message in decoder.feed(data):
            yield message


async def test_a_grant_that_comes_just_as_it_is_given_up_is_answered_by_the_next_probe(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, client = asyncio.get_running_loop(), ProbeClient(folder / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))
        listener.listen()
        listener.setblocking(False)
        first = asyncio.create_task(client.probe(40, 8, NS_PER_MS, lambda: None))
        connection, _ = await loop.sock_accept(listener)
    with connection:
        said = received(connection)
        assert isinstance(await anext(said), Hello)
        assert await anext(said) == Probe(40, 8, lasts_us=1000)
        with monkeypatch.context() as later:
            # The loop's next turn finds the grant and the end of patience.
            in_a_minute_s = loop.time() + 60
            later.setattr(loop, "time", lambda: in_a_minute_s)
            connection.sendall(encode(Grant(1, 40, 8, finish_by_ns=0)))
            assert await first is None
        second = asyncio.create_task(client.probe(40, 4, NS_PER_MS, lambda: None))
        assert await anext(said) == Probe(40, 4, lasts_us=1000)
        answer = await asyncio.wait_for(anext(said), _DEADLINE_S)
        assert isinstance(answer, Done)
        assert answer.grant_id == 1
        connection.sendall(encode(Grant(2, 40, 4, finish_by_ns=0)))
        assert await second is not None
