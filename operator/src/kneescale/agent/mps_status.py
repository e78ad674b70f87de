"""What became of the MPS control daemons, which run in a container of their own (`kneescale.mps`)."""

from pathlib import Path

from kneescale.mps.status import DaemonStatus, read_status, status_path


def daemon_status(state_dir: Path, uuid: str) -> DaemonStatus | None:
    """How a GPU's daemon is; None before it said anything.

    Raises InvalidInputError when its file is wrong.
    """
    return read_status(status_path(state_dir, uuid))
