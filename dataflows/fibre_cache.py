"""Rows of B through a fibre cache: bytes that row-wise SpGEMM fetches from DRAM.

Row-wise dataflows read row k of B once for every entry A[i,k], so B is read nnz(A) / k times on
average unless a cache holds rows between uses. The model is that of the TeAAL specification of
Gamma (MICRO'23 artifact, `yamls/teaal/gamma.yaml`): fully associative, with lines of a stated
size; the fibre of a row starts on a line of its own and so do its coordinates and its values. Row
pointers go through the same cache, several to a line, one for every entry of A; only rows that
hold an entry have one, and a read of an empty row finds the pointer of the next row that does. With
lines of 8 bytes a row of `len` elements of 4 + 8 bytes takes c8(4 len) + 8 len bytes, c8 rounding
up to 8.

Replacement policies:

    lru             the line used longest ago leaves
    next_use        the line used furthest in the future leaves, a fetched line that is used later
                    than all cached ones is not kept (Belady's optimum with bypass: a bound)
    next_use_words  the same with every word as an access of its own, as TeAAL's published traffic
                    was simulated (`hwsim.dataflows.fibre_words`)

A row is always read whole and in order, so what is left of it is known by a number of lines: its
end under LRU, since its first line is the oldest. The kernels here therefore move rows, not lines,
and are exact at the granularity of lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.dataflows.fibre_words import fetches_by_word

__all__ = ["POLICIES", "CacheCounts", "fibre_lines", "fibre_traffic"]

POLICIES = ("lru", "next_use", "next_use_words")

_NEVER = 1 << 62


@dataclass(frozen=True, kw_only=True)
class CacheCounts:
    """Events of one product at the cache of B.

    Attributes:
        row_hits: reads of a row's fibre that found all its lines.
        row_misses: reads of a row's fibre that fetched at least one line.
        lines_read: lines delivered to the PEs, pointers included.
        lines_fetched: lines fetched from DRAM, pointers included.
        line_bytes: size of a line.
    """

    row_hits: int
    row_misses: int
    lines_read: int
    lines_fetched: int
    line_bytes: int

    @property
    def bytes_read(self) -> int:
        return self.lines_read * self.line_bytes

    @property
    def bytes_fetched(self) -> int:
        return self.lines_fetched * self.line_bytes


def fibre_lines(
    lengths: NDArray[np.int64], line_bytes: int, coordinate_bytes: int = 4, value_bytes: int = 8
) -> NDArray[np.int64]:
    """int64[rows]: lines of the fibres with `lengths` elements, coordinates and values apart.

    Raises:
        ValueError: a line does not hold a whole number of coordinates or of values.
    """
    for name, size in (("coordinate_bytes", coordinate_bytes), ("value_bytes", value_bytes)):
        if size and (line_bytes < size or line_bytes % size):
            raise ValueError(
                f"line_bytes must be a multiple of {name}, but got {line_bytes} and {size}"
            )
    lines = -(-lengths * coordinate_bytes // line_bytes) - (-lengths * value_bytes // line_bytes)
    return lines.astype(np.int64, copy=False)


def fibre_traffic(
    a_indices: NDArray[Any],
    b_lengths: NDArray[np.int64],
    *,
    cache_bytes: int,
    line_bytes: int = 8,
    policy: str = "lru",
    coordinate_bytes: int = 4,
    value_bytes: int = 8,
    pointer_bytes: int = 4,
) -> CacheCounts:
    """What the reads of B's rows in the order of A's entries cost.

    Args:
        a_indices: int[nnz of A], the column of every entry of A in the order they are used.
        b_lengths: int64[k], entries of each row of B.
        cache_bytes: capacity; 0 keeps nothing.
        line_bytes: granularity of a fetch.
        policy: one of `POLICIES`.
        coordinate_bytes, value_bytes, pointer_bytes: sizes of B's words; `value_bytes` is 0 for a
            pass that reads only the structure.

    Raises:
        ValueError: an unknown policy, or sizes that do not fit each other.
    """
    if policy not in POLICIES:
        raise ValueError(f"policy must be one of {', '.join(POLICIES)}, but got {policy!r}")
    if cache_bytes < 0:
        raise ValueError(f"cache_bytes >= 0 must hold, but got {cache_bytes}")
    if pointer_bytes < 1 or line_bytes % pointer_bytes:
        raise ValueError(
            f"line_bytes must be a multiple of pointer_bytes, but got {line_bytes} "
            f"and {pointer_bytes}"
        )
    rows = len(b_lengths)
    lines = fibre_lines(b_lengths, line_bytes, coordinate_bytes, value_bytes)
    used = a_indices.astype(np.int64)
    # Objects: rows 0 .. rows - 1, then lines of pointers. A row is read after its pointer.
    sequence = np.empty(2 * len(used), np.int64)
    holds = b_lengths > 0
    before: NDArray[np.int64] = np.cumsum(holds) - holds  # rows before each that hold an entry
    sequence[0::2] = rows + before[used] // (line_bytes // pointer_bytes)
    sequence[1::2] = used
    pointer_lines = rows * pointer_bytes // line_bytes + 1
    size = np.concatenate([lines, np.ones(pointer_lines, np.int64)])
    capacity = cache_bytes // line_bytes
    if policy == "lru":
        fetched = _lru(sequence, size, capacity).reshape(-1, 2)
    elif policy == "next_use":
        fetched = _next_use(sequence, size, capacity).reshape(-1, 2)
    else:
        per_line = (line_bytes // coordinate_bytes, line_bytes // value_bytes if value_bytes else 0)
        fetched = fetches_by_word(used, sequence[0::2], b_lengths, *per_line, capacity)
    row_misses = int(np.count_nonzero(fetched[:, 1]))
    return CacheCounts(
        row_hits=int(np.count_nonzero(holds[used])) - row_misses,
        row_misses=row_misses,
        lines_read=int(size[sequence].sum()),
        lines_fetched=int(fetched.sum()),
        line_bytes=line_bytes,
    )


@njit(cache=True)
def _lru(sequence: NDArray[np.int64], size: NDArray[np.int64], capacity: int) -> NDArray[np.int64]:
    """Lines fetched at each access of an object of `size` lines."""
    objects = size.shape[0]
    # A ring of cached objects, newest after the sentinel `objects`, oldest before it.
    newer = np.full(objects + 1, -1, np.int64)
    older = np.full(objects + 1, -1, np.int64)
    newer[objects] = older[objects] = objects
    held = np.zeros(objects, np.int64)
    free = capacity
    fetched = np.zeros(sequence.shape[0], np.int64)
    for t in range(sequence.shape[0]):
        x = sequence[t]
        kept = held[x]  # the last lines of x
        need = size[x] - kept
        arrived = 0  # lines of x fetched in this access and still cached
        misses = 0
        while need > 0:
            if free > 0:
                moved = min(free, need)
                free -= moved
                need -= moved
                misses += moved
                arrived += moved
                continue
            oldest = newer[objects]
            if oldest == objects:  # only lines of this access are left: they displace each other
                misses += need
                need = 0
            elif oldest == x:
                # Each fetch displaces x's own next line, which is then to be fetched as well.
                misses += kept
                arrived += kept
                kept = 0
                held[x] = 0
                _unlink(newer, older, x)
            else:
                moved = min(held[oldest], need)
                held[oldest] -= moved
                need -= moved
                misses += moved
                arrived += moved
                if held[oldest] == 0:
                    _unlink(newer, older, oldest)
        fetched[t] = misses
        if newer[x] >= 0:
            _unlink(newer, older, x)
        held[x] = arrived + kept
        if held[x] > 0:
            last = older[objects]
            newer[last], older[objects] = x, x
            newer[x], older[x] = objects, last
    return fetched


@njit(cache=True)
def _unlink(newer, older, x):
    newer[older[x]] = newer[x]
    older[newer[x]] = older[x]
    newer[x] = older[x] = -1


@njit(cache=True)
def _next_use(
    sequence: NDArray[np.int64], size: NDArray[np.int64], capacity: int
) -> NDArray[np.int64]:
    """Lines fetched at each access under Belady's policy with bypass."""
    accesses = sequence.shape[0]
    later = np.full(accesses, _NEVER, np.int64)
    seen = np.full(size.shape[0], _NEVER, np.int64)
    for t in range(accesses - 1, -1, -1):
        later[t] = seen[sequence[t]]
        seen[sequence[t]] = t
    held = np.zeros(size.shape[0], np.int64)
    due = np.full(size.shape[0], _NEVER, np.int64)
    # A heap of the times at which cached objects are due, latest first. An object is due at one
    # time only, so a time names it; an entry whose object was used or dropped since is stale.
    heap = np.empty(accesses, np.int64)
    count = 0
    free = capacity
    fetched = np.zeros(accesses, np.int64)
    for t in range(accesses):
        x, again = sequence[t], later[t]
        need = size[x] - held[x]
        fetched[t] = need
        due[x] = again
        if again == _NEVER:
            free += held[x]
            held[x] = 0
            continue
        moved = min(free, need)
        free -= moved
        held[x] += moved
        need -= moved
        while need > 0 and count > 0 and heap[0] > again:
            victim = sequence[heap[0]]
            if due[victim] != heap[0] or held[victim] == 0:
                count = _pop(heap, count)
                continue
            moved = min(held[victim], need)
            held[victim] -= moved
            held[x] += moved
            need -= moved
        if held[x] > 0:
            count = _push(heap, count, again)
    return fetched


@njit(cache=True)
def _push(heap: NDArray[np.int64], count: int, value: int) -> int:
    at = count
    while at > 0 and heap[(at - 1) >> 1] < value:
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    heap[at] = value
    return count + 1


@njit(cache=True)
def _pop(heap: NDArray[np.int64], count: int) -> int:
    count -= 1
    value = heap[count]
    at = 0
    while 2 * at + 1 < count:
        child = 2 * at + 1
        if child + 1 < count and heap[child + 1] > heap[child]:
            child += 1
        if heap[child] <= value:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = value
    return count
