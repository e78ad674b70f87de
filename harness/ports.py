"""Ports that nobody listens on."""

import socket
from contextlib import ExitStack

#: Of this process: who was given one may listen on it seconds later.
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """So many ports that were free on all addresses just now, and that nobody here was given before."""
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < count:
            listener = held.enter_context(socket.create_server(("", 0)))
            port: int = listener.getsockname()[1]
            if port not in _given:
                ports.append(port)
    _given.update(ports)
    return ports
