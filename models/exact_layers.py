"""Layers of the hardware-exact training path, and how each stage's product is gathered from maps.

Maps are NHWC and contiguous, so flattening one is a reshape. A layer has no bias. With w[kernel
row, kernel column, input, output] stored as the matrix W[k, n], n the output channel, the three
products of a step are

    FF  Y[m, n]    = gather(X)[m, k] W[k, n]             k: kernel row, column, input channel
    BP  dX[m', c]  = gather_back(dY)[m', k'] B[k', c]    k': kernel row, column, output channel
    WU  dW[k, n]   = gather(X)^T[k, m] dY[m, n]          m: image, output row, output column

each summed in ascending order of its contracted axis, innermost last. BP's k' counts kernel taps
as the weights are stored, not mirrored: for tap (r, c), input position (y, x) meets the gradient at
((y + pad - r) / stride, (x + pad - c) / stride). Where that is no whole number or lies outside, the
gathered operand is +0, so a stride costs inserted zeros; the array multiplies them like any
operand, which matters only where the weight is infinite or NaN. So N:M groups lie along output
channels, and B is W with its last two axes swapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from hwsim.models.im2col import out_size

__all__ = [
    "Layer",
    "backward_matrix",
    "check_network",
    "conv",
    "dense",
    "gather",
    "gather_back",
]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A convolution; a fully connected layer is one with a 1 x 1 map and kernel.

    Attributes:
        name: unique in the network.
        inputs, outputs: channels.
        height, width: of the input map.
        kernel, stride, pad: of both spatial axes; pad is on every side.
        relu: the output passes a ReLU.

    Raises:
        ValueError: a size below 1, a pad that is not below the kernel, or a window that does not
            fit.
    """

    name: str
    inputs: int
    outputs: int
    height: int = 1
    width: int = 1
    kernel: int = 1
    stride: int = 1
    pad: int = 0
    relu: bool = True

    def __post_init__(self) -> None:
        for field in ("inputs", "outputs", "height", "width", "kernel", "stride"):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"{self.name}: {field} must be at least 1, but got {getattr(self, field)}"
                )
        if not 0 <= self.pad < self.kernel:
            raise ValueError(
                f"{self.name}: 0 <= pad < kernel must hold, but got pad={self.pad}, "
                f"kernel={self.kernel}"
            )
        self.out_height, self.out_width  # noqa: B018 - the window must fit

    @property
    def out_height(self) -> int:
        return out_size(self.height, self.kernel, self.stride, 1, 2 * self.pad)

    @property
    def out_width(self) -> int:
        return out_size(self.width, self.kernel, self.stride, 1, 2 * self.pad)

    @property
    def taps(self) -> int:
        return self.kernel * self.kernel

    @property
    def k(self) -> int:
        """What FF contracts: rows of W."""
        return self.taps * self.inputs

    @property
    def k_back(self) -> int:
        """What BP contracts."""
        return self.taps * self.outputs

    @property
    def positions(self) -> int:
        """Output positions an image: rows of Y."""
        return self.out_height * self.out_width

    def input_shape(self, batch: int) -> tuple[int, int, int, int]:
        return (batch, self.height, self.width, self.inputs)

    def output_shape(self, batch: int) -> tuple[int, int, int, int]:
        return (batch, self.out_height, self.out_width, self.outputs)


def conv(
    name: str,
    inputs: int,
    outputs: int,
    size: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    pad: int = 1,
    relu: bool = True,
) -> Layer:
    """A convolution of a square map; as `Layer`."""
    return Layer(
        name=name,
        inputs=inputs,
        outputs=outputs,
        height=size,
        width=size,
        kernel=kernel,
        stride=stride,
        pad=pad,
        relu=relu,
    )


def dense(name: str, inputs: int, outputs: int, *, relu: bool = True) -> Layer:
    """A fully connected layer; a map in front of it is flattened in NHWC order."""
    return Layer(name=name, inputs=inputs, outputs=outputs, relu=relu)


def check_network(layers: Sequence[Layer]) -> None:
    """That each layer takes what the one before gives, as a map or flattened, and the last gives
    logits: one position, no ReLU.

    Raises:
        ValueError: it does not hold.
    """
    if not layers:
        raise ValueError("a network needs at least one layer, but got none")
    names = [layer.name for layer in layers]
    if len(set(names)) != len(names):
        raise ValueError(f"layer names must be unique, but got {', '.join(names)}")
    for before, after in pairwise(layers):
        gives, takes = before.output_shape(1)[1:], after.input_shape(1)[1:]
        if takes not in (gives, (1, 1, gives[0] * gives[1] * gives[2])):
            raise ValueError(
                f"{after.name} must take what {before.name} gives, as a map or flattened, "
                f"but got {takes} after {gives}"
            )
    last = layers[-1]
    if last.positions != 1 or last.relu:
        raise ValueError(
            f"the last layer must give one position without ReLU, but got {last.positions} "
            f"positions, relu={last.relu}"
        )


def gather(x: NDArray, layer: Layer) -> NDArray:
    """A[batch * out_height * out_width, k] of FF from the map X [batch, height, width, inputs].

    Any dtype, kept. Raises ValueError where the map has another shape.
    """
    _check(x, layer.input_shape(len(x)), "X", layer)
    pad = layer.pad
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    high, wide, step = layer.out_height, layer.out_width, layer.stride
    a = np.empty((len(x), high, wide, layer.kernel, layer.kernel, layer.inputs), x.dtype)
    for r in range(layer.kernel):
        for c in range(layer.kernel):
            rows = slice(r, r + (high - 1) * step + 1, step)
            columns = slice(c, c + (wide - 1) * step + 1, step)
            a[:, :, :, r, c] = padded[:, rows, columns]
    return a.reshape(-1, layer.k)


def gather_back(dy: NDArray, layer: Layer) -> NDArray:
    """A[batch * height * width, k_back] of BP from dY [batch, out_height, out_width, outputs].

    Any dtype, kept. Raises ValueError where the map has another shape.
    """
    _check(dy, layer.output_shape(len(dy)), "dY", layer)
    kernel, step, before = layer.kernel, layer.stride, layer.kernel - 1 - layer.pad
    spread = np.zeros(
        (len(dy), layer.height + kernel - 1, layer.width + kernel - 1, layer.outputs), dy.dtype
    )
    bottom = before + (layer.out_height - 1) * step + 1
    right = before + (layer.out_width - 1) * step + 1
    spread[:, before:bottom:step, before:right:step] = dy
    a = np.empty((len(dy), layer.height, layer.width, kernel, kernel, layer.outputs), dy.dtype)
    for r in range(kernel):
        for c in range(kernel):
            top, left = kernel - 1 - r, kernel - 1 - c
            a[:, :, :, r, c] = spread[:, top : top + layer.height, left : left + layer.width]
    return a.reshape(-1, layer.k_back)


def backward_matrix(w: NDArray, layer: Layer) -> NDArray:
    """B[k_back, inputs] of BP from W[k, n]: the channel axes of every tap swapped. Any dtype."""
    taps = w.reshape(layer.taps, layer.inputs, layer.outputs)
    return np.ascontiguousarray(taps.transpose(0, 2, 1)).reshape(layer.k_back, layer.inputs)


def _check(x: NDArray, shape: tuple[int, ...], what: str, layer: Layer) -> None:
    if x.shape != shape:
        raise ValueError(f"{layer.name}: {what} must be {shape}, but got {x.shape}")
