"""What TorchScript models have in common wherever they run; free of torch itself."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from kneescale_worker.artefact import ModelMetadata
from kneescale_worker.errors import LoadError
from kneescale_worker.tensors import DTYPES, Array

WEIGHTS_FILE = "model.pt"
WARM_UP_RUNS = 2
#: What is to be said of a model that fails before it serves.
FAILS_ON_ZEROS = "the model does not run on a batch of zeros"
#: Of torch where it cannot read a module.
READ_ERRORS = (RuntimeError, ValueError, OSError)
_TORCHSCRIPT_SAYS = "The following operation failed in the TorchScript interpreter"
#: Marks, in that traceback, the line above.
_HERE = "<--- HERE"


def zeros(metadata: ModelMetadata, batch: int) -> list[Array]:
    """A batch of zeros."""
    return filled(metadata, batch, 0)


def filled(metadata: ModelMetadata, batch: int, value: int) -> list[Array]:
    """A batch of items that hold one value throughout."""
    return [np.full((batch, *spec.shape[1:]), value, DTYPES[spec.datatype]) for spec in metadata.inputs]


def tensors_of(answer: Any) -> Sequence[Any]:  # noqa: ANN401  (torch has no types here)
    """What a module answered: one tensor, or some."""
    return answer if isinstance(answer, (tuple, list)) else (answer,)


@contextmanager
def as_load_error(what: str, *kinds: type[Exception]) -> Iterator[None]:
    """Raises LoadError for errors of these kinds, with `what` failed and the line that tells why."""
    try:
        yield
    except kinds as error:
        raise LoadError(f"{what}: {one_line(error)}") from error


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
