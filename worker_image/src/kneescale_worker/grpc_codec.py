"""Inference requests and answers over gRPC: raw bytes, or typed fields; an answer is as its request was."""

from collections.abc import Sequence
from typing import Any

from kneescale.core.errors import InvalidInputError
from kneescale_worker.dataplane import MODEL_VERSION, InferAnswer, InferCall
from kneescale_worker.proto import open_inference_pb2 as pb
from kneescale_worker.tensors import (
    LARGEST_VALUES,
    Array,
    TensorSpec,
    datatype_of,
    from_bytes,
    from_values,
    to_bytes,
    to_values,
)

#: The field of InferTensorContents for each datatype; FP16 has none and travels raw.
_CONTENTS_FIELD = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


def decode(request: pb.ModelInferRequest) -> InferCall:
    """The call in a request.

    Raises InvalidInputError.
    """
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidInputError(
            f"{len(request.inputs)} inputs but {len(raw)} raw_input_contents; give one for each, or none"
        )
    if not raw:
        _check_size(request)
    inputs: dict[str, Array] = {}
    for index, tensor in enumerate(request.inputs):
        if tensor.name in inputs:
            raise InvalidInputError(f"input '{tensor.name}' is given twice")
        spec = TensorSpec(tensor.name, tensor.datatype, tuple(tensor.shape))
        inputs[spec.name] = from_bytes(spec, raw[index]) if raw else _typed(spec, tensor.contents)
    outputs = tuple(output.name for output in request.outputs)
    return InferCall(request.id, inputs, outputs, as_values=lambda _: not raw)


def encode(model_name: str, answer: InferAnswer, *, raw: bool) -> pb.ModelInferResponse:
    """The answer, its tensors as raw bytes or in typed fields.

    All are raw where one has no typed field: the protocol mixes them in no answer.
    """
    raw = raw or any(datatype_of(array) not in _CONTENTS_FIELD for array in answer.outputs.values())
    response = pb.ModelInferResponse(model_name=model_name, model_version=MODEL_VERSION, id=answer.id)
    for name, value in answer.parameters.items():
        response.parameters[name].bool_param = value
    for name, array in answer.outputs.items():
        tensor = response.outputs.add(name=name, datatype=datatype_of(array), shape=array.shape)
        if raw:
            response.raw_output_contents.append(to_bytes(array))
        else:
            getattr(tensor.contents, _CONTENTS_FIELD[tensor.datatype]).extend(to_values(array))
    return response


def _check_size(request: pb.ModelInferRequest) -> None:
    count = sum(len(_field(tensor.datatype, tensor.contents)) for tensor in request.inputs)
    if count > LARGEST_VALUES:
        raise InvalidInputError(
            f"{count} values in typed fields; at most {LARGEST_VALUES} are read, more should be sent raw "
            "(raw_input_contents)"
        )


def _typed(spec: TensorSpec, contents: pb.InferTensorContents) -> Array:
    return from_values(spec, list(_field(spec.datatype, contents)))


def _field(datatype: str, contents: pb.InferTensorContents) -> Sequence[Any]:
    """The values of a tensor, not yet read; none where its datatype has no field."""
    field = _CONTENTS_FIELD.get(datatype)
    values: Sequence[Any] = getattr(contents, field) if field else ()
    return values
