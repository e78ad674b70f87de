"""A connection whose messages threads wait for, and not the event loop."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from kneescale.core.errors import ProtocolError
from kneescale.core.wire import Hello, Message, Refuse, Restart, Role, encode
from kneescale_worker.link import AgentLink, MessageReader, connect

HELLO = Hello(Role.SERVE, 8, born_ns=1)


@dataclass
class Ends:
    """Both ends of a connection."""

    link: AgentLink
    reader: MessageReader
    agent: socket.socket


def not_here(link: AgentLink, message: Message) -> None:
    raise AssertionError(f"{message} came to the event loop")


@asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[Ends]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "s"))
        listener.listen()
        link = await connect(folder / "s", HELLO, not_here)
        agent, _ = listener.accept()
    with agent:
        yield Ends(link, link.detach_reader(), agent)
        link.close()
        await link.closed.wait()


async def test_a_thread_gets_each_message_and_then_the_end(folder: Path) -> None:
    async with connected(folder) as ends:
        first = asyncio.create_task(asyncio.to_thread(ends.reader.next))
        frames = encode(Refuse(3)) + encode(Restart())
        ends.agent.sendall(frames[:5])
        ends.agent.sendall(frames[5:])
        assert await first == Refuse(3)
        assert ends.reader.next() == Restart()
        ends.agent.close()
        assert ends.reader.next() is None


async def test_closing_ends_the_wait_of_a_thread(folder: Path) -> None:
    async with connected(folder) as ends:
        waiting = asyncio.create_task(asyncio.to_thread(ends.reader.next))
        ends.link.close()
        assert await waiting is None


async def test_bytes_that_are_no_message_are_an_error(folder: Path) -> None:
    async with connected(folder) as ends:
        ends.agent.sendall(b"\xff" * 8)
        with pytest.raises(ProtocolError):
            ends.reader.next()
