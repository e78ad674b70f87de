"""The least that a grant there and back can take on this machine: loops that do nothing but pass bytes on.

Processes that wait for as many bytes as a grant has, sleep for as long as a batch takes and answer; this one
sends the next grant to each as soon as its answer came. No dispatcher, no queue, no other threads.
"""

import os
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from subprocess import Popen

from kneescale.core.units import NS_PER_S, NS_PER_US
from kneescale.core.wire import Grant, encode

_GRANT = encode(Grant(1, 1, 1, 1))
_TIMES = struct.Struct("<QQ")


def ways_us(workers: int, batch_ns: int, seconds: float) -> list[float]:
    """How long each grant was on its way there and back, in microseconds, over so many seconds."""
    with ExitStack() as stack:
        started = [stack.enter_context(_worker(batch_ns)) for _ in range(workers)]
        sockets = {sock.fileno(): sock for sock in started}
        poll = stack.enter_context(select.epoll())
        for fileno, sock in sockets.items():
            sock.recv(1)  # it has started
            poll.register(fileno, select.EPOLLIN)
        granted_ns = {fileno: _grant(sock) for fileno, sock in sockets.items()}
        ways: list[float] = []
        until_ns = time.monotonic_ns() + round(seconds * NS_PER_S)
        while time.monotonic_ns() < until_ns:
            for fileno, _ in poll.poll():
                started_ns, ended_ns = _TIMES.unpack(sockets[fileno].recv(_TIMES.size))
                now_ns = time.monotonic_ns()
                ways.append((now_ns - granted_ns[fileno] - (ended_ns - started_ns)) / NS_PER_US)
                granted_ns[fileno] = _grant(sockets[fileno])
        return ways


def _grant(sock: socket.socket) -> int:
    now_ns = time.monotonic_ns()
    sock.send(_GRANT)
    return now_ns


@contextmanager
def _worker(batch_ns: int) -> Iterator[socket.socket]:
    here, there = socket.socketpair()
    with here, there:
        command = [sys.executable, "-m", "benchmarks.bare_loops", str(there.fileno()), str(batch_ns)]
        with Popen(command, pass_fds=[there.fileno()]) as worker:
            there.close()
            try:
                yield here
            finally:
                worker.kill()


def _work(fileno: int, batch_ns: int) -> None:
    os.write(fileno, b"\0")
    while True:
        os.read(fileno, len(_GRANT))
        started_ns = time.monotonic_ns()
        time.sleep(batch_ns / NS_PER_S)
        os.write(fileno, _TIMES.pack(started_ns, time.monotonic_ns()))


if __name__ == "__main__":
    _work(int(sys.argv[1]), int(sys.argv[2]))
