"""What /model holds: `metadata.json`, the protocol's model metadata, beside the weights."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kneescale_worker.errors import LoadError
from kneescale_worker.tensors import DTYPES, Array, TensorSpec

METADATA_FILE = "metadata.json"


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a model takes and answers; the first dimension of every tensor is the batch."""

    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def read_metadata(model_dir: Path) -> ModelMetadata:
    """The metadata in `model_dir`.

    Raises LoadError when it is missing or wrong.
    """
    path = model_dir / METADATA_FILE
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise LoadError(
            f"cannot read {path}: {error.strerror}; a model holds {path.name} and its weights"
        ) from error
    except ValueError as error:
        raise LoadError(f"{path} is no JSON: {error}") from error
    if not isinstance(document, Mapping):
        raise LoadError(f"{path} should hold a JSON object")
    return ModelMetadata(
        platform=str(document.get("platform", "torchscript")),
        inputs=_specs(path, document, "inputs"),
        outputs=_specs(path, document, "outputs"),
    )


def check_outputs(metadata: ModelMetadata, outputs: Sequence[Array]) -> None:
    """Raise LoadError when a model's answer is not what its metadata says."""
    if len(outputs) != len(metadata.outputs):
        raise LoadError(f"the model answers {len(outputs)} tensors, metadata.json {len(metadata.outputs)}")
    for spec, array in zip(metadata.outputs, outputs, strict=True):
        if array.dtype != DTYPES[spec.datatype] or not spec.admits(array.shape):
            raise LoadError(
                f"the model's output '{spec.name}' is {array.dtype} {list(array.shape)}; "
                f"metadata.json says {spec.datatype} {list(spec.shape)}"
            )


def _specs(path: Path, document: Mapping[str, Any], field: str) -> tuple[TensorSpec, ...]:
    entries = document.get(field)
    if not isinstance(entries, list) or not entries:
        raise LoadError(f"{path}: '{field}' should list at least one tensor")
    specs = tuple(_spec(path, field, entry) for entry in entries)
    if len({spec.name for spec in specs}) != len(specs):
        raise LoadError(f"{path}: two tensors of '{field}' have the same name")
    return specs


def _spec(path: Path, field: str, entry: object) -> TensorSpec:
    match entry:
        case {"name": str(name), "datatype": str(datatype), "shape": [*shape]} if name:
            pass
        case _:
            raise LoadError(f"{path}: each of '{field}' needs a name, a datatype and a shape")
    if datatype not in DTYPES:
        raise LoadError(f"{path}: '{name}' has datatype {datatype!r}; possible: {', '.join(DTYPES)}")
    if not shape or shape[0] != -1 or not all(type(size) is int and size > 0 for size in shape[1:]):
        raise LoadError(
            f"{path}: '{name}' has shape {shape}; it should be -1 (the batch) first, then fixed sizes"
        )
    return TensorSpec(name, datatype, tuple(shape))
