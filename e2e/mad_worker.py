"""A program for a worker's container that abuses the grant socket as fast as it can."""

#: For five seconds: connections that talk nonsense, that talk sense without end, and that never read.
MAD_WORKER = """
import socket, time
from kneescale.core.wire import Arrived, Hello, Role, encode

def connected():
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(0.5)
    sock.connect('/run/kneescale/dispatcher.sock')
    return sock

floods = [b'\\\\xff' * 65536, encode(Hello(Role.SERVE, 1)) + encode(Arrived(1, 1)) * 4096]
end = time.monotonic() + 5
turn = 0
while time.monotonic() < end:
    turn += 1
    try:
        sock = connected()
        for _ in range(8):
            sock.sendall(floods[turn % 2])
    except OSError:
        pass
"""
