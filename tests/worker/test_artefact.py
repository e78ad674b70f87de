import json
from pathlib import Path
from typing import Any

import pytest

from kneescale_worker.artefact import read_metadata
from kneescale_worker.errors import LoadError
from kneescale_worker.tensors import TensorSpec

_TENSOR = {"name": "x", "datatype": "FP32", "shape": [-1, 3]}
_METADATA = {"platform": "torchscript", "inputs": [_TENSOR], "outputs": [_TENSOR | {"name": "y"}]}


def _write(folder: Path, document: object) -> Path:
    (folder / "metadata.json").write_text(json.dumps(document))
    return folder


def test_metadata_is_read(tmp_path: Path) -> None:
    metadata = read_metadata(_write(tmp_path, _METADATA))
    assert metadata.platform == "torchscript"
    assert metadata.inputs == (TensorSpec("x", "FP32", (-1, 3)),)
    assert metadata.outputs == (TensorSpec("y", "FP32", (-1, 3)),)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"inputs": []}, "'inputs' should list at least one tensor"),
        ({"outputs": None}, "'outputs' should list at least one tensor"),
        ({"inputs": [_TENSOR, _TENSOR]}, "same name"),
        ({"inputs": [{"name": "x"}]}, "needs a name, a datatype and a shape"),
        ({"inputs": [_TENSOR | {"datatype": "BYTES"}]}, "'x' has datatype 'BYTES'"),
        ({"inputs": [_TENSOR | {"shape": [1, 3]}]}, r"'x' has shape \[1, 3\]"),
        ({"inputs": [_TENSOR | {"shape": [-1, -1]}]}, r"'x' has shape \[-1, -1\]"),
        ({"inputs": [_TENSOR | {"shape": []}]}, "'x' has shape"),
    ],
)
def test_wrong_metadata_says_what_is_wrong(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises(LoadError, match=says):
        read_metadata(_write(tmp_path, _METADATA | change))


def test_no_metadata_says_so(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"cannot read .*No such file"):
        read_metadata(tmp_path)
    (tmp_path / "metadata.json").write_text("{")
    with pytest.raises(LoadError, match="is no JSON"):
        read_metadata(tmp_path)
    with pytest.raises(LoadError, match="should hold a JSON object"):
        read_metadata(_write(tmp_path, [1]))
