"""Inference requests and answers over REST: JSON, with tensors as lists or as binary after it.

The binary tensor extension: the JSON part is as long as the header `Inference-Header-Content-Length`
says, the tensors follow it in order, each as long as its parameter `binary_data_size`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kneescale.core.errors import InvalidInputError
from kneescale_worker.dataplane import MODEL_VERSION, InferAnswer, InferCall
from kneescale_worker.errors import UnwritableAnswerError
from kneescale_worker.tensors import (
    Array,
    TensorSpec,
    datatype_of,
    from_bytes,
    from_values,
    to_bytes,
    to_values,
)

HEADER_LENGTH = "Inference-Header-Content-Length"
#: As with values in a tensor, so much takes about a second. What is larger goes as binary, or over gRPC.
LARGEST_JSON_BYTES = 16 * 2**20
#: More than any length has; Python refuses to read numbers of thousands.
_MOST_DIGITS = 20


@dataclass(frozen=True, slots=True)
class AnswerStyle:
    """Which outputs go back as binary: those named, or all others when `default` is set."""

    default: bool
    named: Mapping[str, bool]

    def binary(self, output: str) -> bool:
        """Whether this output goes back as binary."""
        return self.named.get(output, self.default)

    def listed(self, output: str) -> bool:
        """Whether it goes back as values, in the JSON part."""
        return not self.binary(output)


def decode(body: bytes, header_length: str | None) -> tuple[InferCall, AnswerStyle]:
    """The call in a request's body, and how its answer should look.

    Raises InvalidInputError.
    """
    split = _header_end(body, header_length)
    if split > LARGEST_JSON_BYTES:
        raise InvalidInputError(
            f"{split} bytes of JSON; at most {LARGEST_JSON_BYTES} are read, larger inputs should be sent as "
            "binary (binary_data_size) or over gRPC"
        )
    document = _parse(body[:split])
    inputs = _inputs(document, memoryview(body)[split:])
    outputs = {_text(entry, "name", "output"): entry for entry in _objects(document, "outputs")}
    style = AnswerStyle(
        default=_parameters(document).get("binary_data_output") is True,
        named={
            name: parameters["binary_data"] is True
            for name, entry in outputs.items()
            if "binary_data" in (parameters := _parameters(entry))
        },
    )
    return InferCall(str(_given(document, "id", "")), inputs, tuple(outputs), style.listed), style


def encode(model_name: str, answer: InferAnswer, style: AnswerStyle) -> tuple[bytes, int | None]:
    """The answer's body, and the length of its JSON part when binary tensors follow it.

    Raises UnwritableAnswerError where JSON has no word for its values.
    """
    document: dict[str, Any] = {"model_name": model_name, "model_version": MODEL_VERSION}
    if answer.id:
        document["id"] = answer.id
    if answer.parameters:
        document["parameters"] = dict(answer.parameters)
    blobs: list[bytes] = []
    document["outputs"] = [
        _output(name, array, blobs, binary=style.binary(name)) for name, array in answer.outputs.items()
    ]
    header = json.dumps(document).encode()
    return (b"".join([header, *blobs]), len(header)) if blobs else (header, None)


def _output(name: str, array: Array, blobs: list[bytes], *, binary: bool) -> dict[str, Any]:
    entry = {"name": name, "datatype": datatype_of(array), "shape": list(array.shape)}
    if not binary:
        return entry | {"data": _json_values(name, array)}
    blobs.append(to_bytes(array))
    return entry | {"parameters": {"binary_data_size": len(blobs[-1])}}


def _json_values(name: str, array: Array) -> list[Any]:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UnwritableAnswerError(
            f"output '{name}' has values that JSON cannot say (NaN or infinite); it should be asked for as "
            "binary (binary_data) or over gRPC"
        )
    return to_values(array)


def _header_end(body: bytes, header_length: str | None) -> int:
    if header_length is None:
        return len(body)
    digits = header_length[:_MOST_DIGITS]
    if digits != header_length or not digits.isdecimal() or int(digits) > len(body):
        raise InvalidInputError(
            f"{HEADER_LENGTH} is {digits!r}; it should be the length of the JSON part of the "
            f"{len(body)} bytes sent"
        )
    return int(digits)


def _parse(header: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"the request is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInputError("the request should be a JSON object with 'inputs'")
    return document


def _inputs(document: Mapping[str, Any], binary: memoryview) -> dict[str, Array]:
    inputs: dict[str, Array] = {}
    offset = 0
    for entry in _objects(document, "inputs"):
        spec = _spec(entry)
        if spec.name in inputs:
            raise InvalidInputError(f"input '{spec.name}' is given twice")
        size = _parameters(entry).get("binary_data_size")
        if size is None:
            inputs[spec.name] = _listed(spec, entry)
            continue
        if type(size) is not int or not 0 <= size <= len(binary) - offset:
            raise InvalidInputError(
                f"input '{spec.name}' has binary_data_size {size!r}; {len(binary) - offset} bytes are left "
                f"after the JSON part ({HEADER_LENGTH} says where that ends)"
            )
        inputs[spec.name] = from_bytes(spec, binary[offset : offset + size])
        offset += size
    if offset != len(binary):
        raise InvalidInputError(f"{len(binary) - offset} bytes after the JSON part belong to no input")
    return inputs


def _listed(spec: TensorSpec, entry: Mapping[str, Any]) -> Array:
    if not isinstance(entry.get("data"), list):
        raise InvalidInputError(
            f"input '{spec.name}' needs 'data', a list, or the parameter binary_data_size"
        )
    return from_values(spec, entry["data"])


def _spec(entry: Mapping[str, Any]) -> TensorSpec:
    name = _text(entry, "name", "input")
    shape = entry.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise InvalidInputError(f"input '{name}' needs a shape, a list of integers")
    return TensorSpec(name, _text(entry, "datatype", f"input '{name}'"), tuple(shape))


def _objects(document: Mapping[str, Any], field: str) -> list[Mapping[str, Any]]:
    entries = _given(document, field, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidInputError(f"'{field}' should be a list of objects")
    return entries


def _parameters(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = _given(entry, "parameters", {})
    if not isinstance(parameters, dict):
        raise InvalidInputError("'parameters' should be an object")
    return parameters


def _given(entry: Mapping[str, Any], field: str, default: Any) -> Any:  # noqa: ANN401  (JSON is of any type)
    """What a field holds; null is as good as nothing, as some clients write it."""
    value = entry.get(field)
    return default if value is None else value


def _text(entry: Mapping[str, Any], field: str, owner: str) -> str:
    value = entry.get(field)
    if not isinstance(value, str) or not value:
        raise InvalidInputError(f"{owner} needs a {field}, a string")
    return value
