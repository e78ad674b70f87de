"""The demo's inputs and the judges of the answers to them."""

import wave
from pathlib import Path

import numpy as np
import pytest

from e2e.demo.samples import EGYPTIAN_CAT, ESPRESSO, for_efficientnet_lite, one_second, samples_for


def no_speech() -> Path:
    raise AssertionError("only the voice detector needs speech")


def recorded(path: Path, sound: np.ndarray[tuple[int], np.dtype[np.float64]], rate_hz: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes((sound * (2**15 - 1)).astype("<i2").tobytes())
    return path


@pytest.mark.parametrize(("model", "size"), [("efficientnet-lite0", 224), ("efficientnet-lite2", 260)])
def test_pictures_fit_the_model(model: str, size: int) -> None:
    for sample in samples_for(model, no_speech):
        assert sample.items.shape == (1, 3, size, size)
        assert sample.items.dtype == np.float32
        assert np.abs(sample.items).max() <= 1.2


def test_a_picture_is_judged_by_its_own_top_class() -> None:
    cat, cup = samples_for("efficientnet-lite0", no_speech)
    logits = np.zeros(1000, dtype=np.float32)
    logits[[EGYPTIAN_CAT, ESPRESSO]] = 2, 1
    assert cat.is_right(logits)
    assert not cup.is_right(logits)


def test_pixels_are_scaled_as_the_authors_do() -> None:
    grey = np.full((300, 400, 3), 127, dtype=np.uint8)
    white = np.full((300, 400, 3), 255, dtype=np.uint8)
    assert for_efficientnet_lite(grey, 224) == pytest.approx(0)
    assert for_efficientnet_lite(white, 224) == pytest.approx(1)


def test_a_recording_is_one_second_at_16_khz(tmp_path: Path) -> None:
    time_s = np.arange(48_000) / 48_000
    tone = recorded(tmp_path / "tone.wav", 0.5 * np.sin(2 * np.pi * 440 * time_s), 48_000)
    item = one_second(tone)
    assert item.shape == (16_000,)
    spectrum = np.abs(np.fft.rfft(item))
    assert int(spectrum.argmax()) == 440


def test_a_short_recording_is_padded_with_silence(tmp_path: Path) -> None:
    item = one_second(recorded(tmp_path / "short.wav", np.full(8_000, 0.5), 16_000))
    assert item.shape == (16_000,)
    assert item[9_000:] == pytest.approx(0)


def test_speech_and_silence_are_told_apart_by_the_probability(tmp_path: Path) -> None:
    recording = recorded(tmp_path / "x.wav", np.zeros(16_000), 16_000)
    speech, silence = samples_for("silero-vad", lambda: recording)
    high, low = np.array([0.9], dtype=np.float32), np.array([0.1], dtype=np.float32)
    assert [speech.is_right(high), speech.is_right(low)] == [True, False]
    assert [silence.is_right(high), silence.is_right(low)] == [False, True]


def test_an_emulated_models_answer_must_be_the_requests_own_input() -> None:
    first, second, *_ = samples_for("resnet50", no_speech)
    assert first.is_right(first.items.copy())
    assert not first.is_right(second.items)
