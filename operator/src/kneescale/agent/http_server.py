"""The agent's own HTTP: /metrics, /healthz, and /trace, the grants as they were and what is waited for."""

import json
import logging
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from threading import Lock
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from kneescale.agent.backend import Backend, Device
from kneescale.agent.dispatcher_host import DispatcherHost
from kneescale.agent.trace import GrantRecord
from kneescale.core.errors import InvalidInputError
from kneescale.core.units import NS_PER_S

log = logging.getLogger(__name__)

_DEFAULT_SECONDS = 60
#: Three years; Python takes no number of thousands of digits.
_MOST_SECONDS_DIGITS = 8
#: The port is for anyone; each connection has a thread and a descriptor, which grant sockets need as well.
_MOST_CONNECTIONS = 32
#: Encoding JSON keeps all threads waiting: a few milliseconds at a time, not the whole trace at once.
_RECORDS_PER_WRITE = 200


@dataclass(frozen=True, slots=True)
class Pages:
    """What the server shows; `problems` is empty while the agent is well."""

    node_name: str
    backend: Backend
    hosts: Mapping[str, DispatcherHost]
    registry: CollectorRegistry
    problems: Callable[[], list[str]]

    def trace(self, seconds: int, now_ns: int) -> Iterator[str]:
        """The grants that ended over the last `seconds`, and what each device waits for: one JSON document.

        It comes in pieces.
        """
        hosts = dict(self.hosts.items())
        devices = [device for device in self.backend.devices() if device.name in hosts]
        head = {"node": self.node_name, "backend": self.backend.name, "now_ns": now_ns}
        yield json.dumps(head)[:-1] + ', "devices": ['
        for index, device in enumerate(devices):
            yield ", " if index else ""
            yield from _device_trace(device, hosts[device.name], now_ns - seconds * NS_PER_S)
        yield "]}\n"


def make_server(port: int, pages: Pages) -> ThreadingHTTPServer:
    """A bound server, ready for `serve_forever`; port 0 takes a free one."""

    class Handler(_Handler):
        shown = pages

    return _Server(("", port), Handler)


class _Server(ThreadingHTTPServer):
    """Who comes where there is no room takes that of the oldest connection, which may never ask anything."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._lock = Lock()
        #: The oldest first.
        self._connections: list[socket.socket] = []
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's own
        """A connection came."""
        with self._lock:
            if len(self._connections) == _MOST_CONNECTIONS:
                # Its thread finds it closed, and ends.
                with suppress(OSError):
                    self._connections.pop(0).shutdown(socket.SHUT_RDWR)
            self._connections.append(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - socketserver's own
        """A connection is done with."""
        with self._lock:
            if request in self._connections:
                self._connections.remove(request)
            super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Who does not wait for the answer is no fault of ours."""
        if isinstance(sys.exception(), ConnectionError):
            log.debug("%s hung up", client_address)
        else:
            log.exception("a request of %s failed", client_address)


class _Handler(BaseHTTPRequestHandler):
    shown: ClassVar[Pages]
    #: Who is silent for so long, or does not read, is hung up on, in seconds.
    timeout = 10.0

    def do_GET(self) -> None:
        """Answer one request."""
        url = urlsplit(self.path)
        if url.path == "/metrics":
            self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self.shown.registry))
        elif url.path == "/healthz":
            problems = self.shown.problems()
            status = HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK
            self._answer(status, "text/plain", "\n".join(problems or ["ok"]).encode())
        elif url.path == "/trace":
            self._trace(url.query)
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"try /metrics, /healthz or /trace?seconds=60\n")

    def log_message(self, format: str, *args: object) -> None:
        """Requests are frequent and dull."""
        log.debug(format, *args)

    def _trace(self, query: str) -> None:
        try:
            seconds = _read_seconds(query)
        except InvalidInputError as error:
            self._answer(HTTPStatus.BAD_REQUEST, "text/plain", f"{error}\n".encode())
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        for piece in self.shown.trace(seconds, time.monotonic_ns()):
            self.wfile.write(piece.encode())

    def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _read_seconds(query: str) -> int:
    text = parse_qs(query).get("seconds", [str(_DEFAULT_SECONDS)])[0]
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_SECONDS_DIGITS and int(text)):
        most = f"{_MOST_SECONDS_DIGITS} digits at most"
        raise InvalidInputError(f"seconds must be a whole number above 0, of {most}, not {text[:80]!r}")
    return int(text)


def _device_trace(device: Device, host: DispatcherHost, start_ns: int) -> Iterator[str]:
    waiting = host.waiting
    head = {
        "name": device.name,
        "uuid": device.uuid,
        "overcommitted": host.trace.overcommitted,
        "waiting": {
            "reason": waiting.reason,
            "until_ns": waiting.until_ns,
            "partition": waiting.partition,
        },
    }
    yield json.dumps(head)[:-1] + ', "grants": ['
    separator = ""
    for records in _batched(host.trace.since(start_ns), _RECORDS_PER_WRITE):
        yield separator + json.dumps([asdict(record) for record in records])[1:-1]
        separator = ", "
    yield "]}"


def _batched(records: Iterable[GrantRecord], size: int) -> Iterator[list[GrantRecord]]:
    iterator = iter(records)
    while batch := list(islice(iterator, size)):
        yield batch
