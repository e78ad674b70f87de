"""Writes TorchScript models; run with torch on its path: torch_model.py FOLDER KIND.

`affine` answers 2 x + 1 on pictures, and fails on a batch with a value above 1000; `wrong` does not do what
its metadata says; `broken` is no TorchScript.
"""

import json
import sys
from pathlib import Path
from typing import Any

PICTURE = [-1, 3, 4, 4]


def main(folder: Path, kind: str) -> None:
    """Write model.pt and metadata.json."""
    folder.mkdir(exist_ok=True)
    tensor = {"datatype": "FP32", "shape": PICTURE}
    metadata = {"name": kind, "inputs": [{"name": "x", **tensor}], "outputs": [{"name": "y", **tensor}]}
    (folder / "metadata.json").write_text(json.dumps(metadata))
    if kind == "broken":
        (folder / "model.pt").write_bytes(b"no model")
    else:
        _save(folder / "model.pt", kind)


def _save(path: Path, kind: str) -> None:
    import torch

    class Affine(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            assert bool((x <= 1000).all()), "a value above 1000"
            return 2 * x + 1

    class Wrong(torch.nn.Module):  # type: ignore[misc]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sum(dim=1)

    modules: dict[str, Any] = {"affine": Affine, "wrong": Wrong}
    torch.jit.script(modules[kind]()).save(str(path))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
