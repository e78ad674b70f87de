"""Grant sockets: whole messages in and out, never blocking, never growing without bound."""

import os
import socket
import struct
from pathlib import Path
from typing import Final

from kneescale.core.errors import ProtocolError
from kneescale.core.wire import Decoder, Message, encode

#: Read in one turn of the dispatcher's thread, about 100 messages or a millisecond: a worker that floods its
#: socket waits for its next turn, as all others do, and what it has not sent stays with it.
_READ_BYTES: Final = 2_048
#: So many reads empty a socket, as large as Linux makes it (net.core.wmem_default).
READS_OF_ALL: Final = 212_992 // _READ_BYTES
#: A worker has at most a grant per lane outstanding, and no more refusals than it announced items; one that
#: lets this much pile up does not read.
_MAX_PENDING_BYTES: Final = 65_536
_UCRED: Final = struct.Struct("3i")


class WorkerConnection:
    """A connected, non-blocking Unix socket speaking the grant protocol."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._decoder = Decoder()
        self._pending = bytearray()
        #: Whether more may have come than the last turn has read.
        self.is_behind = False

    def fileno(self) -> int:
        """The descriptor, for a selector."""
        return self._sock.fileno()

    def close(self) -> None:
        """Hang up."""
        self._sock.close()

    def receive(self) -> list[Message]:
        """The messages that came.

        Raises ProtocolError on bytes that are none, ConnectionError when the worker hung up.
        """
        try:
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            self.is_behind = False
            return []
        if not data:
            raise ConnectionResetError("the worker hung up")
        self.is_behind = len(data) == _READ_BYTES
        return list(self._decoder.feed(data))

    def send(self, message: Message) -> None:
        """Send `message`, or as much of it as fits now; `flush` sends the rest.

        Raises ProtocolError when the worker does not read, OSError when it is gone.
        """
        self._pending += encode(message)
        self.flush()
        if len(self._pending) > _MAX_PENDING_BYTES:
            raise ProtocolError("the worker does not read what it is sent")

    def flush(self) -> None:
        """Send what is pending, as far as it fits. Raises OSError when the worker is gone."""
        while self._pending:
            try:
                sent = self._sock.send(self._pending)
            except BlockingIOError:
                return
            del self._pending[:sent]

    @property
    def has_pending(self) -> bool:
        """Whether `flush` has something left to send once the socket is writable."""
        return bool(self._pending)


def listen(path: Path, worker_uid: int) -> socket.socket:
    """A non-blocking listening socket at `path` for the group of the user `worker_uid`, which has its number.

    An old one there is replaced.
    """
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.bind(str(path))
        os.chown(path, -1, worker_uid)
        path.chmod(0o660)
        sock.listen()
    except OSError:
        sock.close()
        raise
    return sock


def peer_uid(sock: socket.socket) -> int:
    """The user at the other end of a connected Unix socket, as the kernel knows it."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    _, uid, _ = _UCRED.unpack(credentials)
    return int(uid)
