"""A program for a worker's container that abuses the grant socket as fast as it can, for five seconds.

It opens connection after connection, talks nonsense on every other one and sense without end on the rest,
and reads nothing. It is given to the container's own Python as text (`SOURCE`).
"""

import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

from kneescale.core.wire import Arrived, Hello, Role, encode

SOCKET = "/run/kneescale/dispatcher.sock"
RAVES_S = 5.0


def main() -> None:
    """Rave; ends with an error where nobody ever let it in."""
    nonsense = b"\xff" * 65_536
    sense = encode(Hello(Role.SERVE, born_ns=1)) + 4096 * encode(Arrived(1, arrived_ns=1))
    end_s = time.monotonic() + RAVES_S
    was_let_in = False
    while time.monotonic() < end_s:
        for flood in (nonsense, sense):
            with suppress(OSError), socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(0.5)
                sock.connect(SOCKET)
                was_let_in = True
                _pour(sock, flood)
    if not was_let_in:
        sys.exit(f"nobody listens at {SOCKET}")


def _pour(sock: socket.socket, flood: bytes) -> None:
    for _ in range(8):
        sock.sendall(flood)


if __name__ == "__main__":
    main()
else:
    SOURCE = Path(__file__).read_text()
