"""Golden DeltaGRU layer in fixed point: every rounding as the hardware does it.

A gated recurrent unit in the form of ONNX with linear_before_reset = 1, gates z, r, h:

    z = sigmoid(Wz x + Rz h + bz)            Wbz + Rbz = bz
    r = sigmoid(Wr x + Rr h + br)
    n = tanh(Wh x + bx + r * (Rh h + bh))
    h' = n + z * (h - n)

computed on change (DeltaGRU, D. Neil et al., arXiv 1612.05571; EdgeDRNN, arXiv 1912.12193): four
sums a unit, z, r, the input's part of n and the state's, start at their biases and keep what every
event adds. An item of x or h is an event when it differs from its reference and is Theta or more
away from it; the event carries the difference and moves the reference. References and h start at 0.

Fixed point: activations have `activation_fraction` fraction bits, weights `weight_fraction`, sums
both together. Every addition to a sum saturates at the accumulator's width, events in the order of
the scan, x before h. A shift to the right rounds to nearest, ties towards plus infinity. Tables
have 2**table_bits entries over -2**range_bits .. 2**range_bits; a sum is rounded to the nearest
entry and saturates at the ends. Sigmoid entries have `GATE_FRACTION` fraction bits, tanh entries
those of an activation; both are rounded from their exact value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsim.models.delta_shape import DeltaShape

__all__ = ["GATE_FRACTION", "DeltaGru", "GruWeights", "gates", "sigmoid_table", "tanh_table"]

GATE_FRACTION = 15
"""Fraction bits of the gates z and r: their product with a sum then keeps a sum's precision."""

Z, R, N_INPUT, N_STATE = range(4)
"""The four sums of a unit, in memory order."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class GruWeights:
    """Integer weights of a layer with X inputs and H units.

    Attributes:
        w: int64 [3H, X], rows of the gates z, r, n; `weight_fraction` fraction bits.
        r: int64 [3H, H].
        bias: int64 [4, H], starts of the sums z, r, the input's part of n, the state's part.
    """

    w: Ints
    r: Ints
    bias: Ints

    def __post_init__(self) -> None:
        hidden = self.bias.shape[-1]
        if (
            self.bias.shape != (4, hidden)
            or self.w.ndim != 2
            or len(self.w) != 3 * hidden
            or self.r.shape != (3 * hidden, hidden)
        ):
            raise ValueError(
                "weights must be w [3H, X], r [3H, H] and bias [4, H], but got "
                f"{self.w.shape}, {self.r.shape} and {self.bias.shape}"
            )

    @property
    def inputs(self) -> int:
        return self.w.shape[1]

    @property
    def hidden(self) -> int:
        return self.bias.shape[1]

    @classmethod
    def quantise(cls, w: NDArray, r: NDArray, b: NDArray, shape: DeltaShape) -> GruWeights:
        """Round an ONNX GRU's weights to the engine's formats; what does not fit saturates.

        Args:
            w, r: floats [3H, X] and [3H, H], gates z, r, h.
            b: floats [6H], Wb then Rb.
            shape: number formats.
        """
        hidden = w.shape[0] // 3
        wb, rb = b[: 3 * hidden].reshape(3, hidden), b[3 * hidden :].reshape(3, hidden)
        bias = np.stack([wb[0] + rb[0], wb[1] + rb[1], wb[2], rb[2]])
        return cls(
            w=_fixed(w, shape.weight_fraction, shape.weight_bits),
            r=_fixed(r, shape.weight_fraction, shape.weight_bits),
            bias=_fixed(bias, shape.sum_fraction, shape.accumulator_bits),
        )


class DeltaGru:
    """A layer with its state.

    Args:
        weights: of the layer.
        shape: number formats.
        theta: threshold in units of an activation's last bit.

    Attributes:
        h: int64 [H], the state.
        reference: int64 [X + H], what the events so far add up to.
        sums: int64 [4, H].
        saturations: additions that left the accumulator's range so far.

    Raises:
        ValueError: Theta is negative.
    """

    def __init__(self, weights: GruWeights, shape: DeltaShape, theta: int) -> None:
        if theta < 0:
            raise ValueError(f"theta must not be negative, but got {theta}")
        self.weights = weights
        self.shape = shape
        self.theta = theta
        self.h = np.zeros(weights.hidden, np.int64)
        self.reference = np.zeros(weights.inputs + weights.hidden, np.int64)
        self.sums = weights.bias.copy()
        self.saturations = 0

    def step(self, x: NDArray) -> tuple[Ints, Ints]:
        """One time step.

        Args:
            x: integers [X], activations.

        Returns:
            the new h [H], and the differences [X + H] that were added, 0 where no event was.
        """
        items = np.concatenate([x.astype(np.int64), self.h])
        delta = items - self.reference
        delta[np.abs(delta) < self.theta] = 0
        self.reference += delta
        inputs, hidden = self.weights.inputs, self.weights.hidden
        for position in np.flatnonzero(delta):
            if position < inputs:
                column, third = self.weights.w[:, position], N_INPUT
            else:
                column, third = self.weights.r[:, position - inputs], N_STATE
            products = delta[position] * column.reshape(3, hidden)
            self._add(Z, products[0])
            self._add(R, products[1])
            self._add(third, products[2])
        self.h = gates(self.sums, self.h, self.shape)
        return self.h, delta

    def _add(self, which: int, products: Ints) -> None:
        total = self.sums[which] + products
        self.sums[which] = _saturate(total, self.shape.accumulator_bits)
        self.saturations += int((self.sums[which] != total).sum())


def gates(sums: NDArray, h: NDArray, shape: DeltaShape) -> Ints:
    """The activation phase: the new state of units from their sums [4, ...] and old state."""
    sigmoid, tanh = sigmoid_table(shape), tanh_table(shape)
    sums = np.asarray(sums, np.int64)
    z = sigmoid[_entry(sums[Z], shape)]
    r = sigmoid[_entry(sums[R], shape)]
    total = sums[N_INPUT] + _round_shift(r * sums[N_STATE], GATE_FRACTION)
    n = tanh[_entry(_saturate(total, shape.accumulator_bits), shape)]
    return n + _round_shift(z * (np.asarray(h, np.int64) - n), GATE_FRACTION)


def sigmoid_table(shape: DeltaShape) -> Ints:
    """int64 [2**table_bits], entry k for k in two's complement; below 2**GATE_FRACTION."""
    scaled = 1 / (1 + np.exp(-_arguments(shape))) * (1 << GATE_FRACTION)
    return np.floor(scaled + 0.5).astype(np.int64)


def tanh_table(shape: DeltaShape) -> Ints:
    """int64 [2**table_bits], entry k for k in two's complement, in units of an activation."""
    scaled = np.tanh(_arguments(shape)) * (1 << shape.activation_fraction)
    return np.floor(scaled + 0.5).astype(np.int64)


def _arguments(shape: DeltaShape) -> NDArray[np.float64]:
    """What each entry stands for, numbers 0 .. 2**bits - 1 taken as two's complement."""
    half = 1 << (shape.table_bits - 1)
    numbers = np.concatenate([np.arange(half), np.arange(-half, 0)])
    return numbers / (1 << (shape.table_bits - 1 - shape.table_range_bits))


def _entry(sums: Ints, shape: DeltaShape) -> Ints:
    """Numbers of the entries nearest to sums."""
    shift = shape.sum_fraction - (shape.table_bits - 1 - shape.table_range_bits)
    number = _saturate(_round_shift(sums, shift), shape.table_bits)
    return number & ((1 << shape.table_bits) - 1)


def _round_shift(x: Ints, shift: int) -> Ints:
    """x / 2**shift to nearest, ties towards plus infinity."""
    return (x + ((1 << shift) >> 1)) >> shift


def _saturate(x: Ints, bits: int) -> Ints:
    return np.clip(x, -(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def _fixed(x: NDArray, fraction: int, bits: int) -> Ints:
    scaled = np.floor(np.asarray(x, np.float64) * (1 << fraction) + 0.5)
    return _saturate(scaled.astype(np.int64), bits)
