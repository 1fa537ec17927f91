"""The row-wise engine's sizes, its hash, and the windows in which it works through a matrix.

What simulator, RTL and engine must agree on before any cycle is counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "RowLists",
    "RowwiseShape",
    "hash_place",
    "row_bound",
    "row_factor",
    "spill_operands",
    "windows",
]

_GOLDEN = 0.6180339887498949
"""1 / phi: multiples of it spread best (D. Knuth, TAOCP vol. 3, section 6.4)."""


@dataclass(frozen=True, kw_only=True)
class RowwiseShape:
    """Sizes of the engine; `hwsim.config_spgemm.SpgemmConfig` says what each is."""

    lanes: int
    banks: int
    entries: int
    outputs: int
    multiplier_latency: int
    adder_latency: int
    token_queue: int
    token_length: int
    request_queue: int
    product_queue: int
    bank_queue: int
    row_bits: int
    column_bits: int
    epoch_bits: int
    probe_limit: int
    is_float: bool

    @property
    def bank_bits(self) -> int:
        """Low bits of the hash: the bank."""
        return (self.banks - 1).bit_length()

    @property
    def slot_bits(self) -> int:
        """The other bits of the hash: the slot where probing starts."""
        return (self.entries - 1).bit_length()

    @property
    def hash_bits(self) -> int:
        return self.bank_bits + self.slot_bits

    @property
    def value_dtype(self) -> np.dtype:
        return np.dtype(np.float32 if self.is_float else np.int32)


@dataclass(frozen=True, eq=False)
class RowLists:
    """Rows of elements as CSR stores them, but columns in any order, also more than once in a row.

    Attributes:
        shape: rows and columns.
        indptr: int64 [rows + 1].
        indices, data: of each element, column and value.
    """

    shape: tuple[int, int]
    indptr: NDArray[np.int64]
    indices: NDArray
    data: NDArray

    @property
    def nnz(self) -> int:
        return len(self.data)


def row_factor(hash_bits: int) -> int:
    """The odd factor of the row in the hash h = (column + factor * row) mod 2**hash_bits.

    A row by itself collides only where columns are 2**hash_bits apart; the factor sets rows apart.
    """
    return round(2**hash_bits * _GOLDEN) | 1


def hash_place(shape: RowwiseShape, row: NDArray, column: NDArray) -> tuple[NDArray, NDArray]:
    """Bank and first slot, int64: the low bits of h with its others folded in, and those others.

    Without the fold, columns that are a multiple of the banks apart would share a bank; with it,
    columns that follow one another go to different banks as well as columns a power of two apart.

    Args:
        shape: the engine.
        row: in the window.
        column: of each entry.
    """
    row, column = np.asarray(row, np.int64), np.asarray(column, np.int64)
    h = (column + row_factor(shape.hash_bits) * row) % 2**shape.hash_bits
    slot = h >> shape.bank_bits
    bank = h % shape.banks
    for shift in range(0, shape.slot_bits if shape.bank_bits else 0, shape.bank_bits or 1):
        bank = bank ^ (slot >> shift) % shape.banks
    return bank, slot


def row_bound(
    a_indptr: NDArray, a_indices: NDArray, b_indptr: NDArray, columns: int
) -> NDArray[np.int64]:
    """Upper bound of the entries in each row of C: its products, but no more than its columns.

    Args:
        a_indptr, a_indices: A in CSR.
        b_indptr: row pointers of B.
        columns: of B.
    """
    lengths = np.diff(b_indptr).astype(np.int64)
    ends = np.concatenate([[0], np.cumsum(lengths[a_indices])])
    return np.minimum(ends[a_indptr[1:]] - ends[a_indptr[:-1]], columns)


def windows(bound: NDArray[np.int64], capacity: int, rows: int) -> NDArray[np.int64]:
    """First row of each window and, last, the number of rows: int64 [windows + 1].

    Windows take rows in order while their bounds fit; a row that does not fit has its own.

    Args:
        bound: of each row.
        capacity: sum of bounds that a window takes, at least 1.
        rows: a window's rows at most, at least 1.

    Raises:
        ValueError: a capacity or row count below 1.
    """
    for name, value in (("capacity", capacity), ("rows", rows)):
        if value < 1:
            raise ValueError(f"{name} >= 1 must hold, but got {value}")
    starts = [0]
    ends = np.concatenate([[0], np.cumsum(bound)])
    while starts[-1] < bound.size:
        here = starts[-1]
        fits = int(np.searchsorted(ends, ends[here] + capacity, side="right")) - 1
        starts.append(min(max(fits, here + 1), here + rows))
    return np.array(starts, np.int64)


def spill_operands(
    columns_of_c: int, rows: NDArray, columns: NDArray, values: NDArray
) -> tuple[RowLists, RowLists, NDArray[np.int64]]:
    """Spilled products as a product A' B' that the engine can run: their sums by (row, column).

    The products lie in memory in the order in which they left. Products of one row that follow one
    another are a row of B'; A' has the rows with spilled products alone and picks theirs with
    ones, and 1 x is x, also in floating point.

    Args:
        columns_of_c: width of C.
        rows, columns, values: of each spilled product, in that order.

    Returns:
        A' [rows with spilled products, runs], B' [runs, columns of C], and the row of C of each row
        of A', ascending.
    """
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    named, owner = np.unique(rows[starts], return_inverse=True)
    pick = RowLists(
        (named.size, starts.size),
        np.concatenate([[0], np.cumsum(np.bincount(owner))]).astype(np.int64),
        np.argsort(owner, kind="stable"),
        np.ones(starts.size, values.dtype),
    )
    ends = np.append(starts, rows.size).astype(np.int64)
    return pick, RowLists((starts.size, columns_of_c), ends, columns, values), named
