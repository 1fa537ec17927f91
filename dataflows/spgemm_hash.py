"""Row-wise SpGEMM with a hash table a row, in two passes: structure first, then values.

The method of Y. Nagasaka, S. Matsuoka, A. Azad, A. Buluc, "High-Performance Sparse Matrix-Matrix
Products on Intel KNL and Multicore Architectures" (ICPP Workshops 2018; the same tables as their
NSPARSE for GPUs, ICPP 2017). The symbolic pass counts the entries of each row of C in a table for
at most min(multiplies, n) columns, the numeric pass accumulates in one for exactly the row's
entries. A table has a power of two of slots, at least `min_slots`, so it may be exactly full in
the numeric pass. Slot of column j: (107 j) mod slots, then linear probing; 107 and the smallest
table of 8 are those of their published code (HASH_SCAL, MIN_HT_S, MIN_HT_N).

A probe is one slot looked at, the one that matches or is empty included. Both passes insert the
columns in the order in which they arrive, k ascending, so an entry of C adds its products in that
order: the values are those of the golden product, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.models.formats import CANONICAL_NAN_BITS
from hwsim.models.sparse import Csr, index_dtype
from hwsim.models.spgemm import check_operands, row_multiplies

__all__ = ["HASH_SCALE", "MIN_SLOTS", "HashCounts", "hash_product", "table_slots"]

HASH_SCALE = 107
MIN_SLOTS = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class HashCounts:
    """Events of both passes, by row of C.

    Attributes:
        symbolic_slots, numeric_slots: int64[m], table of each pass; 0 for a row without products.
        symbolic_probes, numeric_probes: int64[m], slots looked at.
        row_multiplies, row_nnz: int64[m], products and entries; each pass inserts `row_nnz` keys
            and meets `row_multiplies - row_nnz` that are there.
    """

    symbolic_slots: NDArray[np.int64]
    numeric_slots: NDArray[np.int64]
    symbolic_probes: NDArray[np.int64]
    numeric_probes: NDArray[np.int64]
    row_multiplies: NDArray[np.int64]
    row_nnz: NDArray[np.int64]


def table_slots(keys: NDArray[np.int64], min_slots: int = MIN_SLOTS) -> NDArray[np.int64]:
    """int64[m]: the smallest power of two that holds each number of keys; 0 for none.

    Raises:
        ValueError: `min_slots` is not a power of two.
    """
    if min_slots < 1 or min_slots & (min_slots - 1):
        raise ValueError(f"min_slots must be a power of two, but got {min_slots}")
    exponent = np.zeros(len(keys), np.int64)
    # frexp is exact: keys - 1 < 2^e <= 2 (keys - 1) for all that fit 53 bits.
    exponent[keys > 1] = np.frexp((keys[keys > 1] - 1).astype(np.float64))[1]
    return np.where(keys > 0, np.maximum(min_slots, np.left_shift(1, exponent)), 0)


def hash_product(
    a: Csr, b: Csr, *, scale: int = HASH_SCALE, min_slots: int = MIN_SLOTS
) -> tuple[Csr, HashCounts]:
    """C = A B through the two passes, and what they did.

    Args:
        a, b: float64, float32 or int32 (which wraps), both the same.
        scale: odd multiplier of the hash.
        min_slots: smallest table, a power of two.

    Raises:
        ValueError: the operands do not fit each other, an even scale, or a bad table.
    """
    check_operands(a, b)
    if scale < 1 or scale % 2 == 0:
        raise ValueError(f"scale must be odd and positive, but got {scale}")
    shape = (a.shape[0], b.shape[1])
    products = row_multiplies(a, b)
    symbolic_slots = table_slots(np.minimum(products, shape[1]), min_slots)
    columns = np.full(int(symbolic_slots.max(initial=1)), -1, np.int64)
    lengths, symbolic_probes = _count(
        a.indptr, a.indices, b.indptr, b.indices, symbolic_slots, scale, columns
    )
    numeric_slots = table_slots(lengths, min_slots)
    indptr = np.zeros(shape[0] + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    nnz = int(indptr[-1])
    indices = np.empty(nnz, index_dtype(shape, nnz))
    data = np.empty(nnz, a.data.dtype)
    columns = np.full(int(numeric_slots.max(initial=1)), -1, np.int64)
    totals = np.zeros(len(columns), a.data.dtype)
    with np.errstate(over="ignore", invalid="ignore"):  # NumPy warns where the JIT is off
        numeric_probes = _accumulate(
            (a.indptr, a.indices, a.data),
            (b.indptr, b.indices, b.data),
            numeric_slots,
            scale,
            (columns, totals),
            (indptr, indices, data),
        )
    if data.dtype == np.float32:
        data.view(np.uint32)[np.isnan(data)] = CANONICAL_NAN_BITS
    counts = HashCounts(
        symbolic_slots=symbolic_slots,
        numeric_slots=numeric_slots,
        symbolic_probes=symbolic_probes,
        numeric_probes=numeric_probes,
        row_multiplies=products,
        row_nnz=lengths,
    )
    return Csr(shape, indptr, indices, data), counts


@njit(cache=True)
def _count(
    a_indptr: NDArray[np.int64],
    a_indices: NDArray[Any],
    b_indptr: NDArray[np.int64],
    b_indices: NDArray[Any],
    slots: NDArray[np.int64],
    scale: int,
    columns: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Entries and probes of each row; `columns` holds -1 in every slot before and after."""
    rows = a_indptr.shape[0] - 1
    lengths = np.zeros(rows, np.int64)
    probes = np.zeros(rows, np.int64)
    for i in range(rows):
        mask = slots[i] - 1
        found = 0
        looked = 0
        for p in range(a_indptr[i], a_indptr[i + 1]):
            k = a_indices[p]
            for q in range(b_indptr[k], b_indptr[k + 1]):
                j = np.int64(b_indices[q])
                at = (j * scale) & mask
                looked += 1
                while columns[at] != j and columns[at] != -1:
                    at = (at + 1) & mask
                    looked += 1
                if columns[at] == -1:
                    columns[at] = j
                    found += 1
        columns[: slots[i]] = -1
        lengths[i] = found
        probes[i] = looked
    return lengths, probes


@njit(cache=True)
def _accumulate(
    a: tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]],
    b: tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]],
    slots: NDArray[np.int64],
    scale: int,
    table: tuple[NDArray[np.int64], NDArray[Any]],
    c: tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]],
) -> NDArray[np.int64]:
    """Fills columns and values of C; the probes of each row."""
    a_indptr, a_indices, a_data = a
    b_indptr, b_indices, b_data = b
    columns, totals = table
    indptr, indices, data = c
    rows = a_indptr.shape[0] - 1
    probes = np.zeros(rows, np.int64)
    for i in range(rows):
        mask = slots[i] - 1
        looked = 0
        end = indptr[i]
        for p in range(a_indptr[i], a_indptr[i + 1]):
            k, left = a_indices[p], a_data[p]
            for q in range(b_indptr[k], b_indptr[k + 1]):
                j = np.int64(b_indices[q])
                at = (j * scale) & mask
                looked += 1
                while columns[at] != j and columns[at] != -1:
                    at = (at + 1) & mask
                    looked += 1
                if columns[at] == j:
                    totals[at] += left * b_data[q]
                else:
                    columns[at] = j
                    totals[at] = left * b_data[q]
                    indices[end] = j
                    end += 1
        probes[i] = looked
        indices[indptr[i] : end].sort()
        for q in range(indptr[i], end):
            j = np.int64(indices[q])
            at = (j * scale) & mask
            while columns[at] != j:  # the drain finds its sorted place; not a probe of the pass
                at = (at + 1) & mask
            data[q] = totals[at]
        columns[: slots[i]] = -1
    return probes
