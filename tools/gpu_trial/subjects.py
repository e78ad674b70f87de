"""The models of the trial: well-known classifiers with random weights, which take as long as trained ones."""

import argparse
import json
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

from kneescale.core import worker_variables
from kneescale.core.backends import ModelFormat

_SIZE = 224
#: Mean and standard deviation of a pixel, near enough.
_MEAN, _DEVIATION = 118.0, 58.0


@dataclass(frozen=True, slots=True)
class Subject:
    """One model: its name, where it can be loaded from, and what its clients are promised."""

    name: str
    slo_ms: int
    #: Variables of a worker's environment that say where the model is.
    env: tuple[tuple[str, str], ...]


#: Names in torchvision.models, and SLOs. The first three launch many small kernels, which a part of a GPU
#: runs as fast as all of it; the others have work for more.
SLOS_MS = {
    "resnet50": 50,
    "densenet201": 100,
    "efficientnet_v2_l": 200,
    "wide_resnet101_2": 100,
    "convnext_large": 150,
}


def torchscript_subjects(folder: Path) -> list[Subject]:
    """Those that `main` exported into `folder`."""
    return [
        Subject(
            name,
            slo_ms,
            (
                (worker_variables.MODEL_URI, f"file://{folder / name}"),
                (worker_variables.MODEL_DIR, str(folder / name)),
                (worker_variables.MODEL_FORMAT, ModelFormat.TORCH_SCRIPT),
            ),
        )
        for name, slo_ms in SLOS_MS.items()
    ]


def _export(name: str, folder: Path) -> None:
    import torch
    import torchvision  # type: ignore[import-untyped,import-not-found,unused-ignore]
    from torch import Tensor, nn

    class OfBytes(nn.Module):  # type: ignore[misc,unused-ignore]
        """Takes images as bytes, as they come out of a decoder."""

        def __init__(self, classifier: nn.Module) -> None:
            super().__init__()
            self.classifier = classifier.to(memory_format=torch.channels_last)

        def forward(self, image: Tensor) -> Tensor:
            """Logits [batch, classes] of images [batch, 3, height, width]."""
            scaled = (image.float() - _MEAN) / _DEVIATION
            logits: Tensor = self.classifier(scaled.contiguous(memory_format=torch.channels_last))
            return logits

    torch.manual_seed(0)
    model = OfBytes(getattr(torchvision.models, name)(weights=None)).eval()
    with torch.inference_mode():
        image = torch.zeros(2, 3, _SIZE, _SIZE, dtype=torch.uint8)
        traced = torch.jit.freeze(torch.jit.trace(model, image, check_trace=False))
    folder.mkdir(parents=True, exist_ok=True)
    torch.jit.save(traced, folder / "model.pt")
    metadata = {
        "platform": "torchscript",
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 3, _SIZE, _SIZE]}],
        "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 1000]}],
    }
    (folder / "metadata.json").write_text(json.dumps(metadata))


def main() -> None:
    """Export them; in a process of its own, since the trial itself has no use for torch."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    warnings.simplefilter("ignore")
    for name in SLOS_MS:
        _export(name, folder / name)
        sys.stdout.write(f"exported {name}\n")


if __name__ == "__main__":
    main()
