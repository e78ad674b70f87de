"""An executor for tests in one process: doubles its input, unless the input asks for a fault."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from kneescale_worker.artefact import ModelMetadata
from kneescale_worker.tensors import Array, TensorSpec


class DoublingExecutor:
    """Records each batch as (GPU%, items); fails on negative values."""

    emulated = False
    lane_sms: Mapping[int, int] = MappingProxyType({})
    metadata = ModelMetadata("test", (TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1, 2)),))

    def __init__(self) -> None:
        self.batches: list[tuple[int, int]] = []
        self.before_run: Callable[[], object] = lambda: None
        #: What it makes of its answer; its metadata knows nothing of that.
        self.garble: Callable[[Array], list[Array]] = lambda rows: [rows]

    def load(self) -> None:
        """Nothing to load."""

    def warm_up(self) -> None:
        """Nothing to warm up."""

    def run(self, gpu_percent: int, inputs: Sequence[Array]) -> list[Array]:
        """Twice the input."""
        self.batches.append((gpu_percent, len(inputs[0])))
        self.before_run()
        if (inputs[0] < 0).any():
            raise RuntimeError("a negative value")
        inputs[0][:] *= 2
        return self.garble(inputs[0])

    def close(self) -> None:
        """Nothing to let go of."""
