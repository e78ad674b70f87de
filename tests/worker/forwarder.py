"""A TCP forwarder: what a Service does, whose connections stay while new ones go to the new endpoint."""

import selectors
import socket
import socketserver
import threading
from types import TracebackType
from typing import Self


class Forwarder(socketserver.ThreadingTCPServer):
    """Listens on a port of its own and forwards each connection to `target`, as it is at that moment."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, target_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.target_port = target_port

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()


class _Connection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Forwarder)
        with (
            socket.create_connection(("127.0.0.1", self.server.target_port)) as backend,
            selectors.DefaultSelector() as selector,
        ):
            selector.register(self.request, selectors.EVENT_READ, backend)
            selector.register(backend, selectors.EVENT_READ, self.request)
            try:
                while all(_pass_on(key) for key, _ in selector.select()):
                    pass
            except ConnectionError:
                return


def _pass_on(key: selectors.SelectorKey) -> bool:
    """Forward what came; False at the end of either side."""
    assert isinstance(key.fileobj, socket.socket)
    data = key.fileobj.recv(65536)
    key.data.sendall(data)
    return bool(data)
