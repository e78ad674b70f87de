"""What executes batches, and which models it takes."""

from enum import StrEnum


class Backend(StrEnum):
    """What executes batches; said plainly wherever results are shown."""

    CPU = "cpu"
    EMULATED = "emulated"
    CUDA_MPS = "cuda-mps"


class ModelFormat(StrEnum):
    """How a model is stored; Emulated ones have no weights, only a latency surface."""

    TORCH_SCRIPT = "TorchScript"
    EMULATED = "Emulated"

    @property
    def backends(self) -> tuple[Backend, ...]:
        """What can run such a model: compute it on CPU cores or on a GPU, or wait it out."""
        if self is ModelFormat.EMULATED:
            return (Backend.EMULATED,)
        return (Backend.CPU, Backend.CUDA_MPS)
