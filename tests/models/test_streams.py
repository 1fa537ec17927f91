"""Readers of sound and frames: every width against NumPy, and one sentence for bad input."""

from __future__ import annotations

import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.models.streams import (
    Frames,
    Sound,
    concatenated,
    example_speech,
    frame_sound,
    read_frames,
    read_video,
    read_wav,
    resample_to,
)


def write(path, samples, size=2, channels=1, rate=16000):
    """PCM samples, int[n, channels], little endian, 8 bits unsigned."""
    data = np.asarray(samples, np.int64).reshape(-1, 1)
    data = data + 128 if size == 1 else data
    shifts = 8 * np.arange(size)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(size)
        file.setframerate(rate)
        file.writeframes((data >> shifts & 255).astype(np.uint8).tobytes())


@given(size=st.sampled_from((1, 2, 3, 4)), channels=st.integers(1, 3), data=st.data())
def test_wav_round_trip(tmp_path_factory, size, channels, data):
    limit = 1 << 8 * size - 1
    samples = data.draw(st.lists(st.integers(-limit, limit - 1), min_size=1, max_size=12))
    samples = samples * channels
    path = tmp_path_factory.mktemp("wav") / "x.wav"
    write(path, samples, size, channels)
    sound = read_wav(path)
    assert sound.rate_hz == 16000
    assert (sound.samples * limit).tolist() == samples[::channels]
    assert len(sound.notes) == (channels > 1)


def test_example_speech_is_seven_seconds_of_sound():
    sound = example_speech()
    assert (sound.rate_hz, len(sound.samples)) == (16000, 113600)
    assert 0.3 < np.abs(sound.samples).max() < 1


def test_unreadable_wav(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read .*: No such file"):
        read_wav(tmp_path / "none.wav")
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(ValueError, match="is not a PCM"):
        read_wav(tmp_path / "text.wav")


def test_frames_must_be_two_and_finite(tmp_path):
    with pytest.raises(ValueError, match="at least 2 frames, but got 1"):
        Frames("x", np.zeros((1, 4)), 100.0)
    values = np.zeros((3, 4))
    values[2, 1] = np.nan
    with pytest.raises(ValueError, match="finite, but got nan in frame 2"):
        Frames("x", values, 100.0)
    with pytest.raises(ValueError, match="array of numbers"):
        Frames("x", np.zeros(4), 100.0)
    with pytest.raises(ValueError, match="rate_hz must be above 0"):
        Frames("x", np.zeros((3, 4)), 0.0)
    np.save(tmp_path / "x.npy", values)
    with pytest.raises(ValueError, match="finite, but got nan in frame 2"):
        read_frames(tmp_path / "x.npy", 100.0)
    np.save(tmp_path / "y.npy", np.arange(12).reshape(3, 4))
    assert read_frames(tmp_path / "y.npy", 100.0).values.tolist() == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]
    with pytest.raises(ValueError, match="cannot read"):
        read_frames(tmp_path / "z.npy", 100.0)
    (tmp_path / "text.npy").write_text("no array")
    with pytest.raises(ValueError, match=r"is not a \.npy file"):
        read_frames(tmp_path / "text.npy", 100.0)


def test_sound_must_be_finite_and_flat():
    with pytest.raises(ValueError, match="every sample must be finite, but got inf at 1"):
        Sound("x", np.array([0, np.inf]), 16000)
    with pytest.raises(ValueError, match="one channel"):
        Sound("x", np.zeros((2, 2)), 16000)


def test_resampling_keeps_a_tone_and_refuses_other_rates():
    time = np.arange(4800) / 48000
    sound = Sound("tone", np.sin(2 * np.pi * 440 * time), 48000)
    down = resample_to(sound, 16000)
    middle = slice(200, 1400)
    wanted = np.sin(2 * np.pi * 440 * np.arange(1600) / 16000)
    assert np.abs(down.samples - wanted)[middle].max() < 1e-3
    assert "decimated from 48000 Hz to 16000 Hz" in down.notes[0]
    assert resample_to(down, 16000) is down
    with pytest.raises(ValueError, match="must be 16000 Hz or a multiple of it, but got 44100 Hz"):
        resample_to(Sound("x", np.zeros(9), 44100), 16000)


@given(samples=st.integers(0, 60), length=st.integers(1, 12), hop=st.integers(1, 12))
def test_windows_of_a_sound(samples, length, hop):
    sound = Sound("x", np.arange(samples, dtype=float), 16000)
    wanted = [list(range(start, start + length)) for start in range(0, samples - length + 1, hop)]
    if len(wanted) < 2:
        with pytest.raises(ValueError, match="at least 2 frames"):
            frame_sound(sound, length, hop)
        return
    assert frame_sound(sound, length, hop).tolist() == wanted


def test_concatenation():
    one, two = Sound("a", np.ones(2), 16000), Sound("b", np.zeros(1), 16000)
    assert concatenated([one, two], "ab").samples.tolist() == [1, 1, 0]
    with pytest.raises(ValueError, match="share one sample rate"):
        concatenated([one, Sound("c", np.zeros(1), 8000)], "ac")


def test_video(tmp_path):
    av = pytest.importorskip("av", reason="PyAV decodes video")
    pictures = np.zeros((6, 48, 64, 3), np.uint8)
    pictures[:, :, :32] = np.arange(6, dtype=np.uint8)[:, None, None, None] * 40
    with av.open(str(tmp_path / "clip.avi"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)  # lossless
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    frames = read_video(tmp_path / "clip.avi", frames=5)
    assert frames.values.shape == (5, 48, 64)
    assert frames.rate_hz == 25
    assert np.abs(np.diff(frames.values[:, 10, 10].astype(int)) - 40 * 219 / 255).max() < 2 or (
        np.diff(frames.values[:, 10, 10].astype(int)).tolist() == [40] * 4
    )
    assert read_video(tmp_path / "clip.avi", size=(32, 24)).values.shape == (6, 24, 32)
    (tmp_path / "no.avi").write_text("no video")
    with pytest.raises(ValueError, match="cannot decode"):
        read_video(tmp_path / "no.avi")
