"""Row-wise SpGEMM, C = A B: exact counts in a symbolic pass, values in a numeric one.

The work of every dataflow follows from the structure alone. With A [m, k], B [k, n]:

    multiplies   sum over entries A[i,k] of nnz(B[k,:])
    nnz C        distinct columns in each row's union of rows of B, summed (the symbolic pass)
    adds         multiplies - nnz C: the first product of an entry of C is stored, the rest added

The symbolic pass walks the rows of B that a row of A selects and marks each column in a dense
array of n words with the row's number: a column counts when its mark is another row's. The mark
need never be cleared. A row that selects one row of B only takes that row's length. Where B has far
more columns than entries, its columns are numbered anew first, so memory never exceeds B's.

The numeric pass adds in ascending k, one rounded operation a step, in the operands' type, as
`hwsim.models.spgemm.product` does. So does every dataflow of this package: a merger brings the
products of an entry together, the adder behind it takes them in that order. The values are then the
same bits for all.

Kernels take arrays: `indptr` int64[rows + 1], `indices` int32 or int64[nnz], columns ascending in
each row, as `hwsim.models.sparse.Csr` guarantees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.models.formats import CANONICAL_NAN_BITS
from hwsim.models.sparse import Csr, index_dtype
from hwsim.models.spgemm import check_operands

__all__ = [
    "Counts",
    "compulsory_bytes",
    "count",
    "multiply",
    "referenced_rows",
    "row_nnz",
    "used_columns",
]

_FEW_COLUMNS = 1 << 20
"""An array of so many words is never too large. Not given; chosen as 8 MB."""

_POINTER_BYTES = 4
"""A row pointer in the published counts (TeAAL MICRO'23: pbits 32)."""

_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
"""Each window of 6 bits is another one: (2^b x this) >> 58 names b (C. Leiserson, H. Prokop,
K. Randall, "Using de Bruijn Sequences to Index a 1 in a Computer Word", MIT, 1998)."""
_TOP_SIX = np.uint64(58)
_BIT = np.zeros(64, np.int64)
_BIT[[(0x03F79D71B4CB0A89 << b) % (1 << 64) >> 58 for b in range(64)]] = np.arange(64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Counts:
    """What a product costs in any dataflow.

    Attributes:
        row_multiplies: int64[m], products of each row of C.
        row_nnz: int64[m], entries of each row of C.
        referenced: bool[k], rows of B that hold an entry and that some entry of A selects.
        referenced_nnz: entries of B in those rows.
    """

    row_multiplies: NDArray[np.int64]
    row_nnz: NDArray[np.int64]
    referenced: NDArray[np.bool_]
    referenced_nnz: int

    @property
    def multiplies(self) -> int:
        return int(self.row_multiplies.sum())

    @property
    def nnz_c(self) -> int:
        """Entries of C by structure; an entry whose products cancel stays."""
        return int(self.row_nnz.sum())

    @property
    def adds(self) -> int:
        return self.multiplies - self.nnz_c


def count(a: Csr, b: Csr) -> Counts:
    """Exact counts of C = A B without computing it; memory is one word a column of B.

    Raises:
        ValueError: the operands do not fit each other.
    """
    check_operands(a, b)
    lengths = b.row_lengths
    running = np.zeros(a.nnz + 1, np.int64)
    np.cumsum(lengths[a.indices], out=running[1:])
    referenced = referenced_rows(a, b)
    return Counts(
        row_multiplies=np.diff(running[a.indptr]),
        row_nnz=row_nnz(a, b),
        referenced=referenced,
        referenced_nnz=int(lengths[referenced].sum()),
    )


def row_nnz(a: Csr, b: Csr) -> NDArray[np.int64]:
    """int64[m]: entries of each row of C = A B, by structure.

    Raises:
        ValueError: the operands do not fit each other.
    """
    check_operands(a, b)
    columns, indices = used_columns(b)
    size = b.shape[1] if columns is None else len(columns)
    dtype = np.int32 if a.shape[0] < np.iinfo(np.int32).max else np.int64
    mark = np.full(size, -1, dtype)
    return _symbolic(a.indptr, a.indices, b.indptr, indices, mark)


def used_columns(b: Csr) -> tuple[NDArray[Any] | None, NDArray[Any]]:
    """The columns that hold an entry, and each entry's place among them, where that saves memory.

    Returns:
        (columns in order, position of every entry of B in them), or (None, `b.indices`) where B
        has no more than a few columns an entry.
    """
    if b.shape[1] <= max(_FEW_COLUMNS, 4 * b.nnz):
        return None, b.indices
    columns, position = np.unique(b.indices, return_inverse=True)
    return columns, position


def referenced_rows(a: Csr, b: Csr) -> NDArray[np.bool_]:
    """bool[k]: rows of B that hold an entry and that some entry of A selects."""
    selected = np.zeros(b.shape[0], np.bool_)
    selected[a.indices] = True
    return selected & (b.row_lengths > 0)


def compulsory_bytes(a: Csr, b: Csr, counts: Counts, *, element_bytes: int = 12) -> int:
    """Bytes that must cross the pins: A, the selected rows of B and C once each.

    `element_bytes` (nnz A + entries of B's selected rows + nnz C) and a 4-byte pointer for each
    row of A, B and C plus one. The published column `min_bytes` of the TeAAL artifact holds 3 n + 1
    pointers for ca-CondMat and poisson3Da, 3 n + 2 for email-Enron, 3 n + 3 for wiki-Vote and
    p2p-Gnutella31; its source gives no formula.
    """
    elements = a.nnz + counts.referenced_nnz + counts.nnz_c
    pointers = 2 * a.shape[0] + b.shape[0] + 1
    return element_bytes * elements + _POINTER_BYTES * pointers


def multiply(a: Csr, b: Csr, lengths: NDArray[np.int64] | None = None) -> Csr:
    """C = A B with values, bit for bit those of the golden product.

    Args:
        a, b: float64, float32 or int32 (which wraps), both the same.
        lengths: `row_nnz(a, b)` where it is known already; else it is counted first.

    Raises:
        ValueError: the operands do not fit each other.
    """
    check_operands(a, b)
    lengths = row_nnz(a, b) if lengths is None else lengths
    shape = (a.shape[0], b.shape[1])
    indptr = np.zeros(shape[0] + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    nnz = int(indptr[-1])
    indices = np.empty(nnz, index_dtype(shape, nnz))
    data = np.empty(nnz, a.data.dtype)
    columns, places = used_columns(b)
    size = b.shape[1] if columns is None else len(columns)
    with np.errstate(over="ignore", invalid="ignore"):  # NumPy warns where the JIT is off
        _numeric(*_arrays(a), b.indptr, places, b.data, size, indptr, indices, data)
    if columns is not None:
        indices = columns[indices]
    if data.dtype == np.float32:
        data.view(np.uint32)[np.isnan(data)] = CANONICAL_NAN_BITS
    return Csr(shape, indptr, indices, data)


def _arrays(matrix: Csr) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]]:
    return matrix.indptr, matrix.indices, matrix.data


@njit(cache=True)
def _symbolic(
    a_indptr: NDArray[np.int64],
    a_indices: NDArray[Any],
    b_indptr: NDArray[np.int64],
    b_indices: NDArray[Any],
    mark: NDArray[Any],
) -> NDArray[np.int64]:
    """Entries of each row of C; `mark` holds -1 in every column and is left dirty."""
    rows = a_indptr.shape[0] - 1
    lengths = np.zeros(rows, np.int64)
    for i in range(rows):
        begin, end = a_indptr[i], a_indptr[i + 1]
        if end - begin == 1:
            k = a_indices[begin]
            lengths[i] = b_indptr[k + 1] - b_indptr[k]
            continue
        found = 0
        for p in range(begin, end):
            k = a_indices[p]
            for q in range(b_indptr[k], b_indptr[k + 1]):
                j = b_indices[q]
                # Without a branch: which columns are new cannot be predicted.
                found += mark[j] != i
                mark[j] = i
        lengths[i] = found
    return lengths


@njit(cache=True)
def _numeric(
    a_indptr: NDArray[np.int64],
    a_indices: NDArray[Any],
    a_data: NDArray[Any],
    b_indptr: NDArray[np.int64],
    b_indices: NDArray[Any],
    b_data: NDArray[Any],
    columns: int,
    indptr: NDArray[np.int64],
    indices: NDArray[Any],
    data: NDArray[Any],
) -> None:
    """Fills `indices` and `data` of C, whose `indptr` is known."""
    total = np.zeros(columns, data.dtype)
    bits = np.zeros((columns + 63) // 64, np.uint64)  # which columns the row holds so far
    one, low_six = np.uint64(1), np.uint64(63)
    for i in range(a_indptr.shape[0] - 1):
        at, low, high = indptr[i], columns, -1
        for p in range(a_indptr[i], a_indptr[i + 1]):
            k, left = a_indices[p], a_data[p]
            begin, end = b_indptr[k], b_indptr[k + 1]
            if begin == end:
                continue
            low = min(low, b_indices[begin])
            high = max(high, b_indices[end - 1])
            for q in range(begin, end):
                j = b_indices[q]
                bit = one << (np.uint64(j) & low_six)
                if bits[j >> 6] & bit:
                    total[j] += left * b_data[q]
                else:
                    bits[j >> 6] |= bit
                    total[j] = left * b_data[q]
                    indices[at] = j
                    at += 1
        begin = indptr[i]
        # Columns in order: read off the bits where the row is dense enough, else sort.
        if (high >> 6) - (low >> 6) < 16 * (at - begin):
            at = begin
            for word in range(low >> 6, (high >> 6) + 1):
                left_bits = bits[word]
                while left_bits:
                    lowest = left_bits & (~left_bits + one)
                    indices[at] = 64 * word + _BIT[(lowest * _DE_BRUIJN) >> _TOP_SIX]
                    at += 1
                    left_bits ^= lowest
                bits[word] = 0
        else:
            indices[begin:at].sort()
            for q in range(begin, at):
                bits[indices[q] >> 6] = 0
        for q in range(begin, at):
            data[q] = total[indices[q]]
