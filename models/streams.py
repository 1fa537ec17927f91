"""Streams of input: sound, video and arrays of frames, with the checks that every reader shares.

A stream is frames [T, ...] at a rate. Sound is read from PCM `.wav` files with the standard
library, frames from `.npy` files, video with PyAV when that is installed (`pip install av`), which
decodes what FFmpeg decodes. `example_speech` is the recording that ships with the package.
"""

from __future__ import annotations

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "EXAMPLE_SPEECH",
    "Frames",
    "Sound",
    "concatenated",
    "example_speech",
    "frame_sound",
    "read_frames",
    "read_video",
    "read_wav",
    "resample_to",
]

EXAMPLE_SPEECH = "speech_example.wav"
_PCM_SCALE = {1: 2.0**7, 2: 2.0**15, 3: 2.0**23, 4: 2.0**31}  # by bytes a sample


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames of one stream, checked.

    Attributes:
        name: shown in reports.
        values: [T, ...], T at least 2; finite.
        rate_hz: frames a second.
        notes: what was done to the source, in sentences.

    Raises:
        ValueError: fewer than two frames, a value that is not a finite number, a rate of 0.
    """

    name: str
    values: NDArray
    rate_hz: float
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        values = self.values
        if values.ndim < 2 or values.dtype.kind not in "iuf" or 0 in values.shape[1:]:
            raise ValueError(
                f"{self.name}: frames must be an array of numbers [T, ...], "
                f"but got shape {values.shape} of {values.dtype}"
            )
        if len(values) < 2:
            raise ValueError(
                f"{self.name}: a clip must have at least 2 frames, but got {len(values)}"
            )
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            wrong = np.argwhere(~np.isfinite(values))[0]
            raise ValueError(
                f"{self.name}: every value must be finite, but got {values[tuple(wrong)]} "
                f"in frame {wrong[0]}"
            )
        if not self.rate_hz > 0:
            raise ValueError(f"{self.name}: rate_hz must be above 0, but got {self.rate_hz}")

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, eq=False)
class Sound:
    """Samples of one channel.

    Attributes:
        name: shown in reports.
        samples: float64[n], full scale is 1.
        rate_hz: samples a second.
        notes: what was done to the source, in sentences.

    Raises:
        ValueError: a sample that is not a finite number.
    """

    name: str
    samples: NDArray[np.float64]
    rate_hz: int
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.samples.ndim != 1:
            raise ValueError(
                f"{self.name}: samples must be one channel, but got shape {self.samples.shape}"
            )
        if not np.isfinite(self.samples).all():
            at = int(np.flatnonzero(~np.isfinite(self.samples))[0])
            raise ValueError(
                f"{self.name}: every sample must be finite, but got {self.samples[at]} at {at}"
            )


def example_speech() -> Sound:
    """The recording in the package: 7.1 s of read English at 16 kHz; speech_example.txt has its
    source and licence."""
    with resources.as_file(resources.files("hwsim.models") / EXAMPLE_SPEECH) as path:
        return read_wav(path)


def read_wav(path: str | Path) -> Sound:
    """The first channel of a PCM `.wav` file of 8, 16, 24 or 32 bits.

    Raises:
        ValueError: the file cannot be read or is not PCM.
    """
    name = Path(path).name
    try:
        with wave.open(str(path), "rb") as file:
            size, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            data = np.frombuffer(file.readframes(file.getnframes()), np.uint8)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    except (wave.Error, EOFError) as error:
        raise ValueError(f"{path} is not a PCM .wav file: {error or 'it ends early'}") from None
    if size not in _PCM_SCALE or rate < 1:
        raise ValueError(f"{path}: samples must have 8, 16, 24 or 32 bits, but got {8 * size}")
    whole = len(data) // (size * channels) * size * channels
    first = data[:whole].reshape(-1, channels, size)[:, 0]
    if size == 1:  # the only unsigned width
        values = first[:, 0].astype(np.int64) - 128
    else:
        wide = np.zeros((len(first), 4), np.uint8)
        wide[:, 4 - size :] = first
        values = wide.view("<i4")[:, 0].astype(np.int64) >> 8 * (4 - size)
    notes = (f"{name}: the first of {channels} channels",) if channels > 1 else ()
    return Sound(name, values / _PCM_SCALE[size], rate, notes)


def read_frames(path: str | Path, rate_hz: float) -> Frames:
    """Frames [T, ...] of a NumPy `.npy` file.

    Raises:
        ValueError: the file cannot be read, or the frames break a rule of `Frames`.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, EOFError):
        raise ValueError(f"{path} is not a .npy file of numbers") from None
    if not isinstance(values, np.ndarray):
        raise ValueError(f"{path} must be a .npy file, but holds several arrays")
    return Frames(Path(path).name, values, rate_hz)


def read_video(
    path: str | Path, *, frames: int | None = None, size: tuple[int, int] | None = None
) -> Frames:
    """Luminance of a video file, uint8[T, height, width].

    Args:
        frames: stop after this many.
        size: (width, height) to scale to (bilinear); None keeps the video's.

    Raises:
        ValueError: PyAV is not installed, the file cannot be decoded, or it has too few frames.
    """
    try:
        import av
    except ImportError:
        raise ValueError(f"reading {path} needs PyAV: pip install av") from None
    width, height = size or (None, None)
    pictures: list[NDArray[np.uint8]] = []
    try:
        with av.open(str(path)) as container:
            stream: Any = container.streams.video[0]
            rate = float(stream.average_rate or 0)
            for picture in container.decode(stream):
                if frames is not None and len(pictures) == frames:
                    break
                grey = picture.reformat(
                    width=width, height=height, format="gray", interpolation="BILINEAR"
                )
                pictures.append(grey.to_ndarray().copy())
    except (OSError, IndexError, av.FFmpegError) as error:
        raise ValueError(f"cannot decode {path}: {error}") from None
    name = Path(path).name
    values = np.stack(pictures) if pictures else np.empty((0, 1, 1), np.uint8)
    return Frames(name, values, rate or 25.0)


def resample_to(sound: Sound, rate_hz: int) -> Sound:
    """The sound at `rate_hz`, of which its own rate must be a whole multiple.

    A linear-phase low-pass (Kaiser window, SciPy's `resample_poly`) precedes the decimation.

    Raises:
        ValueError: the rate is not a multiple; the sentence names both.
    """
    if sound.rate_hz == rate_hz:
        return sound
    if sound.rate_hz % rate_hz:
        raise ValueError(
            f"{sound.name}: the sample rate must be {rate_hz} Hz or a multiple of it, "
            f"but got {sound.rate_hz} Hz"
        )
    from scipy.signal import resample_poly

    factor = sound.rate_hz // rate_hz
    samples = resample_poly(sound.samples, 1, factor)
    note = f"{sound.name}: decimated from {sound.rate_hz} Hz to {rate_hz} Hz"
    return Sound(sound.name, samples, rate_hz, (*sound.notes, note))


def frame_sound(sound: Sound, length: int, hop: int) -> NDArray[np.float64]:
    """Overlapping windows [T, length] of a sound, `hop` samples apart; the rest is dropped.

    Raises:
        ValueError: there are fewer than two.
    """
    count = (len(sound.samples) - length) // hop + 1
    if count < 2:
        raise ValueError(
            f"{sound.name}: a clip must have at least 2 frames ({length + hop} samples at "
            f"{sound.rate_hz} Hz), but got {len(sound.samples)} samples"
        )
    view = np.lib.stride_tricks.sliding_window_view(sound.samples, length)
    return view[: (count - 1) * hop + 1 : hop]


def concatenated(sounds: Sequence[Sound], name: str) -> Sound:
    """Sounds of one rate after each other.

    Raises:
        ValueError: none, or different rates.
    """
    rates = {sound.rate_hz for sound in sounds}
    if len(rates) != 1:
        raise ValueError(f"sounds must share one sample rate, but got {sorted(rates)}")
    return Sound(name, np.concatenate([s.samples for s in sounds]), rates.pop())
