"""What the gRPC side answers, as an independent client reads it.

Written in a process of its own: tritonclient's messages and ours have the same names.
"""

import subprocess
import sys

import pytest

from tests.worker.oip import grpc

_ENCODE = """
import sys
import numpy as np
from kneescale_worker.dataplane import InferAnswer
from kneescale_worker.grpc_codec import encode
outputs = {"a": np.array([[1.5, 2.5]], "<f4"), "b": np.array([[7, 8]], sys.argv[1])}
sys.stdout.buffer.write(encode("m", InferAnswer("", outputs, {}), raw=False).SerializeToString())
"""

_DECODE = """
import sys
from kneescale.core.errors import InvalidInputError
from kneescale_worker.grpc_codec import decode
from kneescale_worker.proto.open_inference_pb2 import ModelInferRequest
from kneescale_worker.tensors import LARGEST_VALUES
request, half = ModelInferRequest(), LARGEST_VALUES // 2
for name, count in (("a", half), ("b", half + int(sys.argv[1]))):
    tensor = request.inputs.add(name=name, datatype="BOOL", shape=[count])
    tensor.contents.bool_contents.extend([True] * count)
try:
    print(sum(array.size for array in decode(request).inputs.values()) - LARGEST_VALUES)
except InvalidInputError as error:
    print(error)
"""


def _answer(dtype: str) -> grpc.InferResult:
    """To a request in typed fields, with outputs `a` of FP32 and `b` of this dtype."""
    message = subprocess.check_output([sys.executable, "-c", _ENCODE, dtype])
    return grpc.InferResult(grpc.service_pb2.ModelInferResponse.FromString(message))


def test_an_answer_is_in_typed_fields_as_its_request_was() -> None:
    response = _answer("<i4").get_response()
    first, second = response.outputs
    assert list(first.contents.fp32_contents) == [1.5, 2.5]
    assert list(second.contents.int_contents) == [7, 8]
    assert not response.raw_output_contents


def test_an_answer_with_a_datatype_that_has_no_typed_field_is_raw_as_a_whole() -> None:
    answer = _answer("<f2")
    assert answer.as_numpy("a").tolist() == [[1.5, 2.5]]
    assert answer.as_numpy("b").tolist() == [[7, 8]]
    assert len(answer.get_response().raw_output_contents) == 2


@pytest.mark.parametrize(
    ("too_many", "says"), [(0, "0\n"), (1, "2097153 values in typed fields; at most 2097152 are read")]
)
def test_more_values_than_are_read_in_time_are_to_be_sent_raw(too_many: int, says: str) -> None:
    said = subprocess.check_output([sys.executable, "-c", _DECODE, str(too_many)], text=True)
    assert said.startswith(says)
