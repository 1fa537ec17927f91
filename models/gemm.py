"""The golden matrix product: one accumulator an output, products added in ascending k.

Every dataflow of the systolic cores keeps this order (output stationary in the PE, weight and
input stationary by feeding the partial sums of one fold into the top of the next), so os, ws and
is give the same bits. With N:M weights the kept products are added in ascending k too; a skipped
product is not the same as an added zero where the activation is infinite, NaN, or the sum is -0.0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwsim.models.formats import NumberFormat
from hwsim.models.nm import Compact

__all__ = ["gemm", "gemm_compact"]


def gemm(a: NDArray, b: NDArray, fmt: NumberFormat, initial: NDArray | None = None) -> NDArray:
    """Z[m, n] = initial + A[m, k] B[k, n] in the accumulator of `fmt`, in ascending k.

    Args:
        a, b: operands; values that the operand format cannot hold are rounded (FP16) or refused.
        initial: accumulator start [m, n]; zeros when None.

    Raises:
        ValueError: the shapes do not agree or an operand does not fit the format.
    """
    a, b = fmt.operand(a), fmt.operand(b)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"A[m, k] and B[k, n] must share k, but got {a.shape} and {b.shape}")
    z = _start(a.shape[0], b.shape[1], fmt, initial)
    wide_a, wide_b = a.astype(fmt.accumulator_dtype), b.astype(fmt.accumulator_dtype)
    with np.errstate(all="ignore"):  # infinities and NaN propagate as in the hardware
        for k in range(a.shape[1]):
            z += wide_a[:, k, None] * wide_b[None, k, :]
    return fmt.finish(z)


def gemm_compact(
    a: NDArray, b: Compact, fmt: NumberFormat, initial: NDArray | None = None
) -> NDArray:
    """Z[m, n] = initial + A[m, k] B with B in compact N:M form, slots in ascending order.

    Every slot is added, those that hold nothing too: they carry value 0 at index 0 of their
    group, and the hardware multiplies them like any other.

    Raises:
        ValueError: the shapes do not agree or an operand does not fit the format.
    """
    a, values = fmt.operand(a), fmt.operand(b.values)
    if a.ndim != 2 or a.shape[1] != b.k:
        raise ValueError(f"A[m, k] and compact B must share k, but got {a.shape} and k={b.k}")
    n, m = b.pattern.n, b.pattern.m
    padded = np.zeros((a.shape[0], b.pattern.groups(b.k) * m), fmt.accumulator_dtype)
    padded[:, : b.k] = a
    wide = values.astype(fmt.accumulator_dtype)
    z = _start(a.shape[0], values.shape[1], fmt, initial)
    with np.errstate(all="ignore"):
        for slot in range(values.shape[0]):
            picked = padded[:, slot // n * m + b.indices[slot].astype(np.intp)]
            z += picked * wide[slot]
    return fmt.finish(z)


def _start(m: int, n: int, fmt: NumberFormat, initial: NDArray | None) -> NDArray:
    if initial is None:
        return np.zeros((m, n), fmt.accumulator_dtype)
    if initial.shape != (m, n):
        raise ValueError(f"initial must be [{m}, {n}], but got {initial.shape}")
    return initial.astype(fmt.accumulator_dtype)
