"""The plain systolic array: output, weight and input stationary, folds one after the other.

The convention is that of SCALE-Sim 3.0.0, so that numbers compare: a fold occupies the whole array,
the next one starts when it is done, and bandwidth is unlimited. R, C are the rows and columns of
the array and K' the slots of k (K when dense, ceil(K / M) N at N:M, as its layer-wise sparsity):

    os   ceil(M/R)  ceil(N/C) folds of R + C + K' - 2 cycles
    ws   ceil(K'/R) ceil(N/C) folds of 2R + C + M - 2
    is   ceil(K'/R) ceil(M/C) folds of 2R + C + N - 2

and one cycle less in all, because the tool counts the index of the last cycle. Its os leaves out
the R cycles in which results leave the array; `drain=True` counts them. Partial sums of one fold
of ws and is enter the next from above, so every dataflow adds in ascending k and gives the same
bits. With N:M the streamed or held pair picks its activation from a group, at no cost for indices.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.models.formats import NumberFormat
from hwsim.models.nm import Compact

__all__ = ["DATAFLOWS", "Counts", "counts", "cycles", "fold_cycles", "simulate"]

DATAFLOWS = ("os", "ws", "is")


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Events of one product on the array.

    Attributes:
        folds: times the array is filled.
        cycles: as the module's closed forms.
        macs: multiply-accumulates issued, M N K'.
        a_reads, b_reads: operands entering the array, groups counted as one read.
        psum_reads, psum_writes: partial sums entering and leaving between folds.
        z_writes: results leaving.
    """

    folds: int
    cycles: int
    macs: int
    a_reads: int
    b_reads: int
    psum_reads: int
    psum_writes: int
    z_writes: int


def fold_cycles(
    dataflow: str, m: int, n: int, k_steps: int, rows: int, cols: int, *, drain: bool = False
) -> tuple[int, int]:
    """(folds, cycles of one fold).

    Raises:
        ValueError: an unknown dataflow, or a size below 1.
    """
    sizes = {"m": m, "n": n, "k_steps": k_steps, "rows": rows, "cols": cols}
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} >= 1 must hold, but got {size}")
    if dataflow == "os":
        length = rows + cols + k_steps - 2 + (rows if drain else 0)
        return ceil(m / rows) * ceil(n / cols), length
    if dataflow == "ws":
        return ceil(k_steps / rows) * ceil(n / cols), 2 * rows + cols + m - 2
    if dataflow == "is":
        return ceil(k_steps / rows) * ceil(m / cols), 2 * rows + cols + n - 2
    raise ValueError(f"dataflow must be one of {', '.join(DATAFLOWS)}, but got {dataflow!r}")


def cycles(
    dataflow: str, m: int, n: int, k_steps: int, rows: int, cols: int, *, drain: bool = False
) -> int:
    """Cycles of Z[m, n] = A[m, k] B[k, n] with k' = `k_steps`.

    Raises:
        ValueError: an unknown dataflow, or a size below 1.
    """
    folds, length = fold_cycles(dataflow, m, n, k_steps, rows, cols, drain=drain)
    return folds * length - 1


def counts(
    dataflow: str, m: int, n: int, k_steps: int, rows: int, cols: int, *, drain: bool = False
) -> Counts:
    """All event counts in closed form; no tensors are needed.

    Raises:
        ValueError: an unknown dataflow, or a size below 1.
    """
    folds, length = fold_cycles(dataflow, m, n, k_steps, rows, cols, drain=drain)
    row_tiles, column_tiles = ceil(m / rows), ceil(n / cols)
    k_folds, m_tiles = ceil(k_steps / rows), ceil(m / cols)
    if dataflow == "os":
        a_reads, b_reads, passes = m * k_steps * column_tiles, k_steps * n * row_tiles, 1
    elif dataflow == "ws":
        a_reads, b_reads, passes = m * k_steps * column_tiles, k_steps * n, k_folds
    else:
        a_reads, b_reads, passes = m * k_steps, k_steps * n * m_tiles, k_folds
    between = (passes - 1) * m * n
    return Counts(
        folds=folds,
        cycles=folds * length - 1,
        macs=m * n * k_steps,
        a_reads=a_reads,
        b_reads=b_reads,
        psum_reads=between,
        psum_writes=between,
        z_writes=m * n,
    )


def simulate(
    dataflow: str,
    a: NDArray,
    b: NDArray | Compact,
    fmt: NumberFormat,
    rows: int,
    cols: int,
    *,
    drain: bool = False,
) -> tuple[NDArray, Counts]:
    """Z[m, n] bit for bit and the events that the walk through the array counted.

    Every fold is walked cycle by cycle: PE (r, c) works on what reaches it through r + c registers.

    Args:
        a: [m, k] operands.
        b: [k, n] operands, dense or compact along k.
        fmt: the number format.

    Raises:
        ValueError: an unknown dataflow, an empty array or operand, or shapes that do not agree.
    """
    if dataflow not in DATAFLOWS:
        raise ValueError(f"dataflow must be one of {', '.join(DATAFLOWS)}, but got {dataflow!r}")
    if rows < 1 or cols < 1:
        raise ValueError(f"rows >= 1 and cols >= 1 must hold, but got {rows} and {cols}")
    a = fmt.operand(a)
    if isinstance(b, Compact):
        k, slots = b.k, b.values
        base = np.arange(slots.shape[0]) // b.pattern.n * b.pattern.m
        picks = base[:, None] + b.indices.astype(np.int64)
        width = b.pattern.groups(k) * b.pattern.m
    else:
        k, slots = b.shape[0], np.asarray(b)
        picks = np.repeat(np.arange(k)[:, None], b.shape[1], axis=1)
        width = k
    if a.ndim != 2 or slots.ndim != 2 or a.shape[1] != k:
        raise ValueError(f"A[m, k] and B[k, n] must share k, but got {a.shape} and k={k}")
    if 0 in a.shape or 0 in slots.shape:
        raise ValueError(f"A and B must not be empty, but got {a.shape} and {slots.shape}")
    wide_a = np.zeros((a.shape[0], width), fmt.accumulator_dtype)
    wide_a[:, :k] = a
    wide_b = fmt.operand(slots).astype(fmt.accumulator_dtype)
    z = np.zeros((a.shape[0], slots.shape[1]), fmt.accumulator_dtype)
    with np.errstate(all="ignore"):  # for runs without the compiler: sums wrap, NaNs arise
        if dataflow == "os":
            events = _os(wide_a, wide_b, picks, rows, cols, rows if drain else 0, z)
        else:
            events = _stationary(wide_a, wide_b, picks, rows, cols, dataflow == "is", z)
    names = (
        "folds", "cycles", "macs", "a_reads", "b_reads", "psum_reads", "psum_writes", "z_writes"
    )  # fmt: skip
    return fmt.finish(z), Counts(**{n: int(e) for n, e in zip(names, events, strict=True)})


@njit(cache=True)
def _os(a, b, picks, rows, cols, drain, z):  # pragma: no cover - compiled
    m, (k, n) = a.shape[0], b.shape
    folds = total = macs = a_reads = b_reads = z_writes = 0
    for m0 in range(0, m, rows):
        for n0 in range(0, n, cols):
            r_used, c_used = min(rows, m - m0), min(cols, n - n0)
            for t in range(rows + cols + k - 2):
                total += 1
                for r in range(r_used):
                    if 0 <= t - r < k:
                        a_reads += 1
                    for c in range(c_used):
                        s = t - r - c
                        if 0 <= s < k:
                            z[m0 + r, n0 + c] += a[m0 + r, picks[s, n0 + c]] * b[s, n0 + c]
                            macs += 1
                for c in range(c_used):
                    if 0 <= t - c < k:
                        b_reads += 1
            total += drain
            z_writes += r_used * c_used
            folds += 1
    return folds, total - 1, macs, a_reads, b_reads, 0, 0, z_writes


@njit(cache=True)
def _stationary(a, b, picks, rows, cols, hold_a, z):  # pragma: no cover - compiled
    """Weight stationary, or with `hold_a` input stationary: rows of the array hold slots of k.

    One operand is held, a column for each n (weights) or m (inputs); the other streams past it.
    """
    m, (k, n) = a.shape[0], b.shape
    width, length = (m, n) if hold_a else (n, m)
    folds = total = macs = held = streamed = psum_reads = psum_writes = z_writes = 0
    for c0 in range(0, width, cols):
        for k0 in range(0, k, rows):
            r_used, c_used = min(rows, k - k0), min(cols, width - c0)
            total += rows  # the held operand moves in
            held += r_used * c_used
            for t in range(rows + cols + length - 2):
                total += 1
                for r in range(r_used):
                    if 0 <= t - r < length:
                        streamed += 1
                    for c in range(c_used):
                        at = t - r - c
                        if 0 <= at < length:
                            s = k0 + r
                            i, j = (c0 + c, at) if hold_a else (at, c0 + c)
                            z[i, j] += a[i, picks[s, j]] * b[s, j]
                            macs += 1
                            if r == 0 and k0 > 0:
                                psum_reads += 1
                            if r == r_used - 1:
                                if k0 + rows < k:
                                    psum_writes += 1
                                else:
                                    z_writes += 1
            folds += 1
    a_reads, b_reads = (held, streamed) if hold_a else (streamed, held)
    return folds, total - 1, macs, a_reads, b_reads, psum_reads, psum_writes, z_writes
