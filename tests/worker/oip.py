"""Calls through the independent client libraries: tritonclient over REST and over gRPC.

Its HTTP client belongs to the thread that made it, so each call makes and closes its own unless given one.
"""

from types import ModuleType
from typing import Any, Protocol

import numpy as np
import pytest
import tritonclient.grpc as grpc  # type: ignore[import-untyped]
import tritonclient.http as rest  # type: ignore[import-untyped]
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]

from tests.worker.process import MODEL, Worker

__all__ = ["TRANSPORTS", "InferenceServerException", "address", "grpc", "infer", "infer_on", "rest", "rows"]

Array = NDArray[Any]
#: The REST client's own; the gRPC client would wait for ever, and so would a test that fails meanwhile.
_TIMEOUT_S = 60.0
#: Both transports, as a test's parameter.
TRANSPORTS = pytest.mark.parametrize("library", [rest, grpc], ids=["rest", "grpc"])


class Client(Protocol):
    """What both libraries' clients share."""

    def infer(self, model_name: str, inputs: list[Any], **options: object) -> Any: ...  # noqa: ANN401


def rows(count: int, first: int = 0) -> Array:
    """Distinct input rows for the emulated model, which answers its input."""
    return np.arange(first * 4, (first + count) * 4, dtype=np.float32).reshape(count, 4)


def address(library: ModuleType, worker: Worker) -> str:
    return worker.http if library is rest else worker.grpc


def infer(library: ModuleType, url: str, array: Array, **options: object) -> Array:
    """One request on a connection of its own; the answer."""
    if library is grpc:
        options = {"client_timeout": _TIMEOUT_S, **options}
    client = library.InferenceServerClient(url)
    try:
        return infer_on(client, library, array, **options)
    finally:
        client.close()


def infer_on(client: Client, library: ModuleType, array: Array, **options: object) -> Array:
    """One request on a client's connection; the answer."""
    tensor = library.InferInput("input", list(array.shape), "FP32")
    tensor.set_data_from_numpy(array)
    answer: Array = client.infer(MODEL, [tensor], **options).as_numpy("output")
    return answer
