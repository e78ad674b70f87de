"""What became of a GPU's daemon: a small file for each, which this program writes and the agent reads."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from kneescale.api.codec import DateTime, Items, Range, Text, decode, encode
from kneescale.core.errors import InvalidInputError
from kneescale.core.units import NS_PER_S
from kneescale.mps.files import replace_text
from kneescale.mps.paths import gpu_dir

Pid = Annotated[int, Range(0)]
#: So often a status is told, whether or not it changed.
REPEAT_NS = 10 * NS_PER_S


class DaemonState(StrEnum):
    """How it goes with a control daemon and its server."""

    #: Started; it has not answered, or its limits are not set yet.
    STARTING = "Starting"
    RUNNING = "Running"
    #: A client's fault, or its server's death, took the contexts of all its clients.
    FAULTED = "Faulted"
    #: It did not take a limit; no client should start.
    MISCONFIGURED = "Misconfigured"
    #: Its servers do not start, so that nobody can be a client.
    SERVERLESS = "Serverless"
    #: It ended, and is started again after a while.
    DOWN = "Down"


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """A daemon as the agent sees it.

    `losses` counts how often all clients lost their contexts: whoever sees it change must restart the workers
    of that GPU. `line` says why it rose last, and while nothing can be learnt of the daemon also why not;
    `clients` which processes were connected then, or are now while all is well. PIDs are the host's; 0: not
    known. Who was born before `lost_ns` may have lost its contexts. `written_ns` and `lost_ns` are
    CLOCK_MONOTONIC, which all containers of a node share; the status is told every `REPEAT_NS`.
    """

    state: DaemonState
    since: Annotated[str, DateTime()]
    restarts: Annotated[int, Range(0)] = 0
    losses: Annotated[int, Range(0)] = 0
    line: Annotated[str, Text(1024)] = ""
    clients: Annotated[tuple[Pid, ...], Items(256)] = ()
    written_ns: Annotated[int, Range(0)] = 0
    lost_ns: Annotated[int, Range(0)] = 0


def status_path(state_dir: Path, uuid: str) -> Path:
    """The file that holds the status of a GPU's daemon."""
    return gpu_dir(state_dir, uuid) / "status.json"


def read_status(path: Path) -> DaemonStatus | None:
    """The status in the file at `path`; None where there is none yet.

    Raises InvalidInputError naming the file and what is wrong with it.
    """
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"cannot read {path}: {error}") from error
    return decode(DaemonStatus, document, str(path))


def write_status(path: Path, status: DaemonStatus) -> None:
    """Write it to the file at `path`."""
    replace_text(path, json.dumps(encode(status)))
