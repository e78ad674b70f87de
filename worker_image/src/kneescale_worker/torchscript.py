"""What TorchScript models have in common wherever they run; free of torch itself."""

import numpy as np

from kneescale_worker.artefact import ModelMetadata
from kneescale_worker.tensors import DTYPES, Array

WEIGHTS_FILE = "model.pt"
WARM_UP_RUNS = 2
_TORCHSCRIPT_SAYS = "The following operation failed in the TorchScript interpreter"
#: Marks, in that traceback, the line above.
_HERE = "<--- HERE"


def zeros(metadata: ModelMetadata, batch: int) -> list[Array]:
    """A batch of zeros."""
    return [np.zeros((batch, *spec.shape[1:]), DTYPES[spec.datatype]) for spec in metadata.inputs]


def one_line(error: Exception) -> str:
    """The line that tells: the first, or where TorchScript puts its own traceback before it, the first after.

    An error that says nothing, as a bare `assert`, is told by the line of the model that raised it.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if not lines[0].startswith(_TORCHSCRIPT_SAYS):
        return lines[0]
    mark = max((number for number, line in enumerate(lines) if line.endswith(_HERE)), default=len(lines) - 1)
    message = next((line for line in lines[mark:] if not line.startswith(" ")), lines[-1])
    return f"{message} {lines[mark - 1].strip()}" if message.endswith(":") else message
