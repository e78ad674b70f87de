"""The agent's side of the MPS control daemons: which ones it asks for, and what became of them.

The daemons run in a container of their own and outlive the agent (`kneescale.mps`); files in the state folder
are all that goes between the two.
"""

import json
import os
from pathlib import Path

from kneescale.agent.files import write_atomically
from kneescale.api.codec import encode
from kneescale.mps.status import DaemonStatus, read_status, status_path
from kneescale.mps.wanted import WantedDaemon, wanted_path


def ask_for_daemon(state_dir: Path, wanted: WantedDaemon, worker_uid: int) -> None:
    """Ask for a GPU's daemon; its folder belongs to the workers' user, as whom the daemon runs too."""
    path = wanted_path(state_dir, wanted.uuid)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    os.chown(path.parent, worker_uid, -1)
    write_atomically(path, json.dumps(encode(wanted)))
    # Under whatever umask: the daemons' program, which is not root, reads it.
    path.chmod(0o644)


def dismiss_daemon(state_dir: Path, uuid: str) -> None:
    """Let a GPU's daemon end once its clients have: the GPU is gone, or is shared no more."""
    wanted_path(state_dir, uuid).unlink(missing_ok=True)


def daemon_status(state_dir: Path, uuid: str) -> DaemonStatus | None:
    """How a GPU's daemon is; None before it said anything.

    Raises InvalidInputError when its file is wrong.
    """
    return read_status(status_path(state_dir, uuid))
