"""The fibre cache word by word: the replacement that the TeAAL model of Gamma simulates.

`hwsim.dataflows.fibre_cache` reads a row line by line. TeAAL's trace (fibertree, `cacheTraffic` in
`model/traffic.py`) has an access for every word: the pointer of a row, then the coordinate and the
value of each element. Its policy keeps the lines used soonest and does not keep a fetched line that
is used later than all others, but a line whose next word is about to be read counts as used
soonest and displaces another, so it fetches a little more than Belady's optimum by lines.

Every access has a number, and a cached line is named by the number of the access that needs it
next. The cache is then a set of numbers: an access hits if its own number is in the set, the line
that leaves is the largest. The set is a bitmap with a summary bit for every 64 bits, in levels.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["fetches_by_word"]

_NEVER = 1 << 62


def fetches_by_word(
    rows: NDArray[np.int64],
    pointers: NDArray[np.int64],
    lengths: NDArray[np.int64],
    coordinates_a_line: int,
    values_a_line: int,
    capacity: int,
) -> NDArray[np.int64]:
    """Lines fetched, [reads, 2]: for the pointer and for the fibre of each read of a row.

    Args:
        rows: int64[reads], the row of B that is read.
        pointers: int64[reads], the line of its pointer.
        lengths: int64[rows of B], elements of each.
        coordinates_a_line, values_a_line: words that a line holds; 0 values for none at all.
        capacity: lines.
    """
    words = 2 if values_a_line else 1
    first = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(1 + words * lengths[rows], out=first[1:])
    bits = [np.zeros(int(first[-1]) // 64 + 1, np.uint64)]
    while len(bits[-1]) > 1:
        bits.append(np.zeros(len(bits[-1]) // 64 + 1, np.uint64))
    begins = np.zeros(len(bits) + 1, np.int64)
    np.cumsum([len(level) for level in bits], out=begins[1:])
    return _simulate(
        first,
        _next_same(rows),
        _next_same(pointers),
        lengths[rows],
        np.array([words, coordinates_a_line, values_a_line, capacity]),
        np.concatenate(bits),
        begins,
    )


def _next_same(items: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each position the next one that holds the same item, or `_NEVER`."""
    order = np.argsort(items, kind="stable")
    later = np.full(len(items), _NEVER, np.int64)
    same = items[order[1:]] == items[order[:-1]]
    later[order[:-1][same]] = order[1:][same]
    return later


@njit(cache=True)
def _simulate(
    first: NDArray[np.int64],
    next_row: NDArray[np.int64],
    next_pointer: NDArray[np.int64],
    lengths: NDArray[np.int64],
    sizes: NDArray[np.int64],
    bits: NDArray[np.uint64],
    begins: NDArray[np.int64],
) -> NDArray[np.int64]:
    words, coordinates, values, capacity = sizes
    reads = lengths.shape[0]
    fetched = np.zeros((reads, 2), np.int64)
    held = 0
    for q in range(reads):
        at = first[q]
        again = _NEVER if next_pointer[q] == _NEVER else first[next_pointer[q]]
        missed, held = _access(bits, begins, at, again, held, capacity)
        fetched[q, 0] = missed
        row = -1 if next_row[q] == _NEVER else first[next_row[q]] + 1
        misses = 0
        for n in range(lengths[q]):
            for word in range(words):
                line = coordinates if word == 0 else values
                if (n + 1) % line != 0 and n + 1 < lengths[q]:
                    again = at + 1 + words * (n + 1) + word
                elif row < 0:
                    again = _NEVER
                else:
                    again = row + words * (n - n % line) + word
                missed, held = _access(
                    bits, begins, at + 1 + words * n + word, again, held, capacity
                )
                misses += missed
        fetched[q, 1] = misses
    return fetched


@njit(cache=True)
def _access(
    bits: NDArray[np.uint64],
    begins: NDArray[np.int64],
    at: int,
    again: int,
    held: int,
    capacity: int,
) -> tuple[int, int]:
    """(1 for a miss, lines held after) of access `at`, whose line is needed next at `again`."""
    one, low_six = np.uint64(1), np.uint64(63)
    if (bits[at >> 6] >> (np.uint64(at) & low_six)) & one:
        _clear(bits, begins, at)
        if again == _NEVER:
            return 0, held - 1
        _set(bits, begins, again)
        return 0, held
    if again == _NEVER or capacity == 0:
        return 1, held
    if held < capacity:
        _set(bits, begins, again)
        return 1, held + 1
    latest = _largest(bits, begins)
    if again <= latest:
        _clear(bits, begins, latest)
        _set(bits, begins, again)
    return 1, held


@njit(cache=True)
def _set(bits: NDArray[np.uint64], begins: NDArray[np.int64], number: int) -> None:
    one, low_six = np.uint64(1), np.uint64(63)
    for level in range(begins.shape[0] - 1):
        word = begins[level] + (number >> 6)
        was = bits[word]
        bits[word] = was | (one << (np.uint64(number) & low_six))
        if was:
            return
        number >>= 6


@njit(cache=True)
def _clear(bits: NDArray[np.uint64], begins: NDArray[np.int64], number: int) -> None:
    one, low_six = np.uint64(1), np.uint64(63)
    for level in range(begins.shape[0] - 1):
        word = begins[level] + (number >> 6)
        bits[word] &= ~(one << (np.uint64(number) & low_six))
        if bits[word]:
            return
        number >>= 6


@njit(cache=True)
def _largest(bits: NDArray[np.uint64], begins: NDArray[np.int64]) -> int:
    """The largest number of a set that holds one."""
    number = 0
    for level in range(begins.shape[0] - 2, -1, -1):
        word = bits[begins[level] + number]
        top = 0
        for shift in (32, 16, 8, 4, 2, 1):
            if word >> np.uint64(top + shift):
                top += shift
        number = 64 * number + top
    return number
