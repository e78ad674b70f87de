"""One connection to the agent's dispatcher: frames in and out."""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock

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
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.WriteTransport | None = None
        self._fileno = -1
        #: Held while something is sent, and where the connection comes and goes.
        self._lock = Lock()
        #: Set when the connection is gone.
        self.closed = asyncio.Event()

    def send(self, message: Message) -> None:
        """Send a message; nothing happens when the connection is gone."""
        with self._lock:
            if self._transport is not None:
                self._transport.write(encode(message))

    def send_from_any_thread(self, message: Message) -> None:
        """The same without a way through the event loop, which is long for a batch's end."""
        with self._lock:
            if self._transport is None:
                return
            # Behind what asyncio still has to send, or not at all: frames must not mix.
            if self._transport.get_write_buffer_size() == 0:
                with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                    # A frame is far smaller than what a Unix socket takes or refuses as a whole.
                    os.write(self._fileno, encode(message))
                    return
        self._loop.call_soon_threadsafe(self.send, message)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._fileno = transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        try:
            for message in self._decoder.feed(data):
                self._on_message(self, message)
        except ProtocolError as error:
            _log.error("closing the connection to the agent: %s", error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio, before it closes the socket."""
        with self._lock:
            self._transport = None
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
