"""The fast functional product: the golden bits at the speed of the machine, for whole networks.

Outputs are independent, so many of them advance together in vector registers while each keeps its
own sum in ascending k. The compiler is never allowed to reorder a sum (no `fastmath`), and a
product of two FP16 values is exact in FP32, so a fused multiply-add rounds like a multiply and an
add: the bits are those of `hwsim.models.gemm`.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from hwsim.models.formats import NumberFormat
from hwsim.models.nm import Compact

__all__ = ["gemm", "gemm_compact"]

_ROWS = 4  # rows of A that share a pass over B
_COLS = 128  # columns kept in registers and L1 while k advances
_DEPTH = 512  # k of a block of B, 256 kB with _COLS columns of FP32


def gemm(a: NDArray, b: NDArray, fmt: NumberFormat, initial: NDArray | None = None) -> NDArray:
    """Z[m, n] = initial + A[m, k] B[k, n], bit for bit `hwsim.models.gemm.gemm`.

    Raises:
        ValueError: the shapes do not agree or an operand does not fit the format.
    """
    a, b = fmt.operand(a), fmt.operand(b)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ValueError(f"A[m, k] and B[k, n] must share k, but got {a.shape} and {b.shape}")
    wide = fmt.accumulator_dtype
    z = _start(a.shape[0], b.shape[1], fmt, initial)
    left = np.ascontiguousarray(a, wide)
    if b.shape[1] < _NARROW and a.shape[0] > b.shape[1]:
        # few columns: the rows of A are what there is to vectorise over
        flipped = np.ascontiguousarray(z.T)
        with np.errstate(all="ignore"):
            _dense(np.ascontiguousarray(b.T, wide), np.ascontiguousarray(left.T), flipped)
        return fmt.finish(np.ascontiguousarray(flipped.T))
    with np.errstate(all="ignore"):  # for runs without the compiler: sums wrap, NaNs arise
        _dense(left, np.ascontiguousarray(b, wide), z)
    return fmt.finish(z)


def gemm_compact(
    a: NDArray, b: Compact, fmt: NumberFormat, initial: NDArray | None = None
) -> NDArray:
    """Z[m, n] = initial + A[m, k] B with B compact, bit for bit `models.gemm.gemm_compact`.

    Raises:
        ValueError: the shapes do not agree or an operand does not fit the format.
    """
    a, values = fmt.operand(a), fmt.operand(b.values)
    if a.ndim != 2 or a.shape[1] != b.k:
        raise ValueError(f"A[m, k] and compact B must share k, but got {a.shape} and k={b.k}")
    wide = fmt.accumulator_dtype
    groups = np.zeros((b.pattern.groups(b.k) * b.pattern.m, a.shape[0]), wide)
    groups[: b.k] = a.T
    z = np.ascontiguousarray(_start(a.shape[0], values.shape[1], fmt, initial).T)
    base = np.arange(values.shape[0]) // b.pattern.n * b.pattern.m
    picks = np.ascontiguousarray((base[:, None] + b.indices).T)
    with np.errstate(all="ignore"):
        _compact(groups, np.ascontiguousarray(values.T, wide), picks, z)
    return fmt.finish(np.ascontiguousarray(z.T))


def _start(m: int, n: int, fmt: NumberFormat, initial: NDArray | None) -> NDArray:
    if initial is None:
        return np.zeros((m, n), fmt.accumulator_dtype)
    if initial.shape != (m, n):
        raise ValueError(f"initial must be [{m}, {n}], but got {initial.shape}")
    return np.array(initial, fmt.accumulator_dtype)


_NARROW = 16  # two vector registers of FP32


@njit(cache=True, parallel=True)
def _dense(a, b, z):  # pragma: no cover - compiled
    m, k = a.shape
    n = b.shape[1]
    blocks = (m + _ROWS - 1) // _ROWS
    for n0 in range(0, n, _COLS):
        n1 = min(n0 + _COLS, n)
        for k0 in range(0, k, _DEPTH):
            k1 = min(k0 + _DEPTH, k)
            for block in prange(blocks):
                m0 = block * _ROWS
                if m0 + _ROWS <= m:
                    z0 = z[m0, n0:n1]
                    z1 = z[m0 + 1, n0:n1]
                    z2 = z[m0 + 2, n0:n1]
                    z3 = z[m0 + 3, n0:n1]
                    for s in range(k0, k1):
                        row = b[s, n0:n1]
                        a0 = a[m0, s]
                        a1 = a[m0 + 1, s]
                        a2 = a[m0 + 2, s]
                        a3 = a[m0 + 3, s]
                        for c in range(n1 - n0):
                            z0[c] += a0 * row[c]
                            z1[c] += a1 * row[c]
                            z2[c] += a2 * row[c]
                            z3[c] += a3 * row[c]
                else:
                    for i in range(m0, m):
                        zi = z[i, n0:n1]
                        for s in range(k0, k1):
                            row = b[s, n0:n1]
                            ai = a[i, s]
                            for c in range(n1 - n0):
                                zi[c] += ai * row[c]


@njit(cache=True, parallel=True)
def _compact(groups, values, picks, z):  # pragma: no cover - compiled
    # all transposed: groups [k, m], values and picks [n, k'], z [n, m]
    n, slots = values.shape
    m = groups.shape[1]
    for j in prange(n):
        for m0 in range(0, m, 1024):
            m1 = min(m0 + 1024, m)
            out = z[j, m0:m1]
            for s in range(slots):
                row = groups[picks[j, s], m0:m1]
                v = values[j, s]
                for i in range(m1 - m0):
                    out[i] += row[i] * v
