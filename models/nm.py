"""N:M structured sparsity: in every group of M consecutive elements along an axis, N are kept.

The tie rule, stated once for golden, kernels and selectors alike: the N largest magnitudes are
kept and of equal magnitudes the lowest index wins. The kept elements of a group stay in ascending
index order. A last group shorter than M keeps min(N, its length).

The compact format holds, for every group, N slots of (value, index within the group); a slot with
nothing to hold carries value 0 at index 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MAX_M",
    "Compact",
    "NMPattern",
    "compress",
    "magnitude_mask",
    "nm_mask",
    "parse_pattern",
]

MAX_M = 32
"""The longest group: an index of five bits."""


@dataclass(frozen=True)
class NMPattern:
    """N kept of every M, 1 <= N <= M <= 32. N = M is dense.

    Raises:
        ValueError: the rule does not hold.
    """

    n: int
    m: int

    def __post_init__(self) -> None:
        if not 1 <= self.n <= self.m <= MAX_M:
            raise ValueError(
                f"an N:M pattern needs 1 <= N <= M <= {MAX_M}, but got N={self.n}, M={self.m}"
            )

    @property
    def dense(self) -> bool:
        return self.n == self.m

    @property
    def index_bits(self) -> int:
        """Bits of an index within a group: ceil(log2 M), 0 for M = 1."""
        return (self.m - 1).bit_length()

    def groups(self, k: int) -> int:
        return ceil(k / self.m)

    def compact_length(self, k: int) -> int:
        """Slots that k elements take: K itself when dense, N a started group otherwise."""
        return k if self.dense else self.groups(k) * self.n

    def kept(self, k: int) -> int:
        """Elements kept of k: N of every whole group and at most N of the last."""
        return (k // self.m) * self.n + min(self.n, k % self.m)

    def __str__(self) -> str:
        return "dense" if self.dense else f"{self.n}:{self.m}"


@lru_cache(maxsize=256)  # a configuration asks anew for every layer
def parse_pattern(text: str) -> NMPattern:
    """`"dense"` or `"N:M"`, as configurations write it.

    Raises:
        ValueError: it is neither, or breaks 1 <= N <= M <= 32.
    """
    if text == "dense":
        return NMPattern(1, 1)
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if match is None:
        raise ValueError(f"a sparsity must be 'dense' or 'N:M' such as '2:8', but got {text!r}")
    return NMPattern(int(match[1]), int(match[2]))


def nm_mask(w: NDArray, n: int, m: int, axis: int) -> NDArray[np.bool_]:
    """The boolean mask of the N largest magnitudes in every group of M along `axis`.

    Args:
        w: weights of any shape and real dtype, no NaN.
        n, m: the pattern.
        axis: the axis that groups run along, from the front or (negative) the back.

    Raises:
        ValueError: a bad pattern, an axis that is not there, or a NaN in `w`.
    """
    pattern = NMPattern(n, m)
    if not -w.ndim <= axis < w.ndim:
        raise ValueError(f"axis must lie in {-w.ndim}..{w.ndim - 1}, but got {axis}")
    if w.dtype.kind == "f" and np.isnan(w).any():
        raise ValueError("weights must not hold NaN: a magnitude order needs comparable values")
    lines = np.moveaxis(w, axis, -1)
    length = lines.shape[-1]
    padded = pattern.groups(length) * m
    # Magnitudes in a wider signed type: |int8 -128| is 128. Padding is below every magnitude.
    wide = np.float64 if w.dtype.kind == "f" else np.int64
    magnitude = np.full((*lines.shape[:-1], padded), -1, dtype=wide)
    magnitude[..., :length] = np.abs(lines.astype(wide))
    grouped = magnitude.reshape(*lines.shape[:-1], -1, m)
    order = np.argsort(-grouped, axis=-1, kind="stable")  # stable: the lowest index wins a tie
    mask = np.zeros(grouped.shape, dtype=bool)
    np.put_along_axis(mask, order[..., :n], True, axis=-1)
    mask = mask.reshape(*lines.shape[:-1], padded)[..., :length]
    return np.moveaxis(mask, -1, axis)


def magnitude_mask(w: NDArray, sparsity: float) -> NDArray[np.bool_]:
    """Unstructured mask that drops the floor(sparsity * size) smallest magnitudes.

    Of equal magnitudes the highest flat index is dropped first, as in `nm_mask`.

    Raises:
        ValueError: `sparsity` outside 0..1, or a NaN in `w`.
    """
    if not 0.0 <= sparsity <= 1.0:
        raise ValueError(f"0 <= sparsity <= 1 must hold, but got {sparsity}")
    if w.dtype.kind == "f" and np.isnan(w).any():
        raise ValueError("weights must not hold NaN: a magnitude order needs comparable values")
    wide = np.float64 if w.dtype.kind == "f" else np.int64
    order = np.argsort(-np.abs(w.astype(wide)).ravel(), kind="stable")
    mask = np.ones(w.size, dtype=bool)
    mask[order[w.size - int(sparsity * w.size) :]] = False
    return mask.reshape(w.shape)


@dataclass(frozen=True)
class Compact:
    """A matrix B[k, n] with its k axis in compact N:M form.

    Attributes:
        values: [groups * N, columns], the kept values in ascending index order within a group.
        indices: uint8, the same shape, each the position within its group of M.
        pattern: the N:M pattern.
        k: the length of the dense axis.
    """

    values: NDArray
    indices: NDArray[np.uint8]
    pattern: NMPattern
    k: int

    def dense(self) -> NDArray:
        """The matrix [k, n] with zeros where nothing was kept."""
        slots, columns = self.values.shape
        group = np.arange(slots) // self.pattern.n
        rows = group[:, None] * self.pattern.m + self.indices
        out = np.zeros((self.pattern.groups(self.k) * self.pattern.m, columns), self.values.dtype)
        # Slots that hold nothing carry 0 at index 0, so adding them changes no bit: a kept value
        # of -0.0 stays, as it is written first.
        held = self.values.view(_UNSIGNED[self.values.dtype.itemsize]) != 0
        col = np.broadcast_to(np.arange(columns), rows.shape)
        out[rows[held], col[held]] = self.values[held]
        return out[: self.k]


def compress(b: NDArray, n: int, m: int, mask: NDArray[np.bool_] | None = None) -> Compact:
    """B[k, n] to compact form along k.

    Args:
        b: the matrix, any real dtype.
        n, m: the pattern.
        mask: which elements to keep; `nm_mask(b, n, m, 0)` when None.

    Raises:
        ValueError: `b` is no matrix, the mask's shape differs, or it keeps more than N in a group.
    """
    pattern = NMPattern(n, m)
    if b.ndim != 2:
        raise ValueError(f"a matrix is needed, but got {b.ndim} axes")
    if mask is None:
        mask = nm_mask(b, n, m, 0)
    if mask.shape != b.shape:
        raise ValueError(f"mask and matrix must have one shape, but got {mask.shape} and {b.shape}")
    k, columns = b.shape
    groups = pattern.groups(k)
    kept = np.zeros((groups, m, columns), dtype=bool)
    kept.reshape(-1, columns)[:k] = mask
    most = int(kept.sum(axis=1).max(initial=0))
    if most > n:
        raise ValueError(f"a group of {m} may keep at most {n}, but the mask keeps {most}")
    padded = np.zeros((groups, m, columns), dtype=b.dtype)
    padded.reshape(-1, columns)[:k] = b
    order = np.argsort(~kept, axis=1, kind="stable")[:, :n]  # kept ones first, by index
    held = np.take_along_axis(kept, order, axis=1)
    values = np.where(held, np.take_along_axis(padded, order, axis=1), b.dtype.type(0))
    indices = np.where(held, order, 0).astype(np.uint8)
    shape = (groups * n, columns)
    return Compact(values.reshape(shape), indices.reshape(shape), pattern, k)


_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
