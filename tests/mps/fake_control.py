#!/usr/bin/env python3
"""A stand-in for nvidia-cuda-mps-control, as far as its answers are known, with faults to order.

With -f it is the daemon, without it passes a command on. Commands of its own, for tests: `fake server PID
STATE CLIENT...` sets its server, `fake log TEXT` logs, `fake hang` answers nothing any more,
`fake die STATUS` ends it, `fake occupy ID...` puts clients into
SM partitions; after `fake stay` it ends, when told to quit, only with `fake leave`. Started with FAKE_DEAF in
its environment, it ignores percentages.
"""

import os
import signal
import socket
import sys
import time
from pathlib import Path

#: Of the one GPU.
CHUNKS = 16
UUID_COLUMN = "GPU-5f1a0c1e"


class Daemon:
    """Answers one command after the other."""

    def __init__(self, static: bool) -> None:
        self._static = static
        self._percent = "100.0"
        self._memory = ""
        self._server: tuple[str, str, list[str]] | None = None
        self._deaf = "FAKE_DEAF" in os.environ
        self._partitions: dict[str, int] = {}
        self._partitions_made = 0
        self._occupied: list[str] = []
        self._clients_stay = False
        self.hangs = False

    def answer(self, command: str) -> str:
        """What nvidia-cuda-mps-control prints."""
        self.log(f"Cmd:{command}")
        match command.split():
            case ["fake", *rest]:
                return self._fake(rest)
            case ["quit"] if self._clients_stay:
                return ""
            case ["quit"]:
                raise SystemExit(0)
            case ["get_server_list"]:
                return self._server[0] if self._server else ""
            case ["get_server_status", pid]:
                return self._server[1] if self._server else f"Server {pid} not found"
            case ["get_client_list", pid]:
                return "\n".join(self._server[2]) if self._server else f"Server {pid} not found"
            case ["set_default_active_thread_percentage", percent]:
                if not self._deaf:
                    self._percent = f"{float(percent):.1f}"
                return "50.0" if self._deaf else self._percent
            case ["set_default_device_pinned_mem_limit", "0", limit]:
                mebibytes = int(limit.removesuffix("M"))
                self._memory = f"{mebibytes // 1024}G" if mebibytes >= 1024 else f"{mebibytes}M"
                return ""
            case ["get_default_device_pinned_mem_limit", "0"]:
                return self._memory
            case ["sm_partition", *arguments] if self._static:
                return self._partition(arguments)
            case ["lspart"] if self._static:
                rows = (f"{UUID_COLUMN}  {name}  {chunks}" for name, chunks in self._partitions.items())
                return "\n".join(["GPU  Partition  Chunks", *rows])
            case _:
                return f'Unknown command "{command.split()[0]}"'

    def log(self, text: str) -> None:
        """A line as the daemon writes it."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S.000")
        sys.stdout.write(f"[{stamp} Control {os.getpid():5d}] {text}\n")
        sys.stdout.flush()

    def _partition(self, arguments: list[str]) -> str:
        match arguments:
            case ["add", uuid, chunks]:
                if sum(self._partitions.values()) + int(chunks) > CHUNKS:
                    return "Not enough resources to create the partition"
                self._partitions_made += 1
                name = f"Dx4A{self._partitions_made}"
                self._partitions[name] = int(chunks)
                return f"Partition {uuid}/{name} created"
            case ["rm", _, name] if name not in self._occupied:
                self._partitions.pop(name, None)
        return ""

    def _fake(self, arguments: list[str]) -> str:
        match arguments:
            case ["occupy", *names]:
                self._occupied = names
            case ["server", pid, state, *clients]:
                self._server = (pid, state, clients)
            case ["log", *words]:
                self.log(" ".join(words))
            case ["hang"]:
                self.hangs = True
            case ["stay"]:
                self._clients_stay = True
            case ["leave"]:
                raise SystemExit(0)
            case ["die", status]:
                raise SystemExit(int(status))
        return ""


def _serve(daemon: Daemon, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(str(path)) == 0:
            daemon.log("An instance of this daemon is already running")
            sys.exit(1)
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        daemon.log(f"Starting control daemon using socket {path}")
        while not daemon.hangs:
            connection, _ = listener.accept()
            with connection, connection.makefile("rw") as stream:
                for line in stream:
                    stream.write(daemon.answer(line.strip()))
                    stream.flush()
                    connection.shutdown(socket.SHUT_WR)
        signal.pause()


def _ask(path: Path) -> int:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            sys.stderr.write("Cannot find MPS control daemon process\n")
            return 1
        connection.sendall(sys.stdin.readline().encode())
        while data := connection.recv(4096):
            sys.stdout.write(data.decode())
    return 0


if __name__ == "__main__":
    socket_path = Path(os.environ["CUDA_MPS_PIPE_DIRECTORY"], "control")
    if "-f" in sys.argv:
        _serve(Daemon(static="-S" in sys.argv), socket_path)
    sys.exit(_ask(socket_path))
