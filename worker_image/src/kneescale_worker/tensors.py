"""Tensors as the Open Inference Protocol writes them <-> numpy arrays.

Three encodings: JSON lists, typed protobuf fields (both "values"), and raw little-endian bytes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kneescale.core.errors import InvalidInputError

Array = NDArray[Any]

#: Datatype name of the protocol -> numpy's. BYTES and BF16 are left out: no model here takes them.
DTYPES: Mapping[str, np.dtype[Any]] = MappingProxyType(
    {
        "BOOL": np.dtype(np.bool_),
        "UINT8": np.dtype("<u1"),
        "UINT16": np.dtype("<u2"),
        "UINT32": np.dtype("<u4"),
        "UINT64": np.dtype("<u8"),
        "INT8": np.dtype("<i1"),
        "INT16": np.dtype("<i2"),
        "INT32": np.dtype("<i4"),
        "INT64": np.dtype("<i8"),
        "FP16": np.dtype("<f2"),
        "FP32": np.dtype("<f4"),
        "FP64": np.dtype("<f8"),
    }
)
#: Values that are read or written one by one: meanwhile nothing else of the worker runs, its lanes and the
#: answers to its liveness probe included. So many take about a second; bytes take none.
LARGEST_VALUES = 2 * 2**20
#: As many as numpy's arrays have.
_MOST_DIMENSIONS = 64
#: More values than any message holds.
_LARGEST_SIZE = 2**31 - 1
_NAMES: Mapping[np.dtype[Any], str] = {dtype: name for name, dtype in DTYPES.items()}

#: Types of value that may stand for each kind (numpy's letter) of datatype.
_NUMBERS = frozenset({int, float})
_ACCEPTED_TYPES: Mapping[str, frozenset[type]] = MappingProxyType(
    {"b": frozenset({bool}), "u": _NUMBERS, "i": _NUMBERS, "f": _NUMBERS}
)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, datatype and shape of a model's input or output; -1 is the batch dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def admits(self, shape: Sequence[int]) -> bool:
        """Whether an array of this shape is such a tensor."""
        pairs = zip(self.shape, shape, strict=False)
        return len(shape) == len(self.shape) and all(own in (-1, other) for own, other in pairs)


def datatype_of(array: Array) -> str:
    """The protocol's name of the array's dtype.

    Raises InvalidInputError where it has none.
    """
    name = _NAMES.get(array.dtype)
    if name is None:
        raise InvalidInputError(f"an array of {array.dtype} has no datatype; possible: {', '.join(DTYPES)}")
    return name


def from_values(spec: TensorSpec, values: Sequence[Any]) -> Array:
    """Values in row-major order, flat or nested as the shape says, as an array of the spec's shape.

    Raises InvalidInputError on an unknown datatype, values of another kind, or a wrong count.
    """
    dtype = _dtype(spec)
    # As objects: an array of strings has room in each for the longest.
    found = np.asarray(values, dtype=object)
    types = set(map(type, found.ravel()))
    if wrong := types - _ACCEPTED_TYPES[dtype.kind]:
        names = ", ".join(sorted(each.__name__ for each in wrong))
        raise InvalidInputError(f"input '{spec.name}' holds values that are no {spec.datatype}: {names}")
    _check_count(spec, found.size, "values")
    try:
        array = found.astype(dtype)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(f"input '{spec.name}' is no array of {spec.datatype}: {error}") from error
    # What is out of range was refused, but a fraction was cut off.
    if dtype.kind in "iu" and float in types and not np.array_equal(array, found):
        raise InvalidInputError(f"input '{spec.name}' holds values that are no {spec.datatype}: fractions")
    return array.reshape(spec.shape)


def from_bytes(spec: TensorSpec, data: bytes | memoryview) -> Array:
    """Raw little-endian bytes as a (read-only, uncopied) array of the spec's shape.

    Raises InvalidInputError on an unknown datatype or a wrong number of bytes.
    """
    dtype = _dtype(spec)
    _check_count(spec, len(data) / dtype.itemsize, f"values ({len(data)} bytes)")
    return np.frombuffer(data, dtype=dtype).reshape(spec.shape)


def to_bytes(array: Array) -> bytes:
    """The array's raw bytes, row-major."""
    return array.tobytes()


def to_values(array: Array) -> list[Any]:
    """The array's values, flat, row-major."""
    values: list[Any] = array.ravel().tolist()
    return values


def _dtype(spec: TensorSpec) -> np.dtype[Any]:
    dtype = DTYPES.get(spec.datatype)
    if dtype is None:
        raise InvalidInputError(
            f"input '{spec.name}' has datatype {spec.datatype!r}; possible: {', '.join(DTYPES)}"
        )
    if not spec.shape or min(spec.shape) < 0:
        raise InvalidInputError(
            f"input '{spec.name}' has shape {list(spec.shape)}; it needs a batch dimension, none negative"
        )
    _check_sizes(spec)
    return dtype


def _check_sizes(spec: TensorSpec) -> None:
    """Refuse what numpy cannot hold, nothing in it or not: it counts sizes of 0 as 1."""
    if len(spec.shape) > _MOST_DIMENSIONS:
        raise InvalidInputError(
            f"input '{spec.name}' has {len(spec.shape)} dimensions; at most {_MOST_DIMENSIONS} are read"
        )
    if math.prod(max(1, size) for size in spec.shape) > _LARGEST_SIZE:
        raise InvalidInputError(f"input '{spec.name}' has sizes that are too large: {list(spec.shape)}")


def _check_count(spec: TensorSpec, found: float, what: str) -> None:
    expected = math.prod(spec.shape)
    if found != expected:
        raise InvalidInputError(
            f"input '{spec.name}' of shape {list(spec.shape)} needs {expected} values of {spec.datatype}; "
            f"it has {found:g} {what}"
        )
