"""What the gRPC side answers, as an independent client reads it.

Written in a process of its own: tritonclient's messages and ours have the same names.
"""

import subprocess
import sys

from tests.worker.oip import grpc

_ENCODE = """
import sys
import numpy as np
from kneescale_worker.dataplane import InferAnswer
from kneescale_worker.grpc_codec import encode
outputs = {"a": np.array([[1.5, 2.5]], "<f4"), "b": np.array([[7, 8]], sys.argv[1])}
sys.stdout.buffer.write(encode("m", InferAnswer("", outputs, {}), raw=False).SerializeToString())
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
