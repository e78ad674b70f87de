import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.errors import InvalidInputError
from kneescale_worker.dataplane import InferAnswer
from kneescale_worker.errors import UnwritableAnswerError
from kneescale_worker.rest_codec import LARGEST_JSON_BYTES, AnswerStyle, decode, encode

_X = {"name": "x", "datatype": "FP32", "shape": [1, 2]}


def _body(*inputs: object, **fields: object) -> bytes:
    return json.dumps({"inputs": list(inputs), **fields}).encode()


def test_binary_tensors_follow_the_json_in_order() -> None:
    entries = [_X | {"name": name, "parameters": {"binary_data_size": 8}} for name in ("x", "y")]
    header = _body(*entries, {**_X, "name": "z", "data": [[5, 6]]}, id="7")
    tail = np.arange(4, dtype="<f4").tobytes()
    call, style = decode(header + tail, str(len(header)))
    assert {name: array.tolist() for name, array in call.inputs.items()} == {
        "x": [[0, 1]],
        "y": [[2, 3]],
        "z": [[5, 6]],
    }
    assert call.id == "7"
    assert not style.binary("out")


def test_null_is_as_good_as_nothing() -> None:
    x = {**_X, "data": [1, 2], "parameters": None}
    call, style = decode(_body(x, id=None, parameters=None, outputs=None), None)
    assert (call.id, list(call.inputs), call.outputs) == ("", ["x"], ())
    assert not style.binary("y")


@pytest.mark.parametrize(
    ("body", "length", "says"),
    [
        (b"{", None, "no JSON"),
        (b"[" * 100_000, None, "no JSON"),
        (b"\xff", None, "no JSON"),
        (b"[]", None, "should be a JSON object"),
        (b'{"inputs": 1}', None, "'inputs' should be a list of objects"),
        (b'{"inputs": [1]}', None, "'inputs' should be a list of objects"),
        (_body({"datatype": "FP32", "shape": [1]}), None, "input needs a name"),
        (_body({"name": "x", "shape": [1]}), None, "'x' needs a datatype"),
        (_body({"name": "x", "datatype": "FP32", "shape": "1"}), None, "needs a shape"),
        (_body(_X), None, "'x' needs 'data'"),
        (_body({**_X, "data": [1, 2]}, {**_X, "data": [1, 2]}), None, "given twice"),
        (_body({**_X, "parameters": 1}), None, "'parameters' should be an object"),
        (_body({**_X, "parameters": {"binary_data_size": 8}}), None, "0 bytes are left"),
        (_body({**_X, "parameters": {"binary_data_size": -1}}), None, "binary_data_size -1"),
        (_body({**_X, "data": [1, 2]}), "9999", "Inference-Header-Content-Length is '9999'"),
        (_body({**_X, "data": [1, 2]}), "1" * 5_000, "Inference-Header-Content-Length is '1{20}'; it"),
        (_body({**_X, "data": [1, 2]}), "x", "Inference-Header-Content-Length is 'x'"),
        (b" " * (LARGEST_JSON_BYTES + 1), None, "should be sent as binary"),
        (_body() + b"more", str(len(_body())), "4 bytes after the JSON part belong to no input"),
    ],
)
def test_a_wrong_body_says_what_to_change(body: bytes, length: str | None, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        decode(body, length)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["inputs", "outputs", "name", "datatype", "shape", "data", "parameters"]), inner
        )
    ),
    max_leaves=20,
)


@given(_JSON)
def test_any_json_is_a_call_or_a_clear_refusal(document: object) -> None:
    said = _refusal(document)
    assert said is None or re.search(r"\b(body|inputs?|outputs?|parameters|id)\b", said)


def _refusal(document: object) -> str | None:
    try:
        decode(json.dumps(document).encode(), None)
    except InvalidInputError as error:
        return str(error)
    return None


def test_the_call_says_which_outputs_go_back_as_values() -> None:
    listed = {"name": "a", "parameters": {"binary_data": False}}
    call, _ = decode(_body(outputs=[listed], parameters={"binary_data_output": True}), None)
    assert call.as_values("a")
    assert not call.as_values("b")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_json_cannot_say_is_an_error_and_can_be_asked_for_as_binary(value: float) -> None:
    answer = InferAnswer("7", {"a": np.array([[1, value]], np.float32), "b": np.array([[1]], np.int32)}, {})
    with pytest.raises(UnwritableAnswerError, match=r"output 'a' has values that .* \(binary_data\)"):
        encode("m", answer, AnswerStyle(default=False, named={}))
    body, length = encode("m", answer, AnswerStyle(default=False, named={"a": True}))
    assert np.array_equal(np.frombuffer(body[length:], "<f4"), [1, value], equal_nan=True)


def test_outputs_are_lists_or_binary_as_asked() -> None:
    arrays = {"a": np.array([[1, 2]], np.int32), "b": np.array([[0.5]], np.float32)}
    answer = InferAnswer("7", arrays, {"emulated": True})
    body, length = encode("m", answer, AnswerStyle(default=True, named={"b": False}))
    assert length is not None
    document = json.loads(body[:length])
    assert document["parameters"] == {"emulated": True}
    assert document["outputs"] == [
        {"name": "a", "datatype": "INT32", "shape": [1, 2], "parameters": {"binary_data_size": 8}},
        {"name": "b", "datatype": "FP32", "shape": [1, 1], "data": [0.5]},
    ]
    assert np.frombuffer(body[length:], "<i4").tolist() == [1, 2]
