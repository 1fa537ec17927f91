"""A DeltaGRU layer over a stream by the threshold rule, fast: values and the non-zero items.

A frame's inputs x and the last state h are compared with their references; where the difference is
not zero and at least Theta, it enters the sums with its weight column and the reference moves (Gao
et al., arXiv 1912.12193):

    M_z += W_z dx + R_z dh,  M_r likewise,  M_cx += W_h dx,  M_ch += R_h dh       (biases at first)
    z, r = sigmoid(M_z), sigmoid(M_r);  c = tanh(M_cx + r M_ch);  h = (1 - z) c + z h

`fixed_stream` is the machine: the integers of `hwsim.models.delta_gru`, bit for bit. `float_stream`
has Q8.8 codes for x and h where they are compared and float64 for weights, sums and the state: what
skipping does to a trained network's output without the error of the weights' format. `lstm_stream`
is the same of an LSTM, whose four gates share one sum each: i, f, g, o.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from hwsim.models.delta_gru import GATE_FRACTION, GruWeights, sigmoid_table, tanh_table
from hwsim.models.delta_shape import DeltaShape

__all__ = ["CODE_ONE", "codes", "fixed_stream", "float_stream", "lstm_stream"]

CODE_ONE = 256
"""Codes of 1.0: Q8.8."""
_CODE_LIMIT = 1 << 15

Floats = NDArray[np.float64]


def codes(x: ArrayLike, fraction: int = 8, bits: int = 16) -> NDArray[np.int64]:
    """Two's complement codes of numbers, Q8.8 by default: round half up, saturate."""
    scaled = np.floor(np.asarray(x, np.float64) * (1 << fraction) + 0.5)
    limit = 1 << (bits - 1)
    return np.clip(scaled, -limit, limit - 1).astype(np.int64)


def fixed_stream(
    x: ArrayLike, weights: GruWeights, shape: DeltaShape, theta: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], int]:
    """States, non-zero items and saturated additions of a stream, from a state of zero.

    Args:
        x: int[T, X], activations.
        weights: integers of the layer.
        shape: number formats.
        theta: threshold in units of an activation's last bit.

    Returns:
        int64[T, H] states; bool[T, X + H], x first, then h; how many additions to a sum left the
        accumulator's range.

    Raises:
        ValueError: x is not int[T, X], or Theta is negative.
    """
    if theta < 0:
        raise ValueError(f"theta must not be negative, but got {theta}")
    items = np.asarray(x)
    width, hidden = weights.inputs, weights.hidden
    if items.ndim != 2 or items.shape[1] != width or items.dtype.kind not in "iu":
        raise ValueError(
            f"x must be integers [T, {width}], but got shape {items.shape} of {items.dtype}"
        )
    states = np.empty((len(items), hidden), np.int64)
    nonzero = np.zeros((len(items), width + hidden), np.bool_)
    columns = np.ascontiguousarray(np.concatenate([weights.w, weights.r], axis=1).T, np.int64)
    # a tables' entry is a sum without this many bits
    shift = shape.sum_fraction - (shape.table_bits - 1 - shape.table_range_bits)
    saturations = _fixed(
        items.astype(np.int64),
        columns,
        weights.bias.astype(np.int64),
        theta,
        shape.accumulator_bits,
        shift,
        shape.table_bits,
        sigmoid_table(shape),
        tanh_table(shape),
        states,
        nonzero,
    )
    return states, nonzero, int(saturations)


def float_stream(
    x: ArrayLike, w: ArrayLike, r: ArrayLike, wb: ArrayLike, rb: ArrayLike, theta: int
) -> tuple[Floats, NDArray[np.bool_]]:
    """States and non-zero items of a stream, from a state and references of zero.

    Args:
        x: float[T, X], inputs.
        w: float[3 H, X], gates z, r, h.
        r: float[3 H, H].
        wb, rb: float[3 H], biases.
        theta: threshold in codes, 1/256.

    Returns:
        float64[T, H], and bool[T, X + H]: x first, then h.

    Raises:
        ValueError: shapes that do not fit, or Theta is negative.
    """
    if theta < 0:
        raise ValueError(f"theta must not be negative, but got {theta}")
    inputs = codes(x)
    columns_x = np.ascontiguousarray(np.asarray(w, np.float64).T)
    columns_h = np.ascontiguousarray(np.asarray(r, np.float64).T)
    hidden = columns_h.shape[0]
    bias_x, bias_h = np.array(wb, np.float64), np.array(rb, np.float64)
    if (
        inputs.ndim != 2
        or columns_x.shape != (inputs.shape[1], 3 * hidden)
        or columns_h.shape[1] != 3 * hidden
        or bias_x.shape != (3 * hidden,)
        or bias_h.shape != (3 * hidden,)
    ):
        raise ValueError(
            "w, r, wb, rb must be [3 H, X], [3 H, H], [3 H], [3 H] for x [T, X], but got "
            f"{np.shape(w)}, {np.shape(r)}, {bias_x.shape}, {bias_h.shape} for {inputs.shape}"
        )
    steps, width = inputs.shape
    states = np.empty((steps, hidden), np.float64)
    nonzero = np.zeros((steps, width + hidden), np.bool_)
    _float(inputs, columns_x, columns_h, bias_x, bias_h, theta, states, nonzero)
    return states, nonzero


def lstm_stream(
    x: ArrayLike, w: ArrayLike, r: ArrayLike, bias: ArrayLike, theta: int
) -> tuple[Floats, NDArray[np.bool_]]:
    """States and non-zero items of an LSTM's stream, from states and references of zero.

    Args:
        x: float[T, X], inputs.
        w: float[4 H, X], gates i, f, g, o.
        r: float[4 H, H].
        bias: float[4 H], of both products.
        theta: threshold in codes, 1/256.

    Returns:
        float64[T, H], and bool[T, X + H]: x first, then h.

    Raises:
        ValueError: shapes that do not fit, or Theta is negative.
    """
    if theta < 0:
        raise ValueError(f"theta must not be negative, but got {theta}")
    inputs = codes(x)
    columns = np.concatenate([np.asarray(w, np.float64), np.asarray(r, np.float64)], axis=1).T
    sums = np.array(bias, np.float64)
    hidden = np.shape(r)[1]
    if (
        inputs.ndim != 2
        or columns.shape != (inputs.shape[1] + hidden, 4 * hidden)
        or sums.shape != (4 * hidden,)
    ):
        raise ValueError(
            "w, r, bias must be [4 H, X], [4 H, H], [4 H] for x [T, X], but got "
            f"{np.shape(w)}, {np.shape(r)}, {sums.shape} for {inputs.shape}"
        )
    states = np.empty((len(inputs), hidden), np.float64)
    nonzero = np.zeros((len(inputs), len(columns)), np.bool_)
    _lstm(inputs, np.ascontiguousarray(columns), sums, theta, states, nonzero)
    return states, nonzero


@njit(cache=True)
def _float(
    x: NDArray[np.int64],
    columns_x: Floats,
    columns_h: Floats,
    sum_x: Floats,
    sum_h: Floats,
    theta: int,
    states: Floats,
    nonzero: NDArray[np.bool_],
) -> None:  # pragma: no cover - compiled
    """Fills `states` and `nonzero`; the sums begin as the biases and are used up."""
    steps, width = x.shape
    hidden = columns_h.shape[0]
    reference = np.zeros(width + hidden, np.int64)
    h = np.zeros(hidden, np.float64)
    code = np.zeros(hidden, np.int64)
    for t in range(steps):
        for p in range(width + hidden):
            value = x[t, p] if p < width else code[p - width]
            delta = value - reference[p]
            if delta == 0 or abs(delta) < theta:
                continue
            reference[p] = value
            nonzero[t, p] = True
            step = delta / CODE_ONE
            if p < width:
                for j in range(3 * hidden):
                    sum_x[j] += step * columns_x[p, j]
            else:
                for j in range(3 * hidden):
                    sum_h[j] += step * columns_h[p - width, j]
        for j in range(hidden):
            z = 1.0 / (1.0 + np.exp(-(sum_x[j] + sum_h[j])))
            r = 1.0 / (1.0 + np.exp(-(sum_x[hidden + j] + sum_h[hidden + j])))
            c = np.tanh(sum_x[2 * hidden + j] + r * sum_h[2 * hidden + j])
            h[j] = (1.0 - z) * c + z * h[j]
            states[t, j] = h[j]
            rounded = np.floor(h[j] * CODE_ONE + 0.5)
            code[j] = min(max(rounded, -_CODE_LIMIT), _CODE_LIMIT - 1)


@njit(cache=True)
def _lstm(
    x: NDArray[np.int64],
    columns: Floats,
    sums: Floats,
    theta: int,
    states: Floats,
    nonzero: NDArray[np.bool_],
) -> None:  # pragma: no cover - compiled
    """Fills `states` and `nonzero`; the sums begin as the biases and are used up."""
    steps, width = x.shape
    hidden = sums.shape[0] // 4
    reference = np.zeros(width + hidden, np.int64)
    cell = np.zeros(hidden, np.float64)
    code = np.zeros(hidden, np.int64)
    for t in range(steps):
        for p in range(width + hidden):
            value = x[t, p] if p < width else code[p - width]
            delta = value - reference[p]
            if delta == 0 or abs(delta) < theta:
                continue
            reference[p] = value
            nonzero[t, p] = True
            step = delta / CODE_ONE
            for j in range(4 * hidden):
                sums[j] += step * columns[p, j]
        for j in range(hidden):
            i = 1.0 / (1.0 + np.exp(-sums[j]))
            f = 1.0 / (1.0 + np.exp(-sums[hidden + j]))
            o = 1.0 / (1.0 + np.exp(-sums[3 * hidden + j]))
            cell[j] = f * cell[j] + i * np.tanh(sums[2 * hidden + j])
            h = o * np.tanh(cell[j])
            states[t, j] = h
            rounded = np.floor(h * CODE_ONE + 0.5)
            code[j] = min(max(rounded, -_CODE_LIMIT), _CODE_LIMIT - 1)


@njit(cache=True)
def _fixed(
    x: NDArray[np.int64],
    columns: NDArray[np.int64],
    sums: NDArray[np.int64],
    theta: int,
    sum_bits: int,
    entry_shift: int,
    table_bits: int,
    sigmoid: NDArray[np.int64],
    tanh: NDArray[np.int64],
    states: NDArray[np.int64],
    nonzero: NDArray[np.bool_],
) -> int:  # pragma: no cover - compiled
    """Fills `states` and `nonzero`, returns saturated additions; `sums` [4, H] begin as biases."""
    steps, width = x.shape
    hidden = sums.shape[1]
    low, high = -(1 << (sum_bits - 1)), (1 << (sum_bits - 1)) - 1
    reference = np.zeros(width + hidden, np.int64)
    h = np.zeros(hidden, np.int64)
    saturations = 0
    for t in range(steps):
        for p in range(width + hidden):
            value = x[t, p] if p < width else h[p - width]
            delta = value - reference[p]
            if delta == 0 or abs(delta) < theta:
                continue
            reference[p] = value
            nonzero[t, p] = True
            column = columns[p]
            for gate in range(3):
                row = gate if gate < 2 or p < width else 3
                for j in range(hidden):
                    total = sums[row, j] + delta * column[gate * hidden + j]
                    kept = min(max(total, low), high)
                    saturations += total != kept
                    sums[row, j] = kept
        for j in range(hidden):
            z = sigmoid[_entry(sums[0, j], entry_shift, table_bits)]
            r = sigmoid[_entry(sums[1, j], entry_shift, table_bits)]
            total = sums[2, j] + _round_shift(r * sums[3, j], GATE_FRACTION)
            n = tanh[_entry(min(max(total, low), high), entry_shift, table_bits)]
            h[j] = n + _round_shift(z * (h[j] - n), GATE_FRACTION)
            states[t, j] = h[j]
    return saturations


@njit(cache=True)
def _round_shift(x: int, shift: int) -> int:  # pragma: no cover - compiled
    """x / 2**shift to nearest, ties towards plus infinity."""
    return (x + ((1 << shift) >> 1)) >> shift


@njit(cache=True)
def _entry(total: int, shift: int, bits: int) -> int:  # pragma: no cover - compiled
    """Number of the tables' entry nearest to a sum, two's complement read as unsigned."""
    number = _round_shift(total, shift)
    half = 1 << (bits - 1)
    return min(max(number, -half), half - 1) & (2 * half - 1)
