"""One connection to the agent's dispatcher: frames in and out."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from kneescale.core.errors import ProtocolError
from kneescale.core.wire import Decoder, Hello, Message, encode

_log = logging.getLogger(__name__)
#: Between two attempts to reach the agent, doubling.
FIRST_BACKOFF_S = 0.05
LONGEST_BACKOFF_S = 1.0


class AgentLink(asyncio.Protocol):
    """A live connection; `on_message` is called for each message of the agent, in order."""

    def __init__(self, on_message: "Callable[[AgentLink, Message], None]") -> None:
        self._on_message = on_message
        self._decoder = Decoder()
        self._transport: asyncio.WriteTransport | None = None
        #: Set when the connection is gone.
        self.closed = asyncio.Event()

    def send(self, message: Message) -> None:
        """Send a message; nothing happens when the connection is gone."""
        if self._transport is not None and not self.closed.is_set():
            self._transport.write(encode(message))

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        try:
            for message in self._decoder.feed(data):
                self._on_message(self, message)
        except ProtocolError as error:
            _log.error("closing the connection to the agent: %s", error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self.closed.set()


async def connect(socket: Path, hello: Hello, on_message: Callable[[AgentLink, Message], None]) -> AgentLink:
    """Connect and say `hello`, trying again until the agent listens."""
    loop = asyncio.get_running_loop()
    backoff_s = FIRST_BACKOFF_S
    while True:
        try:
            _, link = await loop.create_unix_connection(lambda: AgentLink(on_message), str(socket))
        except OSError:
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)
        else:
            link.send(hello)
            return link
