"""SparTen (MICRO 2019): inner joins of bit masks, chunk by chunk, filters balanced greedily.

Both operands are cut into chunks of 128 positions with a bit mask each. A compute unit intersects
the chunk of its filter with the input's and multiplies one matching pair a cycle, so a chunk takes
the population count of the AND, at least 1. The units of a cluster share the input chunk and wait
for each other at its end. Clusters work on different pixels: pixel p on cluster p mod clusters.

With greedy balancing a unit holds two filters: the layer's filters are sorted by density, cut into
sets of twice the units, and in each set the densest is paired with the sparsest, the next with the
next. Without, a unit holds one.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from hwsim.dataflows.mac_skip import check_masks

__all__ = ["pack", "sparten_cycles"]

_WORD = 64


def sparten_cycles(
    iacts: ArrayLike,
    weights: ArrayLike,
    *,
    clusters: int,
    units: int,
    chunk: int = 128,
    greedy: bool = True,
) -> int:
    """Cycles of a product.

    Args:
        iacts: [pixels, taps], anything but zero counts.
        weights: [filters, taps].
        clusters: that share the pixels.
        units: of a cluster.
        chunk: positions of a mask, a multiple of 64.
        greedy: pair filters by density.

    Raises:
        ValueError: not two matrices of as many taps, or a chunk that is no multiple of 64.
    """
    acts, kernels = check_masks(iacts, weights)
    if chunk < _WORD or chunk % _WORD:
        raise ValueError(f"chunk must be a multiple of {_WORD}, but got {chunk}")
    filters = len(kernels)
    order = np.arange(filters)
    held = 2 if greedy else 1
    if greedy:
        # stable: filters of one density keep their order
        order = np.argsort(-np.count_nonzero(kernels, axis=1), kind="stable")
    sets = -(-filters // (units * held))
    unit = np.full(sets * units * held, -1, np.int64)
    unit[:filters] = order
    table = np.empty((sets, units, held), np.int64)
    for index, members in enumerate(unit.reshape(sets, -1)):
        present = members[members >= 0]
        table[index] = -1
        if greedy:
            # the first half of a set is denser; what is missing leaves the densest alone
            first, second = present[:units], present[units:]
            table[index, : len(first), 0] = first
            table[index, len(first) - len(second) : len(first), 1] = second[::-1]
            if len(second) == len(first):
                table[index, : len(first), 1] = second[::-1]
        else:
            table[index, : len(present), 0] = present
    return int(_cycles(pack(acts, chunk), pack(kernels, chunk), table, clusters, chunk // _WORD))


def pack(mask: NDArray[np.bool_], chunk: int) -> NDArray[np.uint64]:
    """Rows of a mask as words of 64 bits, padded with zeros to whole chunks."""
    rows, taps = mask.shape
    wide = -(-taps // chunk) * chunk
    padded = np.zeros((rows, wide), np.bool_)
    padded[:, :taps] = mask
    return np.packbits(padded, axis=1, bitorder="little").view("<u8").astype(np.uint64)


@njit(cache=True)
def _popcount(x: np.uint64) -> np.int64:  # pragma: no cover - compiled
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True)
def _cycles(
    acts: NDArray[np.uint64],
    kernels: NDArray[np.uint64],
    table: NDArray[np.int64],
    clusters: int,
    words: int,
) -> int:  # pragma: no cover - compiled
    """The slowest cluster; `table` [sets, units, filters of a unit], -1 for none."""
    total = np.zeros(clusters, np.int64)
    chunks = acts.shape[1] // words
    for pixel in range(acts.shape[0]):
        mine = np.int64(0)
        for index in range(table.shape[0]):
            for chunk in range(chunks):
                slowest = np.int64(0)
                for unit in range(table.shape[1]):
                    time = np.int64(0)
                    for slot in range(table.shape[2]):
                        kernel = table[index, unit, slot]
                        if kernel < 0:
                            continue
                        matches = np.int64(0)
                        for word in range(chunk * words, (chunk + 1) * words):
                            matches += _popcount(acts[pixel, word] & kernels[kernel, word])
                        time += matches if matches else np.int64(1)
                    slowest = time if time > slowest else slowest
                mine += slowest
        total[pixel % clusters] += mine
    return total.max()
