"""Layers as machines that skip zeros see them: which activations and which weights are not zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsim.models.im2col import im2col, out_size, pad_image, windows

__all__ = ["MaskedLayer"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class MaskedLayer:
    """A convolution, or a fully connected layer as one of 1 x 1 pixels, by its masks.

    Attributes:
        name: of the layer.
        activations: bool[channels, height, width], True where not zero; without padding.
        weights: bool[filters, channels / groups, kernel height, kernel width].
        strides: (y, x).
        pads: ((top, bottom), (left, right)).
        groups: of channels.

    Raises:
        ValueError: shapes that do not fit each other.
    """

    name: str
    activations: Mask
    weights: Mask
    strides: tuple[int, int] = (1, 1)
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    groups: int = 1

    def __post_init__(self) -> None:
        a, w = self.activations, self.weights
        if a.ndim != 3 or w.ndim != 4 or a.dtype != np.bool_ or w.dtype != np.bool_:
            raise ValueError(
                f"{self.name}: masks must be bool [channels, y, x] and [filters, channels, y, x], "
                f"but got {a.dtype} {a.shape} and {w.dtype} {w.shape}"
            )
        if a.shape[0] != self.groups * w.shape[1] or w.shape[0] % self.groups:
            raise ValueError(
                f"{self.name}: {a.shape[0]} channels and {w.shape[0]} filters do not fit "
                f"{self.groups} groups of {w.shape[1]} channels"
            )

    @property
    def filters(self) -> int:
        return int(self.weights.shape[0])

    @property
    def out(self) -> tuple[int, int]:
        """Output height and width."""
        _, height, width = self.activations.shape
        kernel_y, kernel_x = self.weights.shape[2:]
        return (
            out_size(height, kernel_y, self.strides[0], 1, sum(self.pads[0])),
            out_size(width, kernel_x, self.strides[1], 1, sum(self.pads[1])),
        )

    @property
    def pixels(self) -> int:
        """Output pixels."""
        return self.out[0] * self.out[1]

    @property
    def taps(self) -> int:
        """Products of an output: k of the matrix product."""
        return int(np.prod(self.weights.shape[1:], dtype=np.int64))

    @property
    def macs_dense(self) -> int:
        """Multiply-accumulates with nothing skipped, taps on padding among them."""
        return self.pixels * self.filters * self.taps

    def operands(self, group: int = 0) -> tuple[Mask, Mask]:
        """The matrix product's masks: bool[pixels, taps] and bool[filters, taps] of a group.

        A tap's number runs over kernel row, kernel column, channel, the channel innermost; what
        falls on padding is False.
        """
        channels, filters = self.weights.shape[1], self.filters // self.groups
        mine = self.activations[group * channels : (group + 1) * channels]
        padded = pad_image(mine[None], self.pads)
        view = windows(padded, self.weights.shape[2:], self.strides, (1, 1), self.out)
        kernel = self.weights[group * filters : (group + 1) * filters]
        return im2col(view), kernel.transpose(0, 2, 3, 1).reshape(filters, -1)
