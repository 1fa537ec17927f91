"""Merging the scaled rows of B that make a row of C: elements and comparisons, counted exactly.

Row-wise and outer-product machines bring the partial products of a row of C together with mergers.
Two counts, both of the TeAAL model (fibertree, `model/compute.py`, `numSwaps`):

    merged_elements   a tree of mergers of a stated radix (Gamma's 64), each passing one element a
                      cycle: a merger of f fibres with e elements in all takes f + e cycles. Rows
                      of more fibres than the radix are merged in levels, in groups of the radix
                      in order; a row of one fibre is not merged. Coordinates that agree stay
                      apart until the adder behind the last level, so e is the same on each level.
    insertions        one sorted list of heads, one a fibre: the smallest head leaves, its
                      successor is inserted by comparing from the front until it fits
                      (OuterSPACE's sorting hardware). The comparisons of all insertions.

Where a row of B is empty there is no fibre.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.models.sparse import Csr
from hwsim.models.spgemm import check_operands

__all__ = ["insertions", "merged_elements", "row_fibres"]


def row_fibres(a: Csr, b: Csr) -> NDArray[np.int64]:
    """int64[m]: fibres merged for each row of C, the entries A[i,k] whose row of B holds one.

    Raises:
        ValueError: the operands do not fit each other.
    """
    check_operands(a, b)
    running = np.zeros(a.nnz + 1, np.int64)
    np.cumsum(b.row_lengths[a.indices] > 0, out=running[1:])
    return np.diff(running[a.indptr])


def merged_elements(
    fibres: NDArray[np.int64], elements: NDArray[np.int64], radix: int
) -> NDArray[np.int64]:
    """int64[m]: merger cycles of each row of C, all levels.

    Args:
        fibres: int64[m], as `row_fibres`.
        elements: int64[m], partial products of each row (its multiplies).
        radix: fibres that one merger takes.

    Raises:
        ValueError: the radix is below 2.
    """
    if radix < 2:
        raise ValueError(f"radix >= 2 must hold, but got {radix}")
    cycles = np.zeros(len(fibres), np.int64)
    left = fibres.astype(np.int64, copy=True)
    while True:
        merging = left > 1
        if not merging.any():
            return cycles
        cycles[merging] += left[merging] + elements[merging]
        left[merging] = -(-left[merging] // radix)


def insertions(a: Csr, b: Csr) -> NDArray[np.int64]:
    """int64[m]: comparisons that merge each row of C through one sorted list of heads.

    Of heads that agree, the one of larger k leaves first, as in the published count (no sum depends
    on it: they leave one after the other, and the adder orders them).

    Raises:
        ValueError: the operands do not fit each other.
    """
    check_operands(a, b)
    widest = int(a.row_lengths.max(initial=0))
    return _insertions(
        a.indptr, a.indices.astype(np.int64), b.indptr, b.indices.astype(np.int64), widest
    )


@njit(cache=True)
def _insertions(
    a_indptr: NDArray[np.int64],
    a_indices: NDArray[np.int64],
    b_indptr: NDArray[np.int64],
    b_indices: NDArray[np.int64],
    widest: int,
) -> NDArray[np.int64]:
    rows = a_indptr.shape[0] - 1
    compares = np.zeros(rows, np.int64)
    # Heads in descending order of (column, fibre): the next to leave is the last one.
    column = np.empty(widest, np.int64)
    fibre = np.empty(widest, np.int64)
    position = np.empty(widest, np.int64)
    for i in range(rows):
        begin = a_indptr[i]
        fibres = a_indptr[i + 1] - begin
        present = 0
        for f in range(fibres):
            position[f] = b_indptr[a_indices[begin + f]]
            present += position[f] < b_indptr[a_indices[begin + f] + 1]
        if present < 2:
            continue
        heads = 0
        total = 0
        for f in range(fibres):
            if position[f] < b_indptr[a_indices[begin + f] + 1]:
                j = b_indices[position[f]]
                position[f] += 1
                total += _insert(column, fibre, heads, j, f)
                heads += 1
        while heads > 0:
            heads -= 1
            f = fibre[heads]
            if position[f] < b_indptr[a_indices[begin + f] + 1]:
                j = b_indices[position[f]]
                position[f] += 1
                total += _insert(column, fibre, heads, j, f)
                heads += 1
        compares[i] = total
    return compares


@njit(cache=True)
def _insert(column: NDArray[np.int64], fibre: NDArray[np.int64], heads: int, j: int, f: int) -> int:
    """Inserts (j, f) among `heads` sorted ones; heads passed, and one for where it stops."""
    at = heads
    while at > 0 and (column[at - 1] < j or (column[at - 1] == j and fibre[at - 1] > f)):
        column[at] = column[at - 1]
        fibre[at] = fibre[at - 1]
        at -= 1
    column[at] = j
    fibre[at] = f
    return heads - at + 1
