"""Inner product, C = A B: row i of A intersected with column j of B, for every pair.

A pair is tried where the row and the column hold an entry. Two pointers walk the sorted
coordinates: each step compares the two heads and moves the smaller, or both where they agree, and
the walk ends with the shorter-reaching list. Counting that for all pairs needs no walk: entry k of
row i is passed in exactly the pairs whose column reaches k, and likewise for B, and a step that
moves both is a multiply, so with last(x) the largest coordinate of x

    compares = sum over entries (i,k) of A  #{columns j of B: last(j) >= k}
             + sum over entries (k,j) of B  #{rows i of A: last(i) >= k}
             - multiplies

in time linear in the entries, though the pairs are quadratic.

Traffic: a block of rows of A stays on chip while all columns of B stream past; consecutive rows
are taken into a block while they fit in a buffer of stated size, and a row that does not fit alone
is a block of its own. B is read once for every block, or once in all if its cache holds it whole.
The result leaves once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.dataflows.fibre_cache import fibre_lines
from hwsim.dataflows.spgemm_counts import Counts, used_columns
from hwsim.models.sparse import Csr
from hwsim.models.spgemm import check_operands

__all__ = ["InnerCounts", "InnerTraffic", "inner_counts", "inner_traffic"]

_COORDINATE = 4
_POINTER = 4


@dataclass(frozen=True, kw_only=True)
class InnerCounts:
    """Events of all intersections.

    Attributes:
        pairs: rows of A times columns of B that hold an entry.
        compares: comparisons of two heads, over all pairs.
    """

    pairs: int
    compares: int


@dataclass(frozen=True, kw_only=True)
class InnerTraffic:
    """Bytes in DRAM of one inner product.

    Attributes:
        blocks: blocks of A's rows, each with one pass over B.
        a_read, b_read, z_write: bytes.
    """

    blocks: int
    a_read: int
    b_read: int
    z_write: int


def inner_counts(a: Csr, b: Csr, multiplies: int) -> InnerCounts:
    """Pairs and comparisons of C = A B.

    Raises:
        ValueError: the operands do not fit each other.
    """
    check_operands(a, b)
    k = a.shape[1]
    row_last = _last_of_rows(a)
    columns, places = used_columns(b)
    column_last = np.full(b.shape[1] if columns is None else len(columns), -1, np.int64)
    np.maximum.at(column_last, places, b.rows)
    rows_reach = _reaching(row_last, k)
    columns_reach = _reaching(column_last, k)
    passed = int(columns_reach[a.indices].sum()) + int((rows_reach * b.row_lengths).sum())
    pairs = int(np.count_nonzero(row_last >= 0)) * int(np.count_nonzero(column_last >= 0))
    return InnerCounts(pairs=pairs, compares=passed - multiplies)


def inner_traffic(
    a: Csr,
    b: Csr,
    counts: Counts,
    *,
    buffer_bytes: int,
    cache_bytes: int,
    line_bytes: int = 8,
    value_bytes: int = 8,
) -> InnerTraffic:
    """What the inner product of A and B moves.

    Args:
        a, b: operands.
        counts: `hwsim.dataflows.spgemm_counts.count(a, b)`.
        buffer_bytes: holds a block of rows of A, coordinates, values and pointers.
        cache_bytes: holds B where it fits whole; else B streams.
        line_bytes: granularity of DRAM accesses; every fibre starts on a line.
        value_bytes: of a value; coordinates and pointers have 4.

    Raises:
        ValueError: the operands do not fit each other, or a line does not hold a whole number of
            coordinates or of values.
    """
    check_operands(a, b)
    words = (_COORDINATE, value_bytes)
    a_bytes = line_bytes * fibre_lines(a.row_lengths, line_bytes, *words)
    columns = np.bincount(used_columns(b)[1])  # entries of each; empty ones take no line
    b_bytes = line_bytes * int(fibre_lines(columns, line_bytes, *words).sum())
    b_bytes += _round_up(_POINTER * b.shape[1], line_bytes)
    z_bytes = line_bytes * int(fibre_lines(counts.row_nnz, line_bytes, *words).sum())
    row_pointers = _round_up(_POINTER * a.shape[0], line_bytes)
    blocks = int(_blocks(a_bytes + _POINTER, a.row_lengths, buffer_bytes))
    return InnerTraffic(
        blocks=blocks,
        a_read=int(a_bytes.sum()) + row_pointers,
        b_read=b_bytes * (min(blocks, 1) if b_bytes <= cache_bytes else blocks),
        z_write=z_bytes + row_pointers,
    )


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def _last_of_rows(matrix: Csr) -> NDArray[np.int64]:
    """int64[rows]: the largest column of each row, -1 for an empty one."""
    last = np.full(matrix.shape[0], -1, np.int64)
    holds = matrix.row_lengths > 0
    last[holds] = matrix.indices[matrix.indptr[1:][holds] - 1]
    return last


def _reaching(last: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """int64[size]: how many lists have their last coordinate at or past each position."""
    at = np.bincount(last[last >= 0], minlength=size)
    return np.cumsum(at[::-1])[::-1].astype(np.int64)


@njit(cache=True)
def _blocks(row_bytes: NDArray[np.int64], lengths: NDArray[Any], buffer_bytes: int) -> int:
    """Blocks of consecutive rows that fit; rows that hold nothing need no pass."""
    blocks = 0
    used = 0
    for i in range(row_bytes.shape[0]):
        if lengths[i] == 0:
            continue
        if blocks == 0 or used + row_bytes[i] > buffer_bytes:
            blocks += 1
            used = 0
        used += row_bytes[i]
    return blocks
