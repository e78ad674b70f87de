"""Where the control daemon of a GPU keeps its sockets and its logs."""

from pathlib import Path


def pipe_dir(state_dir: Path, uuid: str) -> Path:
    """The folder of the daemon's sockets: CUDA_MPS_PIPE_DIRECTORY of the daemon and of its clients."""
    return state_dir / "mps" / uuid / "pipe"


def log_dir(state_dir: Path, uuid: str) -> Path:
    """The folder of the daemon's logs: CUDA_MPS_LOG_DIRECTORY."""
    return state_dir / "mps" / uuid / "log"
