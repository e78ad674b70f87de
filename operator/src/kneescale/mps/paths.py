"""Where the files of a GPU's control daemon are: its sockets, its logs, and what it is told and tells."""

from pathlib import Path


def gpu_dir(state_dir: Path, uuid: str) -> Path:
    """The folder of all that belongs to one GPU."""
    return state_dir / "mps" / uuid


def pipe_dir(state_dir: Path, uuid: str) -> Path:
    """The folder of the daemon's sockets: CUDA_MPS_PIPE_DIRECTORY of the daemon and of its clients."""
    return gpu_dir(state_dir, uuid) / "pipe"


def log_dir(state_dir: Path, uuid: str) -> Path:
    """The folder of the daemon's logs: CUDA_MPS_LOG_DIRECTORY."""
    return gpu_dir(state_dir, uuid) / "log"
