"""Silero VAD, the trained LSTM speech detector of the package `silero-vad` (MIT), at 16 kHz.

A frame is 512 samples (32 ms) behind 64 of the frame before. A short-time Fourier transform by
convolution gives 4 spectra of 129 magnitudes, four convolutions with ReLU one vector of 128, an
LSTM of 128 units its state, and ReLU, a 1 x 1 convolution and a sigmoid the probability of speech.
Only the ONNX file is taken from the package; its code is not imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwsim.models.streams import Frames, Sound, frame_sound, resample_to

__all__ = ["CONTEXT", "HOP", "RATE_HZ", "Lstm", "Silero", "find_silero", "frames", "load_silero"]

RATE_HZ = 16000
HOP = 512
CONTEXT = 64
_FILE = "data/silero_vad_16k_op15.onnx"
_REFLECTED = 64  # samples behind the frame, for its last window
_STRIDE = 128  # of the transform's windows
_STRIDES = (1, 2, 2, 1)  # of the four convolutions, kernel 3, padding 1

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Lstm:
    """Weights of one LSTM with PyTorch's gates i, f, g, o.

    Attributes:
        w: float64[4 hidden, inputs].
        r: float64[4 hidden, hidden].
        bias: float64[4 hidden], of both products.
    """

    w: Floats
    r: Floats
    bias: Floats

    @property
    def inputs(self) -> int:
        return int(self.w.shape[1])

    @property
    def hidden(self) -> int:
        return int(self.r.shape[1])

    def __call__(self, x: Floats) -> Floats:
        """States [T, hidden] of inputs [T, inputs], from states of zero."""
        h, c = np.zeros(self.hidden), np.zeros(self.hidden)
        states = np.empty((len(x), self.hidden))
        for t, row in enumerate(x @ self.w.T + self.bias):
            i, f, g, o = (row + self.r @ h).reshape(4, -1)
            c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
            h = _sigmoid(o) * np.tanh(c)
            states[t] = h
        return states


@dataclass(frozen=True, eq=False)
class Silero:
    """The network's weights.

    Attributes:
        basis: float64[258, 256], real and imaginary rows of the transform.
        encoder: (weights [outputs, inputs, 3], biases) of the four convolutions.
        lstm: the recurrent layer.
        weight, bias: float64[128] and a number, of the output.
    """

    basis: Floats
    encoder: tuple[tuple[Floats, Floats], ...]
    lstm: Lstm
    weight: Floats
    bias: float

    def before(self, values: Floats) -> Floats:
        """Inputs [T, 128] of the LSTM of frames [T, 576]."""
        padded = np.pad(values, ((0, 0), (0, _REFLECTED)), mode="reflect")
        width = self.basis.shape[1]
        view = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1)[:, ::_STRIDE]
        spectra = view @ self.basis.T
        half = self.basis.shape[0] // 2
        x = np.hypot(spectra[:, :, :half], spectra[:, :, half:])  # [T, 4, 129]
        for (w, b), stride in zip(self.encoder, _STRIDES, strict=True):
            x = np.pad(x, ((0, 0), (1, 1), (0, 0)))
            taps = np.lib.stride_tricks.sliding_window_view(x, 3, axis=1)[:, ::stride]
            x = np.maximum(np.einsum("tpck,ock->tpo", taps, w) + b, 0)
        return x[:, 0]

    def after(self, states: Floats) -> Floats:
        """Probabilities [T] of the LSTM's states [T, 128]."""
        return _sigmoid(np.maximum(states, 0) @ self.weight + self.bias)

    def __call__(self, values: Floats) -> Floats:
        """Probabilities [T] of frames [T, 576]."""
        return self.after(self.lstm(self.before(values)))


def find_silero() -> Path:
    """The ONNX file in the installed package, whose code is not run.

    Raises:
        ValueError: the package is not installed.
    """
    spec = find_spec("silero_vad")
    for folder in spec.submodule_search_locations or () if spec else ():
        path = Path(folder) / _FILE
        if path.is_file():
            return path
    raise ValueError(
        "the network silero_vad needs the weights in the package silero-vad: "
        "pip install --no-deps silero-vad==6.2.3"
    )


def load_silero(path: str | Path | None = None) -> Silero:
    """The weights of a Silero VAD ONNX file at 16 kHz, that of the installed package by default.

    Raises:
        ValueError: no such file, or a tensor is missing.
    """
    import onnx
    from onnx import numpy_helper

    source = find_silero() if path is None else Path(path)
    try:
        graph = onnx.load(str(source)).graph
    except OSError as error:
        raise ValueError(f"cannot read {source}: {error.strerror or error}") from None
    except Exception as error:  # protobuf's decoding error has no public base class
        raise ValueError(f"{source} is not an ONNX file: {error}") from None
    tensors = {t.name.removeprefix("model."): t for t in graph.initializer}

    def take(name: str) -> Floats:
        if name not in tensors:
            raise ValueError(f"{source} must hold Silero VAD's weights, but has no {name}")
        return numpy_helper.to_array(tensors[name]).astype(np.float64)

    rnn = "decoder.rnn."
    return Silero(
        basis=take("stft.forward_basis_buffer")[:, 0],
        encoder=tuple(
            (take(f"encoder.{i}.reparam_conv.weight"), take(f"encoder.{i}.reparam_conv.bias"))
            for i in range(len(_STRIDES))
        ),
        lstm=Lstm(
            take(f"{rnn}weight_ih"),
            take(f"{rnn}weight_hh"),
            take(f"{rnn}bias_ih") + take(f"{rnn}bias_hh"),
        ),
        weight=take("decoder.decoder.2.weight")[0, :, 0],
        bias=float(take("decoder.decoder.2.bias")[0]),
    )


def frames(sound: Sound) -> Frames:
    """Frames float64[T, 576] of a sound at 16 kHz or a multiple, 31.25 a second.

    The first has silence as context.

    Raises:
        ValueError: another sample rate, or fewer than two frames.
    """
    at_rate = resample_to(sound, RATE_HZ)
    led = Sound(
        at_rate.name, np.concatenate([np.zeros(CONTEXT), at_rate.samples]), RATE_HZ, at_rate.notes
    )
    values = frame_sound(led, CONTEXT + HOP, HOP)
    return Frames(sound.name, values, RATE_HZ / HOP, at_rate.notes)


def _sigmoid(x: Floats) -> Floats:
    # exp of a negative number only: no overflow
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))
