"""The folders of one GPU's MPS control daemon, the same for the daemon and for whoever mounts them."""

from pathlib import Path


def pipe_dir(state_dir: Path, uuid: str) -> Path:
    """CUDA_MPS_PIPE_DIRECTORY of the daemon of GPU `uuid`: its pipes and sockets."""
    return state_dir / "mps" / uuid / "pipe"


def log_dir(state_dir: Path, uuid: str) -> Path:
    """CUDA_MPS_LOG_DIRECTORY of the daemon of GPU `uuid`."""
    return state_dir / "mps" / uuid / "log"


def shm_dir(state_dir: Path, uuid: str) -> Path:
    """/dev/shm of the daemon of GPU `uuid` and of its clients, which pass memory to each other through it."""
    return state_dir / "mps" / uuid / "shm"
