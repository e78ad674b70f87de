"""One connection to the agent's dispatcher: frames in and out."""

import asyncio
import logging
import os
import select
import socket
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock

from kneescale.core.backoff import Backoff
from kneescale.core.errors import ProtocolError
from kneescale.core.wire import Decoder, Hello, Message, encode

_log = logging.getLogger(__name__)
_ONE_TURN = select.EPOLLIN | select.EPOLLONESHOT
#: Between two attempts to reach the agent.
BACKOFF = Backoff(first_s=0.05, longest_s=1)


class MessageReader:
    """The messages of a connection, for threads that wait for them.

    As a context manager it is a turn: entered by one thread at a time, once there is something to read.
    """

    def __init__(self, fileno: int) -> None:
        # A descriptor of its own: the event loop closes the other one, whoever waits here.
        self._fileno = os.dup(fileno)
        weakref.finalize(self, os.close, self._fileno)
        # The kernel wakes one thread and tells no other until its turn is over. A lock that they handed on
        # would wake a second one with each message, to wait for the interpreter and for a core.
        self._turns = select.epoll()
        self._turns.register(self._fileno, _ONE_TURN)
        self._readable = select.poll()
        self._readable.register(self._fileno, select.POLLIN)
        self._decoder = Decoder()

    def __enter__(self) -> "MessageReader":
        self._turns.poll()
        return self

    def __exit__(self, *_: object) -> None:
        self._turns.modify(self._fileno, _ONE_TURN)

    def read(self) -> Message | None:
        """The next message, in a turn; None when the connection is gone.

        No byte of the message after it is read: that is for the next turn. Raises ProtocolError.
        """
        while True:
            try:
                data = os.read(self._fileno, self._decoder.missing)
            except BlockingIOError:
                self._readable.poll()
                continue
            except OSError:
                return None
            if not data:
                return None
            message = next(self._decoder.feed(data), None)
            if message is not None:
                return message


class AgentLink(asyncio.Protocol):
    """A live connection; `on_message` is called for each message of the agent, in order."""

    def __init__(self, on_message: "Callable[[AgentLink, Message], None]") -> None:
        self._on_message = on_message
        self._decoder = Decoder()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._fileno = -1
        self._reader: MessageReader | None = None
        #: Held while something is sent, and where the connection comes and goes.
        self._lock = Lock()
        #: Frames that did not fit, and wait for the event loop.
        self._late = bytearray()
        #: Set when the connection is gone.
        self.closed = asyncio.Event()

    def send(self, message: Message) -> None:
        """Send a message; nothing happens when the connection is gone."""
        with self._lock:
            if self._transport is not None:
                self._transport.write(encode(message))

    def send_from_any_thread(self, message: Message) -> None:
        """The same without a way through the event loop, which is long for a batch's end.

        What is sent so arrives in its order.
        """
        with self._lock:
            if self._transport is None:
                return
            # Behind what is still to be sent, or not at all: frames must not mix.
            if not self._late and self._transport.get_write_buffer_size() == 0:
                with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                    # A frame is far smaller than what a Unix socket takes or refuses as a whole.
                    os.write(self._fileno, encode(message))
                    return
            self._late += encode(message)
        self._loop.call_soon_threadsafe(self._send_late)

    def _send_late(self) -> None:
        with self._lock:
            if self._transport is not None:
                self._transport.write(bytes(self._late))
            self._late.clear()

    def detach_reader(self) -> MessageReader:
        """From now on the reader, always the same, has the messages that come, and `on_message` none."""
        assert self._transport is not None
        if self._reader is None:
            self._transport.pause_reading()
            self._reader = MessageReader(self._fileno)
        return self._reader

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        assert isinstance(transport, asyncio.Transport)
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
            if self._transport is not None:
                # A reader has it open still, and may wait for what never comes.
                with suppress(OSError):
                    self._transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            self._transport = None
        self.closed.set()


async def connect(socket: Path, hello: Hello, on_message: Callable[[AgentLink, Message], None]) -> AgentLink:
    """Connect and say `hello`, trying again until the agent listens."""
    loop = asyncio.get_running_loop()
    failures = 0
    while True:
        try:
            _, link = await loop.create_unix_connection(lambda: AgentLink(on_message), str(socket))
        except OSError:
            failures += 1
            await asyncio.sleep(BACKOFF.wait_s(failures))
        else:
            link.send(hello)
            return link
