"""Real inputs for the demo's models, prepared as the models ask, with the answers that are right."""

import wave
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly
from skimage import data
from skimage.transform import resize

Array = NDArray[np.float32]

#: ImageNet's class indices of what scikit-image's pictures show.
EGYPTIAN_CAT = 285
ESPRESSO = 967
AUDIO_RATE_HZ = 16_000
SPEECH_THRESHOLD = 0.5
#: A request to an emulated model carries this many items: few requests then keep a GPU busy, so that the
#: machine's own cores, which do not compute the batches, carry the load of several GPUs.
EMULATED_ITEMS = 16


@dataclass(frozen=True, slots=True)
class Sample:
    """One request to a model, its items [items, ...], and the judge of the answer to it."""

    name: str
    items: Array
    is_right: Callable[[Array], bool]


def samples_for(model: str, speech: Callable[[], Path]) -> Sequence[Sample]:
    """Return the samples for a model of the demo; `speech` fetches a recording where one is needed."""
    if model in IMAGE_SIZES:
        return _pictures(IMAGE_SIZES[model])
    if model == "silero-vad":
        return _audio(speech())
    return echoes(model, EMULATED_ITEMS)


IMAGE_SIZES: Mapping[str, int] = {"efficientnet-lite0": 224, "efficientnet-lite2": 260}


def _pictures(size: int) -> Sequence[Sample]:
    cat, cup = data.chelsea(), data.coffee()  # type: ignore[no-untyped-call]
    return [
        Sample("chelsea, an Egyptian cat", for_efficientnet_lite(cat, size)[None], _top_is(EGYPTIAN_CAT)),
        Sample("a cup of espresso", for_efficientnet_lite(cup, size)[None], _top_is(ESPRESSO)),
    ]


def for_efficientnet_lite(picture: NDArray[np.uint8], size: int) -> Array:
    """Prepare an RGB picture [height, width, 3] for EfficientNet-lite: [3, size, size].

    Bicubic, then (value - 127) / 128, as its authors do (tensorflow/tpu, models/official/efficientnet,
    lite/efficientnet_lite_builder.py). The whole picture is used, not the middle that they evaluate on: the
    crop cuts chelsea's ears off, and lite0 then takes her for a tiger cat by a narrow margin.
    """
    shape = (size, size)
    shown = resize(picture, shape, order=3, preserve_range=True)  # type: ignore[no-untyped-call]
    return np.ascontiguousarray(((shown - 127) / 128).transpose(2, 0, 1), dtype=np.float32)


def _top_is(index: int) -> Callable[[Array], bool]:
    return lambda logits: int(np.argmax(logits)) == index


def _audio(recording: Path) -> Sequence[Sample]:
    silence = np.random.default_rng(0).normal(scale=1e-4, size=AUDIO_RATE_HZ).astype(np.float32)
    return [
        Sample("speech", one_second(recording)[None], lambda answer: answer.item() >= SPEECH_THRESHOLD),
        Sample("silence", silence[None], lambda answer: answer.item() < SPEECH_THRESHOLD),
    ]


def one_second(recording: Path) -> Array:
    """Return the first second of a 16-bit mono WAV file at 16 kHz, in -1..1."""
    with wave.open(str(recording)) as file:
        rate_hz = file.getframerate()
        sound = np.frombuffer(file.readframes(2 * rate_hz), dtype="<i2").astype(np.float32) / 2**15
    resampled = resample_poly(sound, AUDIO_RATE_HZ, rate_hz)[:AUDIO_RATE_HZ]
    return np.pad(resampled, (0, AUDIO_RATE_HZ - len(resampled))).astype(np.float32)


def echoes(model: str, items: int = 1) -> Sequence[Sample]:
    """Return samples for an emulated model, which answers with its input: so each answer is known apart."""
    seed = int.from_bytes(model.encode(), "little")
    requests = np.random.default_rng(seed).normal(size=(8, items, 4)).astype(np.float32)
    return [Sample(f"echo {i}", request, _equals(request)) for i, request in enumerate(requests)]


def _equals(request: Array) -> Callable[[Array], bool]:
    return lambda answer: np.array_equal(answer, request)
