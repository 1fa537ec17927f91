"""What a WORKLOAD names on a machine that skips in time: a trained network and a stream for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwsim.errors import UserError
from hwsim.models.nsnet2 import HOP, RATE_HZ, Gru, Nsnet2, enhance, features, load_nsnet2
from hwsim.models.silero import CONTEXT, Lstm, load_silero
from hwsim.models.silero import HOP as SILERO_HOP
from hwsim.models.silero import frames as silero_frames
from hwsim.models.streams import Frames, Sound, example_speech, read_frames, read_wav, resample_to

__all__ = ["STREAMS", "GruStream", "load_stream"]

STREAMS: dict[str, str] = {
    "nsnet2": "trained GRU denoiser on speech, a frame every 10 ms",
    "silero_vad": "trained LSTM speech detector on speech, a frame every 32 ms",
}
"""Descriptions by name."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class GruStream:
    """A recurrent network and the frames that it is run on.

    Attributes:
        frames: features of the stream.
        grus: the recurrent layers that the engine runs, in order.
        inputs: makes the inputs float64[T, X] of the first of them.
        reference: makes the states float64[T, H] of the last of them in float, nothing skipped.
        output: what the listener gets of states [T, H]; errors are measured there.
        notes: in sentences.
    """

    frames: Frames
    grus: tuple[Gru | Lstm, ...]
    inputs: Callable[[], Floats]
    reference: Callable[[], Floats]
    output: Callable[[Floats], Floats]
    notes: tuple[str, ...] = ()


def load_stream(workload: str, source: str | Path | None = None) -> GruStream:
    """The network and stream that a workload names.

    Args:
        workload: a name of `STREAMS`.
        source: a `.wav` file at 16 kHz or a multiple, or a `.npy` file of frames, nsnet2's features
            [T, 161] or silero_vad's samples [T, 576]; None is the recording in the package.

    Raises:
        UserError: another name, a file that cannot be used, or weights that are not installed.
    """
    if workload not in STREAMS:
        raise UserError(f"workload {workload!r} is not one of {', '.join(sorted(STREAMS))}")
    try:
        return _nsnet2(source) if workload == "nsnet2" else _silero(source)
    except ValueError as error:
        raise UserError(str(error)) from None


def _nsnet2(source: str | Path | None) -> GruStream:
    network = load_nsnet2()
    if source is not None and str(source).endswith(".npy"):
        return _nsnet2_features(network, read_frames(source, RATE_HZ / HOP))
    sound = resample_to(example_speech() if source is None else read_wav(source), RATE_HZ)
    return _nsnet2_sound(network, sound)


def _nsnet2_sound(network: Nsnet2, sound: Sound) -> GruStream:
    """Errors are those of the denoised sound."""
    frames = features(sound)

    def output(states: Floats) -> Floats:
        return enhance(sound, network.after(states))

    return _around(network, frames, output)


def _nsnet2_features(network: Nsnet2, frames: Frames) -> GruStream:
    """Without the sound, errors are those of the gains."""
    width = network.fc_in.weight.shape[0]
    if frames.values.shape[1:] != (width,):
        raise ValueError(
            f"{frames.name}: frames must be [T, {width}], but got {frames.values.shape}"
        )
    return _around(network, frames, network.after)


def _around(network: Nsnet2, frames: Frames, output: Callable[[Floats], Floats]) -> GruStream:
    values = frames.values.astype(np.float64)

    def reference() -> Floats:
        x = network.before(values)
        for gru in network.grus:
            x = gru(x)
        return x

    return GruStream(
        frames=frames,
        grus=network.grus,
        inputs=lambda: network.before(values),
        reference=reference,
        output=output,
        notes=("the fully connected layers run on the host and are not counted",),
    )


def _silero(source: str | Path | None) -> GruStream:
    """Errors are those of the probability of speech."""
    network = load_silero()
    if source is not None and str(source).endswith(".npy"):
        frames = read_frames(source, RATE_HZ / SILERO_HOP)
    else:
        frames = silero_frames(example_speech() if source is None else read_wav(source))
    width = CONTEXT + SILERO_HOP
    if frames.values.shape[1:] != (width,):
        raise ValueError(
            f"{frames.name}: frames must be [T, {width}], but got {frames.values.shape}"
        )
    values = frames.values.astype(np.float64)
    return GruStream(
        frames=frames,
        grus=(network.lstm,),
        inputs=lambda: network.before(values),
        reference=lambda: network.lstm(network.before(values)),
        output=network.after,
        notes=(
            "the convolutions run on the host and are not counted",
            "the engine has no LSTM unit: values are computed in float, cycles by EdgeDRNN's law "
            "with columns of four gates",
        ),
    )
