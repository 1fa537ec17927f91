"""Cycle-exact simulation of the N:M selectors: what they select, and when each selection leaves.

A matrix B[k, n] is selected along k, its columns over the lanes: block after block of `lanes`
columns, and of each block group after group of M rows. The streaming selector takes one row of a
block a cycle, the rank selector a whole group. The values do not depend on which is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from hwsim.dataflows.stream import StreamTimeline, gap_list, pipeline_cycles
from hwsim.models.nm import Compact, NMPattern

__all__ = [
    "RANK_DEPTH",
    "SelectorBeats",
    "gather",
    "rank_cycles",
    "select",
    "selector_beats",
    "topn_cycles",
    "topn_timeline",
]

RANK_DEPTH = 3
"""Steps of a group through the rank selector: hwsim.rtl.sore.RANK_DEPTH."""

_MAGNITUDE = 0x7FFF
_SORTED_CYCLES = 2  # from a group's last weight to its selection: sorters, output register


@dataclass(frozen=True, kw_only=True)
class SelectorBeats:
    """A matrix as the selectors take it.

    Attributes:
        weights: uint16 [groups, M, lanes], FP16 bits; short groups and spare lanes hold zeros.
        lengths: int64 [groups], positions of a group that hold weights.
        k, columns: the matrix's shape.
    """

    weights: NDArray[np.uint16]
    lengths: NDArray[np.int64]
    k: int
    columns: int


def selector_beats(b: NDArray[np.float16], m: int, lanes: int) -> SelectorBeats:
    """The groups of B[k, n] along k, in the order in which the selectors take them.

    Raises:
        ValueError: `b` is no FP16 matrix or is empty, lanes < 1, or M outside 1..32.
    """
    if b.ndim != 2 or b.dtype != np.float16 or not b.size:
        raise ValueError(f"a float16 matrix is needed, but got {b.dtype} {b.shape}")
    if lanes < 1:
        raise ValueError(f"lanes >= 1 must hold, but got {lanes}")
    pattern = NMPattern(1, m)
    k, columns = b.shape
    groups, blocks = pattern.groups(k), -(-columns // lanes)
    padded = np.zeros((groups * m, blocks * lanes), np.uint16)
    padded[:k, :columns] = np.ascontiguousarray(b).view(np.uint16)
    weights = padded.reshape(groups, m, blocks, lanes).transpose(2, 0, 1, 3)
    lengths = np.full(groups, m, np.int64)
    lengths[-1] = k - (groups - 1) * m
    return SelectorBeats(
        weights=np.ascontiguousarray(weights).reshape(blocks * groups, m, lanes),
        lengths=np.tile(lengths, blocks),
        k=k,
        columns=columns,
    )


def select(
    beats: SelectorBeats, n: int
) -> tuple[NDArray[np.uint16], NDArray[np.uint8], NDArray[np.bool_]]:
    """What the selectors put out: values and indices [groups, N, lanes], mask [groups, M, lanes].

    Magnitudes compare as the 15 bits below the sign; of equal ones the lowest index wins. Kept
    values are in ascending order of index, free slots hold 0 at index 0.

    Raises:
        ValueError: 1 <= N <= M does not hold.
    """
    groups, m, lanes = beats.weights.shape
    NMPattern(n, m)
    values = np.zeros((groups, n, lanes), np.uint16)
    indices = np.zeros((groups, n, lanes), np.uint8)
    mask = np.zeros((groups, m, lanes), np.bool_)
    _select(beats.weights, beats.lengths, n, values, indices, mask)
    return values, indices, mask


def gather(
    beats: SelectorBeats,
    values: NDArray[np.uint16],
    indices: NDArray[np.uint8],
    mask: NDArray[np.bool_],
) -> tuple[Compact, NDArray[np.bool_]]:
    """Selections back in a matrix's order: its compact form and its mask [k, n].

    Args:
        beats: what was selected from.
        values, indices, mask: as `select` returns them, or the selectors in RTL.
    """
    _, m, lanes = beats.weights.shape
    n = values.shape[1]
    groups = NMPattern(n, m).groups(beats.k)

    def matrix(x: NDArray) -> NDArray:
        return _columns(x, groups, lanes)[:, : beats.columns]

    compact = Compact(matrix(values).view(np.float16), matrix(indices), NMPattern(n, m), beats.k)
    return compact, matrix(mask)[: beats.k]


def topn_cycles(lengths: NDArray[np.int64]) -> int:
    """Cycles of the streaming selector without stalls, until the last selection was taken.

    A weight a lane and cycle, and two more for the last selection; none between groups.
    """
    return int(np.sum(lengths)) + _SORTED_CYCLES


def rank_cycles(groups: int) -> int:
    """Cycles of the rank selector without stalls, until the last selection was taken."""
    return pipeline_cycles(groups, RANK_DEPTH)


def topn_timeline(
    lengths: NDArray[np.int64], *, gap_i: ArrayLike = (), gap_o: ArrayLike = ()
) -> StreamTimeline:
    """When the streaming selector's selections are taken. The rank selector is a
    `hwsim.dataflows.stream.pipeline_timeline` of depth `RANK_DEPTH`.

    Args:
        lengths: weights of each group, each one beat.
        gap_i, gap_o: idle cycles before each beat of a port, used round and round.

    Raises:
        ValueError: no groups, a length below 1, or a negative gap.
    """
    lengths = np.ascontiguousarray(lengths, np.int64)
    if lengths.ndim != 1 or not lengths.size or lengths.min() < 1:
        raise ValueError(f"lengths must be at least one count of at least 1, but got {lengths}")
    o_cycles = np.zeros(lengths.size, np.int64)
    counts = _topn(lengths, gap_list("i", gap_i), gap_list("o", gap_o), o_cycles)
    cycles, stall_o, wait_i = (int(c) for c in counts)
    return StreamTimeline(cycles=cycles, o_cycles=o_cycles, stall_o=stall_o, wait_i=wait_i)


def _columns(x: NDArray, groups: int, lanes: int) -> NDArray:
    """[blocks * groups, s, lanes] to [groups * s, blocks * lanes]."""
    s = x.shape[1]
    blocks = x.reshape(-1, groups * s, lanes)
    return np.ascontiguousarray(blocks.transpose(1, 0, 2)).reshape(groups * s, -1)


@njit(cache=True)
def _select(weights, lengths, n, values, indices, mask):  # pragma: no cover - compiled
    groups, _, lanes = weights.shape
    order = np.zeros(n, np.int64)  # positions of the kept, in falling order of magnitude
    for g in range(groups):
        for lane in range(lanes):
            kept = 0
            for i in range(lengths[g]):
                magnitude = weights[g, i, lane] & _MAGNITUDE
                at = kept
                while at > 0 and magnitude > (weights[g, order[at - 1], lane] & _MAGNITUDE):
                    at -= 1
                if at < n:
                    kept = min(kept + 1, n)
                    for j in range(kept - 1, at, -1):
                        order[j] = order[j - 1]
                    order[at] = i
            for j in range(kept):
                mask[g, order[j], lane] = True
            slot = 0
            for i in range(lengths[g]):
                if mask[g, i, lane]:
                    values[g, slot, lane] = weights[g, i, lane]
                    indices[g, slot, lane] = i
                    slot += 1


@njit(cache=True)
def _topn(lengths, gap_i, gap_o, o_cycles):  # pragma: no cover - compiled
    groups = lengths.size
    full = valid = False  # the sorters hold a finished group; the output register holds one
    group = count = accepted = taken = stall_o = wait_i = 0
    valid_i, ready_o = gap_i[0], gap_o[0]
    t = 0
    while taken < groups:
        o_ready = t >= ready_o
        offered = group < groups and t >= valid_i
        move = full and (o_ready or not valid)
        i_ready = move or not full
        if offered and not i_ready:
            stall_o += 1
        if i_ready and not offered and group < groups:
            wait_i += 1
        if valid and o_ready:
            o_cycles[taken] = t
            taken += 1
            ready_o = t + 1 + gap_o[taken % gap_o.size]
            valid = False
        if move:
            valid = True
            full = False
        if offered and i_ready:
            accepted += 1
            valid_i = t + 1 + gap_i[accepted % gap_i.size]
            count += 1
            if count == lengths[group]:
                count = 0
                group += 1
                full = True
        t += 1
    return t, stall_o, wait_i
