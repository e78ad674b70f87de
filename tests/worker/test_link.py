"""A connection whose messages threads wait for, and not the event loop."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from kneescale.core.errors import ProtocolError
from kneescale.core.wire import Decoder, Done, Hello, Message, Refuse, Restart, Role, encode
from kneescale_worker.link import AgentLink, MessageReader, connect
from tests.waiting import until

HELLO = Hello(Role.SERVE, born_ns=1)


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


def next_message(reader: MessageReader) -> Message | None:
    with reader:
        return reader.read()


async def test_a_thread_gets_each_message_and_then_the_end(folder: Path) -> None:
    async with connected(folder) as ends:
        first = asyncio.create_task(asyncio.to_thread(next_message, ends.reader))
        frames = encode(Refuse(3)) + encode(Restart())
        ends.agent.sendall(frames[:5])
        ends.agent.sendall(frames[5:])
        assert await first == Refuse(3)
        assert next_message(ends.reader) == Restart()
        ends.agent.close()
        assert next_message(ends.reader) is None


async def test_threads_take_the_messages_in_the_order_in_which_they_came(folder: Path) -> None:
    count, threads = 500, 4

    def take(reader: MessageReader, taken: list[Message]) -> None:
        for _ in range(count // threads):
            with reader:
                message = reader.read()
                assert message is not None
                taken.append(message)

    async with connected(folder) as ends:
        taken: list[Message] = []
        taking = [asyncio.to_thread(take, ends.reader, taken) for _ in range(threads)]
        sent = [Refuse(number) for number in range(count)]
        sending = asyncio.to_thread(ends.agent.sendall, b"".join(map(encode, sent)))
        await asyncio.gather(sending, *taking)
    assert taken == sent


async def test_closing_ends_the_wait_of_all_threads(folder: Path) -> None:
    async with connected(folder) as ends:
        waiting = [asyncio.create_task(asyncio.to_thread(next_message, ends.reader)) for _ in range(3)]
        ends.link.close()
        assert await asyncio.gather(*waiting) == [None, None, None]


async def test_bytes_that_are_no_message_are_an_error(folder: Path) -> None:
    async with connected(folder) as ends:
        ends.agent.sendall(b"\xff" * 8)
        with pytest.raises(ProtocolError):
            next_message(ends.reader)


async def test_what_did_not_fit_arrives_before_what_is_sent_after_it(folder: Path) -> None:
    async with connected(folder) as ends:
        ends.agent.setblocking(False)
        decoder, heard = Decoder(), list[Message]()

        def hear() -> bool:
            with suppress(BlockingIOError):
                while data := ends.agent.recv(65_536):
                    heard.extend(decoder.feed(data))
            return len(heard) == 1 + len(sent)

        # More than the socket takes, and one when it has room again; the event loop has not turned yet.
        sent = [Done(number, 0, 0) for number in range(2_000)]
        for message in sent[:-1]:
            ends.link.send_from_any_thread(message)
        assert not hear()
        ends.link.send_from_any_thread(sent[-1])
        await until(hear)
    assert heard == [HELLO, *sent]
