"""Sparse matrices: CSR, CSC and bitmap, canonical and checked, with the conversions between them.

Canonical means: coordinates strictly ascend within a row (a column for CSC), so no entry is there
twice. An explicit zero is an entry like any other; who wants it gone says so where the matrix
comes in (`hwsim.models.matrix_market`, `Csr.from_scipy`).

Values are float64, float32 or int32; `indptr` is always int64, since it counts non-zeros and costs
one word a row; coordinates are int32 unless a dimension or the number of non-zeros needs int64.

>>> from hwsim.models.sparse import Csr
>>> a = Csr.from_coo((2, 3), rows=[1, 0, 1], cols=[2, 1, 0], data=[3.0, 1.0, 2.0])
>>> a.indptr.tolist(), a.indices.tolist(), a.data.tolist()
([0, 1, 3], [1, 0, 2], [1.0, 2.0, 3.0])
>>> a.transpose().row_lengths.tolist()
[1, 1, 1]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, DTypeLike, NDArray

__all__ = ["DTYPES", "MAX_BITMAP_BYTES", "Bitmap", "Csc", "Csr", "index_dtype"]

DTYPES = tuple(np.dtype(name) for name in ("float64", "float32", "int32"))
"""What a value may be: the formats that the golden product and the engines accumulate in."""

MAX_BITMAP_BYTES = 1 << 32
"""Largest bitmap made: 4 GiB. Not given; chosen because a larger one fits no on-chip use."""

_INT32_MAX = (1 << 31) - 1
_INT64_MAX = (1 << 63) - 1


def index_dtype(shape: Sequence[int], nnz: int) -> np.dtype[Any]:
    """int32, or int64 when a dimension or the number of non-zeros exceeds 2^31 - 1.

    Raises:
        ValueError: a size is negative or exceeds 2^63 - 1.
    """
    sizes = (*(int(size) for size in shape), int(nnz))
    if min(sizes) < 0:
        raise ValueError(f"sizes must not be negative, but got shape {tuple(shape)}, nnz {nnz}")
    if max(sizes) > _INT64_MAX:
        raise ValueError(f"sizes must fit 63 bits, but got shape {tuple(shape)}, nnz {nnz}")
    return np.dtype(np.int32 if max(sizes) <= _INT32_MAX else np.int64)


@dataclass(frozen=True, eq=False)
class Csr:
    """Compressed sparse rows.

    Attributes:
        shape: rows m and columns n.
        indptr: int64[m + 1]; row i is the slice `indptr[i]:indptr[i + 1]` of the other two.
        indices: int32[nnz] or int64[nnz], as `index_dtype` says; columns, ascending in each row.
        data: float64[nnz], float32[nnz] or int32[nnz].

    Raises:
        ValueError: one of these rules does not hold.
    """

    shape: tuple[int, int]
    indptr: NDArray[np.int64]
    indices: NDArray[Any]
    data: NDArray[Any]

    def __post_init__(self) -> None:
        _check(self.shape, self.indptr, self.indices, self.data, ("row", "column"), 0)

    @property
    def nnz(self) -> int:
        """Entries stored, explicit zeros included."""
        return len(self.data)

    @property
    def row_lengths(self) -> NDArray[np.int64]:
        """int64[m], entries of each row."""
        return np.diff(self.indptr)

    @property
    def rows(self) -> NDArray[np.int64]:
        """int64[nnz], the row of every entry: with `indices` and `data` the COO form."""
        return np.repeat(np.arange(self.shape[0], dtype=np.int64), self.row_lengths)

    def transpose(self) -> Csr:
        """The transpose, as CSR; one word a column is allocated."""
        csc = Csc.from_csr(self)
        return Csr((self.shape[1], self.shape[0]), csc.indptr, csc.indices, csc.data)

    def astype(self, dtype: DTypeLike) -> Csr:
        """The same structure with values of another type, rounded to nearest even.

        Raises:
            ValueError: a value is not an integer of 32 bits where int32 is asked for.
        """
        return Csr(self.shape, self.indptr, self.indices, _convert(self.data, np.dtype(dtype)))

    def drop_zeros(self) -> Csr:
        """The same matrix without its explicit zeros."""
        kept = self.data != 0
        if kept.all():
            return self
        return _assemble(self.shape, self.rows[kept], self.indices[kept], self.data[kept])

    def to_scipy(self) -> sp.csr_array:
        """A `scipy.sparse.csr_array`; shares `data`, and `indices` where SciPy lets it."""
        return sp.csr_array((self.data, self.indices, self.indptr), shape=self.shape)

    def to_dense(self) -> NDArray[Any]:
        """[m, n] of the values' type."""
        dense = np.zeros(self.shape, self.data.dtype)
        dense[self.rows, self.indices] = self.data
        return dense

    @classmethod
    def from_scipy(cls, matrix: Any, *, dtype: DTypeLike | None = None) -> Csr:
        """From any `scipy.sparse` matrix or array, or a dense two-dimensional array.

        Duplicates are summed in the order stored; explicit zeros stay. Values become float64
        unless they are float32 or int32 already, or `dtype` names one of the three.

        Raises:
            ValueError: it is not two-dimensional, is complex, or a value does not fit.
        """
        coo = sp.coo_array(matrix)
        if coo.ndim != 2:
            raise ValueError(f"a sparse matrix has two dimensions, but got {coo.ndim}")
        if coo.data.dtype.kind not in "biuf":
            raise ValueError(f"values must be real numbers, but got dtype {coo.data.dtype}")
        if dtype is None:
            dtype = coo.data.dtype if coo.data.dtype in DTYPES else np.float64
        data = _convert(coo.data, np.dtype(dtype))
        return cls.from_coo(coo.shape, coo.coords[0], coo.coords[1], data)

    @classmethod
    def from_coo(
        cls, shape: Sequence[int], rows: ArrayLike, cols: ArrayLike, data: ArrayLike
    ) -> Csr:
        """From coordinates in any order; duplicates are summed in the order given.

        Args:
            shape: rows and columns.
            rows, cols: integers[entries], from 0.
            data: [entries] of one of `DTYPES`.

        Raises:
            ValueError: the lengths differ, or a coordinate is out of range.
        """
        m, n = int(shape[0]), int(shape[1])
        i, j, values = np.asarray(rows), np.asarray(cols), np.asarray(data)
        if not i.shape == j.shape == values.shape or i.ndim != 1:
            raise ValueError(
                "rows, cols and data must be vectors of one length, but got shapes "
                f"{i.shape}, {j.shape}, {values.shape}"
            )
        for name, index, limit in (("row", i, m), ("column", j, n)):
            if len(index) and not 0 <= int(index.min()) <= int(index.max()) < limit:
                wrong = int(index.min()) if index.min() < 0 else int(index.max())
                raise ValueError(f"0 <= {name} < {limit} must hold, but got {wrong}")
        return _assemble((m, n), i, j, values)


@dataclass(frozen=True, eq=False)
class Csc:
    """Compressed sparse columns: as `Csr` with the two axes exchanged.

    Attributes:
        shape: rows m and columns n.
        indptr: int64[n + 1].
        indices: int32[nnz] or int64[nnz]; rows, ascending in each column.
        data: float64[nnz], float32[nnz] or int32[nnz].

    Raises:
        ValueError: one of these rules does not hold.
    """

    shape: tuple[int, int]
    indptr: NDArray[np.int64]
    indices: NDArray[Any]
    data: NDArray[Any]

    def __post_init__(self) -> None:
        _check(self.shape, self.indptr, self.indices, self.data, ("column", "row"), 1)

    @property
    def nnz(self) -> int:
        """Entries stored, explicit zeros included."""
        return len(self.data)

    @property
    def column_lengths(self) -> NDArray[np.int64]:
        """int64[n], entries of each column."""
        return np.diff(self.indptr)

    def to_csr(self) -> Csr:
        flipped = Csr((self.shape[1], self.shape[0]), self.indptr, self.indices, self.data)
        return flipped.transpose()

    @classmethod
    def from_csr(cls, matrix: Csr) -> Csc:
        csc = matrix.to_scipy().tocsc()
        indices = csc.indices.astype(matrix.indices.dtype, copy=False)
        return cls(matrix.shape, csc.indptr.astype(np.int64), indices, csc.data)


@dataclass(frozen=True, eq=False)
class Bitmap:
    """One bit a position and the values of the set ones.

    Attributes:
        shape: rows m and columns n.
        bits: uint8[m, ceil(n / 8)]; bit b of byte c is column 8 c + b; padding bits are 0.
        data: [nnz] of one of `DTYPES`, row by row, columns ascending.

    Raises:
        ValueError: a shape is wrong, a padding bit is set, or bits and values differ in number.
    """

    shape: tuple[int, int]
    bits: NDArray[np.uint8]
    data: NDArray[Any]

    def __post_init__(self) -> None:
        m, n = self.shape
        expected = (m, -(-n // 8))
        if self.bits.dtype != np.uint8 or self.bits.shape != expected:
            raise ValueError(
                f"bits must be uint8{list(expected)}, "
                f"but got {self.bits.dtype}{list(self.bits.shape)}"
            )
        if n % 8 and m and bool((self.bits[:, -1] >> (n % 8)).any()):
            raise ValueError(f"bits past column {n - 1} must be 0, but one is set")
        _check_values(self.data)
        ones = int(np.bitwise_count(self.bits).sum(dtype=np.int64))
        if ones != len(self.data):
            raise ValueError(f"one value a set bit: got {ones} bits and {len(self.data)} values")

    @property
    def nnz(self) -> int:
        """Entries stored, explicit zeros included."""
        return len(self.data)

    def to_csr(self) -> Csr:
        unpacked = np.unpackbits(self.bits, axis=1, count=self.shape[1], bitorder="little")
        rows, cols = np.nonzero(unpacked)
        return _assemble(self.shape, rows, cols, self.data)

    @classmethod
    def from_csr(cls, matrix: Csr) -> Bitmap:
        """
        Raises:
            ValueError: the bitmap would take more than `MAX_BITMAP_BYTES`.
        """
        m, n = matrix.shape
        width = -(-n // 8)
        if m * width > MAX_BITMAP_BYTES:
            raise ValueError(
                f"a bitmap takes at most {MAX_BITMAP_BYTES} bytes, but {m} x {n} needs {m * width}"
            )
        bits = np.zeros((m, width), np.uint8)
        mask = np.left_shift(1, matrix.indices % 8).astype(np.uint8)
        # Entries of one byte follow each other in canonical order, so each byte is one segment.
        cell = matrix.rows * width + matrix.indices // 8
        if len(cell):
            begins = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1]])
            bits.reshape(-1)[cell[begins]] = np.bitwise_or.reduceat(mask, begins)
        return cls((m, n), bits, matrix.data)


def _assemble(
    shape: tuple[int, int], rows: NDArray[Any], cols: NDArray[Any], data: NDArray[Any]
) -> Csr:
    """The CSR of coordinates known to be in range; duplicates summed in the order given."""
    m, n = shape
    dtype = index_dtype(shape, len(data))
    i, j = rows.astype(np.int64, copy=False), cols.astype(np.int64, copy=False)
    if m * n <= _INT64_MAX:
        key = i * n + j
        order = np.argsort(key, kind="stable")
        key = key[order]
        new = np.r_[True, key[1:] != key[:-1]] if len(key) else np.zeros(0, np.bool_)
        i, j, data = i[order], j[order], data[order]
    else:
        order = np.lexsort((j, i))  # stable, last key first
        i, j, data = i[order], j[order], data[order]
        new = np.r_[True, (i[1:] != i[:-1]) | (j[1:] != j[:-1])] if len(i) else np.zeros(0, bool)
    if not new.all():
        slot = np.cumsum(new) - 1
        # The identity of addition is -0: the sum of one value is that value, bit for bit.
        zero = data.dtype.type(-0.0 if data.dtype.kind == "f" else 0)
        total = np.full(int(slot[-1]) + 1, zero, data.dtype)
        np.add.at(total, slot, data)
        i, j, data = i[new], j[new], total
    indptr = np.zeros(m + 1, np.int64)
    np.cumsum(np.bincount(i, minlength=m), out=indptr[1:])
    return Csr((m, n), indptr, j.astype(dtype, copy=False), np.ascontiguousarray(data))


def _convert(data: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype not in DTYPES:
        raise ValueError(f"values must be float64, float32 or int32, but got {dtype}")
    if dtype.kind == "i" and data.dtype != dtype:
        limits = np.iinfo(dtype)
        bad = ~((data >= limits.min) & (data <= limits.max) & (data == np.floor(data)))
        if bad.any():
            value = data[bad][0].item()
            raise ValueError(f"an int32 matrix holds integers of 32 bits, but got {value!r}")
    return data.astype(dtype, copy=False)


def _check_values(data: NDArray[Any]) -> None:
    if data.ndim != 1 or data.dtype not in DTYPES:
        raise ValueError(
            "data must be a vector of float64, float32 or int32, "
            f"but got {data.dtype}{list(data.shape)}"
        )


def _check(
    shape: tuple[int, int],
    indptr: NDArray[Any],
    indices: NDArray[Any],
    data: NDArray[Any],
    names: tuple[str, str],
    axis: int,
) -> None:
    """The invariants of a compressed format whose pointers run along `axis`."""
    outer, inner = names
    _check_values(data)
    wanted = index_dtype(shape, len(data))
    if len(shape) != 2:
        raise ValueError(f"a sparse matrix has two dimensions, but got shape {shape}")
    count, limit = shape[axis], shape[1 - axis]
    if indptr.dtype != np.int64 or indptr.shape != (count + 1,):
        raise ValueError(
            f"indptr must be int64[{count + 1}] for {count} {outer}s, "
            f"but got {indptr.dtype}{list(indptr.shape)}"
        )
    if indices.dtype != wanted or indices.shape != data.shape:
        raise ValueError(
            f"indices must be {wanted}[{len(data)}], like data, "
            f"but got {indices.dtype}{list(indices.shape)}"
        )
    if indptr[0] != 0 or indptr[-1] != len(data):
        raise ValueError(
            f"indptr must run from 0 to nnz = {len(data)}, "
            f"but runs from {indptr[0]} to {indptr[-1]}"
        )
    falls = np.flatnonzero(indptr[1:] < indptr[:-1])
    if len(falls):
        raise ValueError(f"indptr must not fall, but does at {outer} {falls[0]}")
    if not len(indices):
        return
    if indices.min() < 0 or indices.max() >= limit:
        wrong = indices.min() if indices.min() < 0 else indices.max()
        raise ValueError(f"0 <= {inner} < {limit} must hold, but got {wrong}")
    ascends = indices[1:] > indices[:-1]
    starts = indptr[1:-1]
    ascends[starts[(starts > 0) & (starts < len(indices))] - 1] = True
    if not ascends.all():
        at = int(np.flatnonzero(~ascends)[0])
        where = int(np.searchsorted(indptr, at, side="right")) - 1
        raise ValueError(
            f"{inner}s must strictly ascend in each {outer}, "
            f"but {outer} {where} holds {indices[at]} before {indices[at + 1]}"
        )
