"""Golden sparse times sparse: which values and which structure C = A B has.

Row-wise product (F. G. Gustavson, "Two Fast Algorithms for Sparse Matrices: Multiplication and
Permuted Transposition", ACM TOMS 4(3), 1978): row i of C is the sum over A's entries (i, k), k
ascending, of A[i,k] times row k of B. An entry of C adds its products in that order, in the
operands' type: the first is stored, each further one is one rounded addition. This is the order
of SciPy's product too.

The structure is that of the pattern: an entry whose products cancel to 0 stays, in SciPy's it
goes.

>>> from hwsim.models.sparse import Csr
>>> from hwsim.models.spgemm import multiplies, product
>>> a = Csr.from_coo((2, 2), [0, 0, 1], [0, 1, 1], [1.0, 2.0, 3.0])
>>> product(a, a).to_dense().tolist(), multiplies(a, a)
([[1.0, 8.0], [0.0, 9.0]], 4)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from hwsim.models.formats import CANONICAL_NAN_BITS
from hwsim.models.sparse import Csr, index_dtype

__all__ = [
    "SparseNetwork",
    "SparseProduct",
    "check_operands",
    "multiplies",
    "product",
    "product_scipy",
    "row_multiplies",
]

_BLOCK = 1 << 22
"""Products expanded at once: 4 M, about 200 MB. Not given; chosen to bound memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SparseProduct:
    """One SpGEMM of a workload, complete in itself.

    Attributes:
        layer: its name in reports, unique in the network.
        op: what it is in reports: "spgemm".
        a, b: operands of one value type, columns of `a` = rows of `b`.
        post: what happens to C before the next product reads it: "none", "relu", ... A word for
            the report: the next product's operand holds the outcome already.

    Raises:
        ValueError: the operands do not fit each other.
    """

    layer: str
    op: str = "spgemm"
    a: Csr
    b: Csr
    post: str = "none"

    def __post_init__(self) -> None:
        check_operands(self.a, self.b)

    @property
    def m(self) -> int:
        """Rows of A and C."""
        return self.a.shape[0]

    @property
    def k(self) -> int:
        """Columns of A, rows of B."""
        return self.a.shape[1]

    @property
    def n(self) -> int:
        """Columns of B and C."""
        return self.b.shape[1]

    @property
    def square_of_a(self) -> bool:
        """Whether both operands are the same object: C = A A."""
        return self.a is self.b


@dataclass(frozen=True, kw_only=True, eq=False)
class SparseNetwork:
    """A workload of sparse products, in the order they run.

    Attributes:
        name: as the user wrote it.
        products: one or more.
        notes: sentences on what was done to the input: duplicates merged, zeros dropped, ...
    """

    name: str
    products: tuple[SparseProduct, ...]
    notes: tuple[str, ...] = field(default=())


def check_operands(a: Csr, b: Csr) -> None:
    """
    Raises:
        ValueError: columns of A are not rows of B, or the value types differ.
    """
    if a.shape[1] != b.shape[0]:
        raise ValueError(
            "columns of A must equal rows of B, but got "
            f"A {a.shape[0]} x {a.shape[1]} and B {b.shape[0]} x {b.shape[1]}"
        )
    if a.data.dtype != b.data.dtype:
        raise ValueError(
            f"A and B must hold one type of value, but got {a.data.dtype} and {b.data.dtype}"
        )


def row_multiplies(a: Csr, b: Csr) -> NDArray[np.int64]:
    """int64[m]: multiplies of every row of C, the sum over A[i,k] of nnz(B[k,:]).

    It bounds the entries of that row of C from above.

    Raises:
        ValueError: the operands do not fit each other.
    """
    check_operands(a, b)
    running = np.zeros(a.nnz + 1, np.int64)
    np.cumsum(b.row_lengths[a.indices], out=running[1:])
    return np.diff(running[a.indptr])


def multiplies(a: Csr, b: Csr) -> int:
    """Products A[i,k] B[k,j] with both entries stored: sum over A[i,k] of nnz(B[k,:]).

    Raises:
        ValueError: the operands do not fit each other.
    """
    return int(row_multiplies(a, b).sum())


def product(a: Csr, b: Csr) -> Csr:
    """C = A B by rows.

    Args:
        a, b: of one value type. float64 and float32 round to nearest even after the multiply and
            after each add, NaN canonical in float32; int32 wraps modulo 2^32.

    Returns:
        The structural product, in the operands' type. A block of rows with 4 M products is
        expanded at once (a single longer row whole), about 50 bytes a product.

    Raises:
        ValueError: the operands do not fit each other.
    """
    work = np.r_[0, np.cumsum(row_multiplies(a, b))]
    m, n = a.shape[0], b.shape[1]
    # A key is (row in block) * n + column, so a block has no more rows than keep it in 62 bits.
    most_rows = max(1, (1 << 62) // max(n, 1))
    lengths = np.zeros(m, np.int64)
    columns: list[NDArray[np.int64]] = []
    values: list[NDArray[Any]] = []
    begin = 0
    while begin < m:
        end = int(np.searchsorted(work, work[begin] + _BLOCK, side="right")) - 1
        end = min(max(end, begin + 1), begin + most_rows, m)
        row, col, value = _block(a, b, begin, end)
        lengths[begin:end] = np.bincount(row, minlength=end - begin)
        columns.append(col)
        values.append(value)
        begin = end
    indptr = np.r_[0, np.cumsum(lengths)].astype(np.int64)
    data = np.concatenate([np.zeros(0, a.data.dtype), *values])
    indices = np.concatenate([np.zeros(0, np.int64), *columns])
    dtype = index_dtype((m, n), len(data))
    return Csr((m, n), indptr, indices.astype(dtype, copy=False), data)


def product_scipy(a: Csr, b: Csr) -> Csr:
    """`product` by SciPy's compiled kernel: same structure, equal values in float64, several times
    faster. For operands of large workloads, never for what an engine is compared with: a -0.0
    may come out as 0.0.

    SciPy leaves out entries whose sum is 0 (measured with 1.17), so the structure comes from the
    product of the patterns.

    Raises:
        ValueError: the operands do not fit each other, or are not float64.
    """
    check_operands(a, b)
    if a.data.dtype != np.float64:
        raise ValueError(f"product_scipy takes float64 operands, but got {a.data.dtype}")
    c = _sorted_product(a, b)
    pattern = _sorted_product(replace(a, data=np.ones(a.nnz)), replace(b, data=np.ones(b.nnz)))
    data = c.data
    if pattern.nnz > c.nnz:
        data = np.zeros(pattern.nnz)
        data[np.searchsorted(_keys(pattern), _keys(c))] = c.data
    dtype = index_dtype(pattern.shape, pattern.nnz)
    indices = pattern.indices.astype(dtype, copy=False)
    return Csr(pattern.shape, pattern.indptr.astype(np.int64), indices, data)


def _sorted_product(a: Csr, b: Csr) -> sp.csr_array:
    c = a.to_scipy() @ b.to_scipy()
    c.sort_indices()
    return c


def _keys(c: sp.csr_array) -> NDArray[np.int64]:
    """int64[nnz], ascending: row * columns + column."""
    row = np.repeat(np.arange(c.shape[0], dtype=np.int64), np.diff(c.indptr))
    return row * c.shape[1] + c.indices


def _block(
    a: Csr, b: Csr, begin: int, end: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]:
    """Rows begin..end of C: row from `begin`, column and value of every entry, in order."""
    n = b.shape[1]
    entries = slice(int(a.indptr[begin]), int(a.indptr[end]))
    k = a.indices[entries]
    count = b.row_lengths[k]
    row = np.repeat(np.arange(end - begin), a.row_lengths[begin:end])
    # Position in B of every product: the start of row k, plus 0, 1, 2, ... within each run.
    first = np.cumsum(count) - count
    at = np.repeat(b.indptr[k] - first, count) + np.arange(int(count.sum()))
    key = np.repeat(row * n, count) + b.indices[at]
    with np.errstate(over="ignore", invalid="ignore"):
        terms = np.repeat(a.data[entries], count) * b.data[at]
        unique, slot = np.unique(key, return_inverse=True)
        # -0 is the identity of addition, so the first product is stored as it is; `add.at` adds
        # one at a time in the order given, which is k ascending.
        zero = -0.0 if terms.dtype.kind == "f" else 0
        total = np.full(len(unique), zero, terms.dtype)
        np.add.at(total, slot, terms)
    if total.dtype == np.float32:
        total.view(np.uint32)[np.isnan(total)] = CANONICAL_NAN_BITS
    return unique // max(n, 1), unique % max(n, 1), total
