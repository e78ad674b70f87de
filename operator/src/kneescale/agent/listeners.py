"""The grant sockets of a device: one for each partition whose claim is prepared, for its worker alone."""

import logging
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kneescale.agent.connection import listen, peer_uid
from kneescale.agent.quiet_log import QuietLog
from kneescale.core.units import NS_PER_S

#: So soon a socket is tried again that could not be opened.
_OPEN_AGAIN_NS = NS_PER_S


@dataclass(frozen=True, slots=True)
class _Listener:
    sock: socket.socket
    claim_uid: str


class Listeners:
    """Listens where `socket_path` says for a claim; `on_worker` gets a partition's name and who connected.

    Its handlers, called with the events, are the data of what it registers with `selector`.
    """

    def __init__(
        self,
        socket_path: Callable[[str], Path],
        worker_uid: int,
        selector: selectors.BaseSelector,
        on_worker: Callable[[str, socket.socket], None],
        log: QuietLog,
    ) -> None:
        self._socket_path = socket_path
        self._worker_uid = worker_uid
        self._selector = selector
        self._on_worker = on_worker
        self._log = log
        #: The claims of the partitions to listen for.
        self._claims: Mapping[str, str] = {}
        self._listeners: dict[str, _Listener] = {}
        #: Those that cannot be listened for, with why, as far as it is logged; and when to try again.
        self._unheard: dict[str, str] = {}
        self._open_again_ns = 0

    def follow(self, claims: Mapping[str, str]) -> None:
        """Listen for the partitions of these claims, given by partition, and for no others."""
        self._claims = claims
        for name, listener in list(self._listeners.items()):
            path = self._socket_path(listener.claim_uid)
            # A claim that went and came back between two turns took its socket with it.
            if claims.get(name) != listener.claim_uid or not path.exists():
                self._close(name)
        self._open_all()

    def open_again(self) -> None:
        """Try those again that could not be opened, where it is time to."""
        if self._unheard and time.monotonic_ns() >= self._open_again_ns:
            self._open_all()

    def close(self) -> None:
        """Listen no more; the sockets' files stay, for the next agent to replace."""
        for listener in self._listeners.values():
            listener.sock.close()

    def _open_all(self) -> None:
        """Listen for all who have a claim; it is logged once of those for whom that cannot be."""
        before, self._unheard = self._unheard, {}
        for name in self._claims.keys() - self._listeners.keys():
            try:
                self._open(name)
            except OSError as error:
                self._unheard[name] = why = f"{self._socket_path(self._claims[name])}: {error}"
                if why != before.get(name):
                    self._log.warn(name, "cannot listen for partition %s at %s", why)
        self._open_again_ns = time.monotonic_ns() + _OPEN_AGAIN_NS

    def _open(self, name: str) -> None:
        """Raises OSError."""
        claim_uid = self._claims[name]
        sock = listen(self._socket_path(claim_uid), self._worker_uid)
        listener = self._listeners[name] = _Listener(sock, claim_uid)
        self._selector.register(sock, selectors.EVENT_READ, partial(self._on_connect, name, listener))

    def _close(self, name: str) -> None:
        listener = self._listeners.pop(name)
        self._selector.unregister(listener.sock)
        listener.sock.close()
        # One that stays, as on a file system that is read-only by now, is replaced by the next that listens.
        with suppress(OSError):
            self._socket_path(listener.claim_uid).unlink(missing_ok=True)

    def _on_connect(self, name: str, listener: _Listener, mask: int) -> None:
        if self._listeners.get(name) is not listener:
            return  # closed while this event waited its turn
        try:
            sock, _ = listener.sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            # As when there is no descriptor left; the one of the listener is another's meanwhile.
            self._close(name)
            self._unheard[name] = ""
            self._open_again_ns = time.monotonic_ns() + _OPEN_AGAIN_NS
            self._log.say(logging.WARNING, name, "partition %s: cannot take its worker: %s", error)
            return
        uid = peer_uid(sock)
        if uid != self._worker_uid:
            self._log.say(logging.WARNING, name, "partition %s: refused user %d on its socket", uid)
            sock.close()
            return
        self._on_worker(name, sock)
