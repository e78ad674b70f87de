"""What the control daemon is told, and what it answers.

The commands are those of the first interface of `nvidia-cuda-mps-control` (NVIDIA, Multi-Process Service,
"Legacy MPS v2 Interface"; its manual page). Traps, seen with the daemon of driver 535.261:
- Errors come on standard output, with exit status 0.
- A value out of range is ignored in silence; the answer is then the value of before.
- A memory limit of 1 GiB and more is shown in whole GiB: 1500M reads back as 1G.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from kneescale.core.errors import KneescaleError

_MIB_PER_GIB = 1024
_PARTITION = re.compile(r"\bGPU-[0-9A-Za-z-]+/\S+")

LIST_SERVERS = "get_server_list"
QUIT = "quit"


class DaemonAnswerError(KneescaleError):
    """The daemon answered something else than what its documentation says, or refused."""


class ServerState(StrEnum):
    """What `get_server_status` answers; UNKNOWN where the daemon is too old for that command."""

    INITIALIZING = "INITIALIZING"
    ACTIVE = "ACTIVE"
    #: Blocked on a client's fatal fault: no new client until all of now are gone.
    FAULT = "FAULT"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Server:
    """One MPS server (one per user; here there is one user) and its clients, by PID."""

    pid: int
    state: ServerState
    clients: tuple[int, ...]


def server_status(pid: int) -> str:
    """Ask how a server is."""
    return f"get_server_status {pid}"


def list_clients(server_pid: int) -> str:
    """Ask for the clients of a server."""
    return f"get_client_list {server_pid}"


def terminate_client(server_pid: int, client_pid: int) -> str:
    """End a client's GPU work, and wait until it has ended."""
    return f"terminate_client {server_pid} {client_pid}"


def set_percentage(percent: int) -> str:
    """Set the active thread percentage of servers still to start."""
    return f"set_default_active_thread_percentage {percent}"


def set_memory_limit(mebibytes: int) -> str:
    """Set the memory limit of clients of servers still to start, on the daemon's only device."""
    return f"set_default_device_pinned_mem_limit 0 {mebibytes}M"


READ_MEMORY_LIMIT = "get_default_device_pinned_mem_limit 0"


def add_partition(uuid: str, chunks: int) -> str:
    """Reserve SMs."""
    return f"sm_partition add {uuid} {chunks}"


def remove_partition(partition: str) -> str:
    """Give the SMs of a partition back, once no client is in it."""
    return f"sm_partition rm {' '.join(partition.split('/', 1))}"


LIST_PARTITIONS = "lspart"


def has_partition(answer: str, partition: str) -> bool:
    """Whether a partition is in the list, a table with the GPU's UUID and the id in columns of their own."""
    return partition.split("/", 1)[1] in answer.split()


def parse_pids(answer: str) -> tuple[int, ...]:
    """The PIDs of a list, one a line.

    Raises DaemonAnswerError on anything else.
    """
    lines = answer.split("\n") if answer.strip() else []
    if not all(line.strip().isdecimal() for line in lines if line.strip()):
        raise DaemonAnswerError(f"a list of PIDs should come, not {_one_line(answer)!r}")
    return tuple(int(line) for line in lines if line.strip())


def parse_server_state(answer: str) -> ServerState:
    """The state of a server; UNKNOWN on a daemon that does not know the question."""
    word = answer.strip().upper()
    return next((state for state in ServerState if state == word), ServerState.UNKNOWN)


def check_percentage(answer: str, percent: int) -> None:
    """Raise DaemonAnswerError unless the daemon took `percent`; it answers like 50.0."""
    if not re.fullmatch(rf"{percent}(\.0*)?", answer.strip()):
        raise DaemonAnswerError(f"the active thread percentage is {_one_line(answer)!r}, not {percent}")


def check_memory_limit(answer: str, mebibytes: int) -> None:
    """Raise DaemonAnswerError unless the daemon took the limit, as far as it shows it: 1500M as 1G."""
    whole = mebibytes // _MIB_PER_GIB
    shown = f"{whole}G" if whole else f"{mebibytes}M"
    if answer.strip() != shown:
        raise DaemonAnswerError(f"the memory limit reads back as {_one_line(answer)!r}, not {shown}")


def parse_partition(answer: str) -> str:
    """The id of the partition that was added, from `Partition GPU-.../... created` or the bare id.

    Raises DaemonAnswerError when none was: too few chunks are free, or the daemon is older than CUDA 13.1.
    """
    found = _PARTITION.search(answer)
    if found is None:
        raise DaemonAnswerError(f"no SM partition was made: {_one_line(answer)!r}")
    return found.group()


def _one_line(answer: str) -> str:
    return " | ".join(answer.strip().splitlines())
