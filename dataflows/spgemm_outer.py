"""Outer product, C = A B: column k of A times row k of B; partial products stored, then merged.

The dataflow of OuterSPACE (S. Pal et al., HPCA 2018) as TeAAL specifies it (MICRO'23 artifact,
`yamls/teaal/outerspace.yaml`). The multiply phase reads each column of A and each row of B once
and writes every partial product to DRAM, row by row of C, a fibre for each k; the merge phase
reads them back, sorts a row's fibres and adds. Bytes in DRAM with values of 8 bytes and bursts of
8, c8 and c12 rounding up to 8 and 12, f_i the entries A[i,k] whose row of B holds an entry:

    A  sum over columns c8(12 len) + c8(4 k)
    B  sum over rows that meet a column c8(12 len) + c8(4 k), and what the row cache cannot hold
       again for each further entry of the column
    T  12 multiplies + sum over rows c12(4 f_i) + c12(4 #{i: f_i > 0}), written and read back
    Z  sum over rows c8(12 len) + c8(4 #{rows of C that hold an entry})

The published columns outer_a, outer_b, outer_t (both directions) and outer_z follow exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsim.dataflows.fibre_cache import fibre_lines
from hwsim.dataflows.merger import row_fibres
from hwsim.dataflows.spgemm_counts import Counts
from hwsim.models.sparse import Csr

__all__ = ["OuterTraffic", "outer_traffic"]

_COORDINATE = 4
_POINTER = 4


@dataclass(frozen=True, kw_only=True)
class OuterTraffic:
    """Bytes in DRAM of one outer product.

    Attributes:
        a_read, b_read: operands, in the multiply phase.
        t_write: partial products, in the multiply phase.
        t_read: the same, in the merge phase.
        z_write: the result, in the merge phase.
    """

    a_read: int
    b_read: int
    t_write: int
    t_read: int
    z_write: int


def outer_traffic(
    a: Csr, b: Csr, counts: Counts, *, cache_bytes: int, line_bytes: int = 8, value_bytes: int = 8
) -> OuterTraffic:
    """What the outer product of A and B moves.

    Args:
        a, b: operands.
        counts: `hwsim.dataflows.spgemm_counts.count(a, b)`.
        cache_bytes: holds the row of B while column k of A is walked (OuterSPACE: 16 kB); the
            lines of a longer row that do not fit are fetched again for every entry of the column.
        line_bytes: granularity of A, B and Z; partial products move in whole elements.
        value_bytes: of a value; coordinates and pointers have 4.

    Raises:
        ValueError: a line does not hold a whole number of coordinates or of values.
    """
    entries = np.bincount(a.indices, minlength=a.shape[1])  # of each column of A
    meets = (entries > 0) & (b.row_lengths > 0)
    lines = fibre_lines(b.row_lengths, line_bytes, _COORDINATE, value_bytes)[meets]
    over = np.maximum(lines - cache_bytes // line_bytes, 0)
    fetched = int(lines.sum() + (over * (entries[meets] - 1)).sum())
    pointers = _round_up(_POINTER * a.shape[1], line_bytes)
    fibres = row_fibres(a, b)
    element = _COORDINATE + value_bytes
    stored = (
        element * counts.multiplies
        + int((-(-fibres * _POINTER // element) * element).sum())
        + _round_up(_POINTER * int(np.count_nonzero(fibres)), element)
    )
    a_lines = fibre_lines(entries, line_bytes, _COORDINATE, value_bytes)
    z_lines = fibre_lines(counts.row_nnz, line_bytes, _COORDINATE, value_bytes)
    z_rows = int(np.count_nonzero(counts.row_nnz))
    return OuterTraffic(
        a_read=line_bytes * int(a_lines.sum()) + pointers,
        b_read=line_bytes * fetched + pointers,
        t_write=stored,
        t_read=stored,
        z_write=line_bytes * int(z_lines.sum()) + _round_up(_POINTER * z_rows, line_bytes),
    )


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
