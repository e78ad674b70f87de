"""Static SM partitions: how many chunks of SMs a GPU% takes.

From CUDA 13.1 a daemon started with `-S` reserves SMs for clients, in chunks whose size depends on the
architecture: 8 SMs on Hopper and newer, 4 SMs on Ampere and Ada; older GPUs have none (NVIDIA,
Multi-Process Service, "Static SM Partitioning").
"""

from kneescale.core.errors import InfeasibleError
from kneescale.core.units import WHOLE_GPU_PERCENT

_AMPERE, _HOPPER = 8, 9


def chunk_sms(compute_capability: tuple[int, int]) -> int:
    """SMs in a chunk of a discrete GPU.

    Raises InfeasibleError where the architecture has no static partitions.
    """
    major, minor = compute_capability
    if major < _AMPERE:
        raise InfeasibleError(
            f"compute capability {major}.{minor} has no static SM partitions; {_AMPERE}.0 and newer have"
        )
    return 8 if major >= _HOPPER else 4


def chunks_for(gpu_percent: int, sm_count: int, compute_capability: tuple[int, int]) -> int:
    """The fewest chunks that hold `gpu_percent` of `sm_count` SMs: a knee is rounded up.

    Never more than the GPU has, though its last SMs may fill no chunk. Raises InfeasibleError as `chunk_sms`.
    """
    size = chunk_sms(compute_capability)
    needed = -(-sm_count * gpu_percent // (WHOLE_GPU_PERCENT * size))
    return min(needed, sm_count // size)
