"""NSNet2 from its ONNX file: the features, the float network against onnxruntime, overlap-add."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from networks import find

from hwsim.models.nsnet2 import enhance, features, find_nsnet2, load_nsnet2, spectrum
from hwsim.models.streams import Sound, example_speech

onnxruntime.set_default_logger_severity(4)


def noise(seconds: float) -> Sound:
    rng = np.random.default_rng(0)
    return Sound("noise", rng.standard_normal(int(16000 * seconds)) / 8, 16000)


def test_equals_onnxruntime_on_speech():
    path = find("nsnet2")
    assert find_nsnet2() == path
    frames = features(example_speech()).values[:200]
    session = onnxruntime.InferenceSession(str(path))
    wanted = session.run(None, {"input": frames[None].astype(np.float32)})[0][0]
    found = load_nsnet2()(frames)
    assert found.shape == (200, 161)
    assert np.abs(found - wanted).max() < 1e-5
    assert wanted.std() > 0.05  # the gains do something


def test_features():
    sound = noise(0.1)
    frames = features(sound)
    assert frames.values.shape == (9, 161)
    assert frames.rate_hz == 100
    window = np.sqrt(np.hanning(320))
    third = np.fft.rfft(sound.samples[320:640] * window)
    assert np.allclose(frames.values[2], np.log10(np.abs(third) ** 2), rtol=1e-12)
    silent = features(Sound("silence", np.zeros(800), 16000))
    assert (silent.values == -12).all()


def test_overlap_add_restores_the_sound():
    sound = noise(0.2)
    spectra = spectrum(sound)
    restored = enhance(sound, np.ones(spectra.shape))
    inner = slice(160, len(restored) - 160)
    # the squared symmetric window sums to one but for about 1 / 319
    assert np.abs(restored - sound.samples[: len(restored)])[inner].max() < 0.01
    halved = enhance(sound, np.full(spectra.shape, 0.5))
    assert np.allclose(halved, restored / 2)
    muted = enhance(sound, np.zeros(spectra.shape))
    assert np.allclose(muted, restored * 1e-4)
    with pytest.raises(ValueError, match="gain must have the shape"):
        enhance(sound, np.ones((2, 161)))


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (320 + 159, 16000, "at least 2 frames"),
        (48000, 44100, "must be 16000 Hz or a multiple of it, but got 44100 Hz"),
        (48000, 8000, "but got 8000 Hz"),
    ],
)
def test_sounds_that_are_refused(samples, rate, message):
    with pytest.raises(ValueError, match=message):
        features(Sound("x", np.zeros(samples), rate))


def test_files_that_are_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot read"):
        load_nsnet2(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(ValueError, match="is not an ONNX file"):
        load_nsnet2(tmp_path / "text.onnx")
    with pytest.raises(ValueError, match="must be one FC, GRUs, then FCs"):
        load_nsnet2(find("silero_vad_16k"))
