"""Silero VAD from its ONNX file against onnxruntime, frame by frame with its own context."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from networks import find

from hwsim.models.silero import find_silero, frames, load_silero
from hwsim.models.streams import Sound, example_speech

onnxruntime.set_default_logger_severity(4)


def test_equals_onnxruntime_on_speech():
    path = find("silero_vad_16k")
    assert find_silero() == path
    values = frames(example_speech()).values
    session = onnxruntime.InferenceSession(str(path))
    state = np.zeros((2, 1, 128), np.float32)
    wanted = []
    for row in values[:80]:
        fed = {"input": row[None].astype(np.float32), "state": state, "sr": np.array(16000)}
        y, state = session.run(None, fed)
        wanted.append(float(y[0, 0]))
    found = load_silero()(values[:80])
    assert np.abs(found - wanted).max() < 1e-5
    assert min(wanted) < 0.1 < 0.9 < max(wanted)


def test_frames():
    sound = Sound("x", np.arange(1, 1 + 3 * 512, dtype=float), 16000)
    found = frames(sound)
    assert found.values.shape == (3, 576)
    assert found.values[0, :64].tolist() == [0] * 64
    assert found.values[1].tolist() == list(range(449, 1025))
    with pytest.raises(ValueError, match="at least 2 frames"):
        frames(Sound("x", np.zeros(1000), 16000))
    with pytest.raises(ValueError, match="but got 22050 Hz"):
        frames(Sound("x", np.zeros(9999), 22050))


def test_files_that_are_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot read"):
        load_silero(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(ValueError, match="is not an ONNX file"):
        load_silero(tmp_path / "text.onnx")
    with pytest.raises(ValueError, match=r"has no stft\.forward_basis_buffer"):
        load_silero(find("nsnet2"))
