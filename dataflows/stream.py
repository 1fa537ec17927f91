"""Cycle-exact timing of stream pipelines that advance as a whole, under gaps on both sides.

A gap is what back-pressure is made of: a source offers beat i `gap` cycles after beat i - 1 was
taken, a sink is ready for beat i `gap` cycles after it took beat i - 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

__all__ = ["StreamTimeline", "gap_list", "pipeline_cycles", "pipeline_timeline"]


@dataclass(frozen=True, kw_only=True)
class StreamTimeline:
    """What happened in which cycle; cycle 0 is the first after reset.

    Attributes:
        cycles: cycles until the last result beat was taken, inclusive.
        o_cycles: int64 [beats], the cycle in which each result beat was taken.
        stall_o: cycles in which an offered input beat was refused.
        wait_i: cycles in which an input would have been taken but none was offered, up to the
            last input.
    """

    cycles: int
    o_cycles: NDArray[np.int64]
    stall_o: int
    wait_i: int


def gap_list(name: str, gaps: ArrayLike) -> NDArray[np.int64]:
    """Gaps as an array of at least one entry; an empty list is no gaps.

    Raises:
        ValueError: a negative gap.
    """
    array = np.atleast_1d(np.asarray(gaps, np.int64))
    if (array < 0).any():
        raise ValueError(f"gaps of {name} must not be negative, but got {int(array.min())}")
    return array if array.size else np.zeros(1, np.int64)


def pipeline_cycles(beats: int, depth: int) -> int:
    """Cycles of `beats` beats through `depth` registers without stalls; 0 for no beats."""
    return beats + depth if beats else 0


def pipeline_timeline(
    beats: int, depth: int, *, gap_i: ArrayLike = (), gap_o: ArrayLike = ()
) -> StreamTimeline:
    """When each beat leaves a pipeline of `depth` registers, the last behind the output.

    Args:
        beats: how many go in, at least 1; as many come out.
        depth: steps from input to output, at least 1.
        gap_i, gap_o: idle cycles before each beat of a port, used round and round.

    Raises:
        ValueError: a count below 1 or a negative gap.
    """
    for name, value in (("beats", beats), ("depth", depth)):
        if value < 1:
            raise ValueError(f"{name} >= 1 must hold, but got {value}")
    o_cycles = np.zeros(beats, np.int64)
    counts = _pipeline(depth, gap_list("i", gap_i), gap_list("o", gap_o), o_cycles)
    cycles, stall_o, wait_i = (int(c) for c in counts)
    return StreamTimeline(cycles=cycles, o_cycles=o_cycles, stall_o=stall_o, wait_i=wait_i)


@njit(cache=True)
def _pipeline(depth, gap_i, gap_o, o_cycles):  # pragma: no cover - compiled
    beats = o_cycles.size
    # valid[(now + s) % depth]: the register s steps before the output holds a beat
    valid = np.zeros(depth, np.bool_)
    now = 0
    accepted = taken = stall_o = wait_i = 0
    valid_i, ready_o = gap_i[0], gap_o[0]
    t = 0
    while taken < beats:
        o_ready = t >= ready_o
        offered = accepted < beats and t >= valid_i
        en = o_ready or not valid[now]
        if offered and not en:
            stall_o += 1
        if en and not offered and accepted < beats:
            wait_i += 1
        if valid[now] and o_ready:
            o_cycles[taken] = t
            taken += 1
            ready_o = t + 1 + gap_o[taken % gap_o.size]
        if en:
            valid[now] = offered  # what goes in is at the output `depth` steps on
            now = (now + 1) % depth
            if offered:
                accepted += 1
                valid_i = t + 1 + gap_i[accepted % gap_i.size]
        t += 1
    return t, stall_o, wait_i
