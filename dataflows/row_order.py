"""The order in which rows of A are processed: as stored, or by affinity, to reuse rows of B.

Gamma preprocesses A (ASPLOS 2021, algorithm 1): the next row is the one that shares most columns
with the W rows placed last, W being as many as the fibre cache holds the rows of B of. `affinity`
follows the code of the TeAAL MICRO'23 artifact (`scripts/preprocess.py`), whose traffic is
published, to the letter, since a tie is broken by the state of its heap:

- W = int(cache_bytes / 12 / (nnz / rows)^2);
- rows enter the heap in the order of their first entry, columns before rows; empty ones stay out;
- after each row the keys are updated and Python's `heapq.heapify` runs over the whole heap, then
  `heappop`; comparisons look at keys only;
- the row that leaves the window is the one placed W + 1 before; at the first step that would be
  row -1, in Python the row just placed.

Time is quadratic in the rows, so there is a limit on them.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.models.sparse import Csr

__all__ = ["MAX_AFFINITY_ROWS", "affinity_order", "permute_rows"]

MAX_AFFINITY_ROWS = 65536
"""Not given; chosen: about half a minute."""

_ELEMENT_BYTES = 12


def affinity_order(a: Csr, cache_bytes: int) -> NDArray[np.int64]:
    """int64[rows that hold an entry]: the rows of A in the order in which Gamma takes them.

    Args:
        a: the operand.
        cache_bytes: of the fibre cache.

    Raises:
        ValueError: A has more than `MAX_AFFINITY_ROWS` rows.
    """
    rows = a.shape[0]
    if rows > MAX_AFFINITY_ROWS:
        raise ValueError(
            f"the affinity order takes at most {MAX_AFFINITY_ROWS} rows, but got {rows}"
        )
    holds = np.flatnonzero(a.row_lengths)
    if not len(holds):
        return holds.astype(np.int64)
    first_column = a.indices[a.indptr[holds]]
    heap = holds[np.lexsort((holds, first_column))].astype(np.int64)
    row_nnz = a.nnz / rows
    window = int(cache_bytes / _ELEMENT_BYTES / (row_nnz * row_nnz))
    columns = a.transpose()
    return _order(
        heap,
        a.indptr,
        a.indices.astype(np.int64),
        columns.indptr,
        columns.indices.astype(np.int64),
        window,
    )


def permute_rows(a: Csr, order: NDArray[np.int64]) -> Csr:
    """A with its rows in that order, rows that it leaves out last (they are empty)."""
    lengths = a.row_lengths
    indptr = np.zeros(a.shape[0] + 1, np.int64)
    np.cumsum(lengths[order], out=indptr[1 : len(order) + 1])
    indptr[len(order) + 1 :] = indptr[len(order)]
    # The place in A of every entry: where its row starts, plus its place in the row.
    shift = np.repeat(a.indptr[order] - indptr[: len(order)], lengths[order])
    at = shift + np.arange(a.nnz)
    return Csr(a.shape, indptr, a.indices[at], a.data[at])


@njit(cache=True)
def _order(
    heap: NDArray[np.int64],
    row_pointers: NDArray[np.int64],
    row_columns: NDArray[np.int64],
    column_pointers: NDArray[np.int64],
    column_rows: NDArray[np.int64],
    window: int,
) -> NDArray[np.int64]:
    rows = row_pointers.shape[0] - 1
    key = np.zeros(rows, np.int64)
    count = heap.shape[0]
    placed = np.zeros(rows, np.bool_)
    order = np.empty(count, np.int64)
    _heapify(heap, count, key)
    order[0] = _pop(heap, count, key)
    count -= 1
    placed[order[0]] = True
    step = 0
    while count > 0:
        _add_key(order[step], 1, placed, key, row_pointers, row_columns, column_pointers,
                 column_rows)  # fmt: skip
        if step >= window:
            leaving = step - window - 1
            row = order[leaving] if leaving >= 0 else order[step]
            _add_key(row, -1, placed, key, row_pointers, row_columns, column_pointers,
                     column_rows)  # fmt: skip
        _heapify(heap, count, key)
        step += 1
        order[step] = _pop(heap, count, key)
        count -= 1
        placed[order[step]] = True
    return order


@njit(cache=True)
def _add_key(
    row: int,
    change: int,
    placed: NDArray[np.bool_],
    key: NDArray[np.int64],
    row_pointers: NDArray[np.int64],
    row_columns: NDArray[np.int64],
    column_pointers: NDArray[np.int64],
    column_rows: NDArray[np.int64],
) -> None:
    """Changes the key of every waiting row once for each column that it shares with `row`."""
    for p in range(row_pointers[row], row_pointers[row + 1]):
        column = row_columns[p]
        for q in range(column_pointers[column], column_pointers[column + 1]):
            if not placed[column_rows[q]]:
                key[column_rows[q]] += change


@njit(cache=True)
def _heapify(heap: NDArray[np.int64], count: int, key: NDArray[np.int64]) -> None:
    for at in range(count // 2 - 1, -1, -1):
        _sift(heap, count, key, at)


@njit(cache=True)
def _pop(heap: NDArray[np.int64], count: int, key: NDArray[np.int64]) -> int:
    top = heap[0]
    if count > 1:
        heap[0] = heap[count - 1]
        _sift(heap, count - 1, key, 0)
    return top


@njit(cache=True)
def _sift(heap: NDArray[np.int64], count: int, key: NDArray[np.int64], start: int) -> None:
    """`heapq._siftup`: down to a leaf along the larger keys, then back up to the right place."""
    item = heap[start]
    at = start
    child = 2 * at + 1
    while child < count:
        # The left child goes up only where its key is strictly larger: ties take the right one.
        if child + 1 < count and key[heap[child]] <= key[heap[child + 1]]:
            child += 1
        heap[at] = heap[child]
        at = child
        child = 2 * at + 1
    while at > start and key[item] > key[heap[(at - 1) >> 1]]:
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    heap[at] = item
