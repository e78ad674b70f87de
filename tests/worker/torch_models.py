"""Writes TorchScript models, each into a folder of its kind: torch_models.py FOLDER, with torch on its path.

`affine` answers 2 x + 1 on pictures, and fails on a batch with a value above 1000. `layers` has some of each
kind, `recurrent` an LSTM over the channels, `attention` a layer that torch runs as one operator, and `moody`
runs another operator on three pictures than on two. `wrong` does not do what its metadata says, and `broken`
is no TorchScript.
"""

import json
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

_TENSOR = {"datatype": "FP32", "shape": [-1, 3, 4, 4]}
_METADATA = {"inputs": [{"name": "x", **_TENSOR}], "outputs": [{"name": "y", **_TENSOR}]}


class Affine(nn.Module):  # type: ignore[misc]  # torch is not in the venv
    def forward(self, x: Tensor) -> Tensor:
        assert bool((x <= 1000).all()), "a value above 1000"
        return 2 * x + 1


class Layers(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 8, 3, padding=1)
        self.narrow = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=4)
        self.head = nn.Linear(32, 48)

    def forward(self, x: Tensor) -> Tensor:
        features = self.narrow(torch.relu(self.wide(x)))
        return self.head(features.contiguous().flatten(1)).reshape(x.shape)


class Recurrent(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(16, 16, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x.flatten(2))[0].reshape(x.shape)


class Attention(nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y = x.flatten(2)
        return self.attention(y, y, y)[0].reshape(x.shape)


class Moody(nn.Module):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        return x + x if x.shape[0] == 3 else 2 * x


class Wrong(nn.Module):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        return x.sum(dim=1)


def main(folder: Path) -> None:
    """Write model.pt and metadata.json of each kind."""
    for module in (Affine(), Layers(), Recurrent(), Attention(), Moody(), Wrong()):
        torch.jit.script(module.eval()).save(str(_model_file(folder, type(module).__name__.lower())))
    _model_file(folder, "broken").write_bytes(b"no model")


def _model_file(folder: Path, kind: str) -> Path:
    (folder / kind).mkdir()
    (folder / kind / "metadata.json").write_text(json.dumps(_METADATA))
    return folder / kind / "model.pt"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
