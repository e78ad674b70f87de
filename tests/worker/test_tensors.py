import tracemalloc
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kneescale.core.errors import InvalidInputError
from kneescale_worker.tensors import (
    DTYPES,
    Array,
    TensorSpec,
    datatype_of,
    from_bytes,
    from_values,
    to_bytes,
    to_values,
)

arrays: st.SearchStrategy[Array] = st.sampled_from(sorted(DTYPES)).flatmap(
    lambda name: hnp.arrays(DTYPES[name], hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4))
)


def _spec(array: Array) -> TensorSpec:
    return TensorSpec("x", datatype_of(array), array.shape)


@given(arrays)
def test_bytes_round_trip(array: Array) -> None:
    back = from_bytes(_spec(array), to_bytes(array))
    assert np.array_equal(back, array, equal_nan=array.dtype.kind == "f")
    assert back.dtype == array.dtype


@given(arrays)
def test_values_round_trip_flat_and_nested(array: Array) -> None:
    for values in (to_values(array), array.tolist()):
        back = from_values(_spec(array), values)
        assert np.array_equal(back, array, equal_nan=array.dtype.kind == "f")
        assert back.dtype == array.dtype


@pytest.mark.parametrize(
    ("datatype", "shape", "values", "says"),
    [
        ("FP32", (1, 2), [1.0], r"shape \[1, 2\] needs 2 values of FP32; it has 1"),
        ("FP32", (2, 1), [[1.0], [2.0, 3.0]], "values that are no FP32: list"),
        ("FP32", (1,), ["1"], "values that are no FP32: str"),
        ("FP32", (1,), [np.ones((1,) * 64).tolist()], "values that are no FP32: list"),
        ("FP32", (1,), [None, {}], "values that are no FP32: NoneType, dict"),
        ("FP32", (1,), [10**400], "no array of FP32"),
        ("INT32", (1,), [1e300], "no array of INT32"),
        ("INT32", (1,), [float("nan")], "no array of INT32"),
        ("INT32", (1,), [True], "values that are no INT32: bool"),
        ("INT32", (1,), [1.5], "values that are no INT32"),
        ("INT8", (1,), [200], "no array of INT8"),
        ("UINT8", (1,), [-1], "no array of UINT8"),
        ("BOOL", (1,), [1], "values that are no BOOL: int"),
        ("BYTES", (1,), ["a"], "datatype 'BYTES'; possible: BOOL, UINT8"),
        ("FP32", (), [1.0], "needs a batch dimension"),
        ("FP32", (-1, -1), [1.0], "none negative"),
        ("FP32", (1,) * 65, [1.0], "65 dimensions; at most 64 are read"),
        ("FP32", (0, 2**70), [], "sizes that are too large"),
        ("FP32", (0, 2**30, 2**30, 2**30), [], "sizes that are too large"),
    ],
)
def test_values_that_do_not_fit_say_why(
    datatype: str, shape: tuple[int, ...], values: list[Any], says: str
) -> None:
    with pytest.raises(InvalidInputError, match=says):
        from_values(TensorSpec("x", datatype, shape), values)


def test_any_shape_is_read_or_refused() -> None:
    assert from_values(TensorSpec("x", "INT8", (1,) * 64), [7]).ndim == 64
    assert from_bytes(TensorSpec("x", "INT8", (0, 2**31 - 1)), b"").size == 0


def test_a_long_string_among_short_ones_takes_no_more_memory_than_they_do() -> None:
    values = ["a" * 10_000, *[""] * 10_000]
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInputError, match="values that are no FP32: str"):
            from_values(TensorSpec("x", "FP32", (len(values),)), values)
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("depth", [33, 64])
def test_values_may_be_nested_as_deep_as_a_shape_may_be(depth: int) -> None:
    array = np.full((1,) * depth, 7, np.float32)
    assert from_values(_spec(array), array.tolist()) == array


def test_integers_may_be_written_as_floats_and_stay_exact() -> None:
    values = [2**63 - 1, -1.0]
    assert from_values(TensorSpec("x", "INT64", (2,)), values).tolist() == values


@pytest.mark.parametrize("length", [0, 7, 9, 12])
def test_bytes_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(InvalidInputError, match=rf"needs 2 values of FP32; it has .*\({length} bytes\)"):
        from_bytes(TensorSpec("x", "FP32", (1, 2)), bytes(length))


def test_a_spec_admits_any_batch_of_its_shape() -> None:
    spec = TensorSpec("x", "FP32", (-1, 3, 2))
    assert spec.admits((7, 3, 2))
    assert not any(spec.admits(shape) for shape in [(7, 3), (7, 2, 3), (7, 3, 2, 1), ()])
