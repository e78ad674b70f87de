"""The data plane that REST and gRPC share: a call is checked, queued item by item, and answered."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version

from kneescale.core.errors import InvalidInputError
from kneescale_worker.artefact import ModelMetadata
from kneescale_worker.errors import ModelNotFoundError, UnavailableError
from kneescale_worker.queue import ItemQueue, Request
from kneescale_worker.tensors import DTYPES, LARGEST_VALUES, Array, TensorSpec, datatype_of

SERVER_NAME = "kneescale"
SERVER_VERSION = version("kneescale")
EXTENSIONS = ("binary_tensor_data",)
#: A model is a partition's own: another version of it is another worker.
MODEL_VERSION = "1"
#: Largest request or answer that either transport takes.
LARGEST_MESSAGE_BYTES = 64 * 2**20
#: What a transport still has in hand when it stops gets so long.
CLOSING_GRACE_S = 1.0


@dataclass(frozen=True, slots=True)
class InferCall:
    """An inference request, decoded but not yet checked against the model."""

    id: str
    inputs: Mapping[str, Array]
    #: Names of the outputs wanted; all when empty.
    outputs: tuple[str, ...]
    #: Whether the output of this name goes back value by value, and not as bytes.
    as_values: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class InferAnswer:
    """Outputs in the order in which they were asked for."""

    id: str
    outputs: Mapping[str, Array]
    parameters: Mapping[str, bool]


class State(StrEnum):
    """Where the worker is in its life."""

    LOADING = "loading"
    SERVING = "serving"
    #: Still answers, but wants no new clients.
    DRAINING = "draining"


class DataPlane:
    """One model behind one queue.

    `announce(items, arrived_ns)` is called for each request that joined the queue.
    """

    def __init__(
        self,
        model_name: str,
        metadata: ModelMetadata,
        queue: ItemQueue,
        announce: Callable[[int, int], None],
        *,
        emulated: bool,
    ) -> None:
        self.model_name = model_name
        self.metadata = metadata
        self.state = State.LOADING
        self._queue = queue
        self._announce = announce
        self._parameters = {"emulated": True} if emulated else {}

    @property
    def ready(self) -> bool:
        """Whether new clients are welcome."""
        return self.state is State.SERVING

    def check_model(self, name: str, model_version: str) -> None:
        """Raises ModelNotFoundError when another model or version is meant; no version means any."""
        if name != self.model_name:
            raise ModelNotFoundError(f"no model '{name}' here; this worker serves '{self.model_name}'")
        if model_version not in ("", MODEL_VERSION):
            raise ModelNotFoundError(f"model '{name}' has no version {model_version!r}, only {MODEL_VERSION}")

    def check_loaded(self) -> None:
        """Raises UnavailableError while the model is not loaded."""
        if self.state is State.LOADING:
            raise UnavailableError(f"model '{self.model_name}' is still loading; try again in a moment")

    async def infer(self, call: InferCall, arrived_ns: int) -> InferAnswer:
        """The model's outputs.

        Raises InvalidInputError, QueueFullError, TooLateError, UnavailableError or BatchFailedError.
        """
        self.check_loaded()
        inputs = self._inputs(call)
        wanted = self._wanted(call)
        self._check_values(len(inputs[0]), [name for name in wanted if call.as_values(name)])
        request = Request(inputs, arrived_ns)
        self._queue.push(request)
        self._announce(request.items, arrived_ns)
        arrays = await request.answer
        outputs = {spec.name: array for spec, array in zip(self.metadata.outputs, arrays, strict=True)}
        return InferAnswer(call.id, {name: outputs[name] for name in wanted}, self._parameters)

    def _inputs(self, call: InferCall) -> list[Array]:
        known = [spec.name for spec in self.metadata.inputs]
        if unknown := call.inputs.keys() - set(known):
            raise InvalidInputError(f"unknown input '{min(unknown)}'; the model takes {_quoted(known)}")
        arrays = [_checked(spec, call.inputs.get(spec.name)) for spec in self.metadata.inputs]
        items = len(arrays[0])
        if any(len(array) != items for array in arrays):
            sizes = ", ".join(f"'{name}' {len(array)}" for name, array in zip(known, arrays, strict=True))
            raise InvalidInputError(f"inputs differ in their first dimension, the batch: {sizes}")
        if not 1 <= items <= self._queue.limit:
            raise InvalidInputError(f"a request should have 1 to {self._queue.limit} items, not {items}")
        return arrays

    def _wanted(self, call: InferCall) -> Sequence[str]:
        known = [spec.name for spec in self.metadata.outputs]
        for name in call.outputs:
            if name not in known:
                raise InvalidInputError(f"unknown output '{name}'; the model answers {_quoted(known)}")
        return call.outputs or known

    def _check_values(self, items: int, listed: Sequence[str]) -> None:
        """Before anything runs: what the outputs of so many items hold is known."""
        shapes = [spec.shape[1:] for spec in self.metadata.outputs if spec.name in listed]
        count = items * sum(math.prod(shape) for shape in shapes)
        if count > LARGEST_VALUES:
            raise InvalidInputError(
                f"an answer of {count} values; at most {LARGEST_VALUES} are written, more should be asked "
                "for as binary (binary_data) or raw over gRPC"
            )


def _checked(spec: TensorSpec, array: Array | None) -> Array:
    if array is None:
        raise InvalidInputError(f"input '{spec.name}' is missing; it is {spec.datatype} {list(spec.shape)}")
    if array.dtype != DTYPES[spec.datatype]:
        raise InvalidInputError(
            f"input '{spec.name}' is {datatype_of(array)}; the model takes {spec.datatype}"
        )
    if not spec.admits(array.shape):
        raise InvalidInputError(
            f"input '{spec.name}' has shape {list(array.shape)}; the model takes {list(spec.shape)}"
        )
    return array


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
