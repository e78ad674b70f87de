"""An executor for tests in one process: doubles its input; fails on negative values; can be held up."""

import threading
from collections.abc import Sequence

from kneescale_worker.artefact import ModelMetadata
from kneescale_worker.tensors import Array, TensorSpec


class DoublingExecutor:
    """Records each batch as (GPU%, items)."""

    emulated = False
    metadata = ModelMetadata("test", (TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 2)),))

    def __init__(self) -> None:
        self.batches: list[tuple[int, int]] = []
        #: Batches run while it is set.
        self.may_run = threading.Event()
        self.may_run.set()

    def load(self) -> None:
        """Nothing to load."""

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def run(self, gpu_percent: int, inputs: Sequence[Array]) -> list[Array]:
        """Twice the input."""
        self.may_run.wait()
        self.batches.append((gpu_percent, len(inputs[0])))
        if (inputs[0] < 0).any():
            raise RuntimeError("a negative value")
        inputs[0][:] *= 2
        return [inputs[0]]
