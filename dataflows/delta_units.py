"""Cycle-exact timing of the delta engine's units by themselves, under gaps on both sides.

The encoder with its detector gives as many words as its input has events; the output pass and the
gate unit give one word for each window of words. Whole engines are `hwsim.dataflows.delta_sim`.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from hwsim.dataflows.stream import StreamTimeline, gap_list

__all__ = ["scanner_timeline", "window_timeline"]


def scanner_timeline(
    counts: NDArray[np.int64], *, gap_i: ArrayLike = (), gap_o: ArrayLike = ()
) -> StreamTimeline:
    """When each event of a layer's scanner is taken.

    Args:
        counts: int64 [words], events of each word of the scan; the last must have one.
        gap_i, gap_o: idle cycles before each word and each event, used round and round.

    Raises:
        ValueError: no event in the last word, or a negative gap.
    """
    counts = np.ascontiguousarray(counts, np.int64)
    if counts.ndim != 1 or not counts.size or counts[-1] < 1:
        raise ValueError(f"counts must end with a word that has an event, but got {counts}")
    o_cycles = np.zeros(int(counts.sum()), np.int64)
    tallies = _scanner(counts, gap_list("i", gap_i), gap_list("o", gap_o), o_cycles)
    cycles, stall_o, wait_i = (int(c) for c in tallies)
    return StreamTimeline(cycles=cycles, o_cycles=o_cycles, stall_o=stall_o, wait_i=wait_i)


def window_timeline(
    windows: int, window: int, depth: int, *, gap_i: ArrayLike = (), gap_o: ArrayLike = ()
) -> StreamTimeline:
    """When each result of a lockstep pipeline is taken that gives one for `window` words.

    Args:
        windows: results, at least 1.
        window: words of each, at least 1.
        depth: steps from a window's last word to its result, at least 1.
        gap_i, gap_o: idle cycles before each word of a port, used round and round.

    Raises:
        ValueError: a count below 1 or a negative gap.
    """
    for name, value in (("windows", windows), ("window", window), ("depth", depth)):
        if value < 1:
            raise ValueError(f"{name} >= 1 must hold, but got {value}")
    o_cycles = np.zeros(windows, np.int64)
    tallies = _window(window, depth, gap_list("i", gap_i), gap_list("o", gap_o), o_cycles)
    cycles, stall_o, wait_i = (int(c) for c in tallies)
    return StreamTimeline(cycles=cycles, o_cycles=o_cycles, stall_o=stall_o, wait_i=wait_i)


@njit(cache=True)
def _scanner(counts, gap_i, gap_o, o_cycles):  # pragma: no cover - compiled
    valid1 = valid2 = False
    ahead = left = 0  # events of the word in the first and second stage
    accepted = taken = stall_o = wait_i = 0
    valid_i, ready_o = gap_i[0], gap_o[0]
    t = 0
    while taken < o_cycles.size:
        o_ready = t >= ready_o
        offered = accepted < counts.size and t >= valid_i
        step = not valid2 or left == 0 or (left == 1 and o_ready)
        ready = step and t > 0  # the first cycle sets the counters
        if offered and not ready:
            stall_o += 1
        if ready and not offered and accepted < counts.size:
            wait_i += 1
        if valid2 and left > 0 and o_ready:
            o_cycles[taken] = t
            taken += 1
            ready_o = t + 1 + gap_o[taken % gap_o.size]
            left -= 1
        if step:
            valid2, left = valid1, ahead
            valid1, ahead = False, 0
        if offered and ready:
            valid1, ahead = True, counts[accepted]
            accepted += 1
            valid_i = t + 1 + gap_i[accepted % gap_i.size]
        t += 1
    return t, stall_o, wait_i


@njit(cache=True)
def _window(window, depth, gap_i, gap_o, o_cycles):  # pragma: no cover - compiled
    total = o_cycles.size * window
    # valid[(now + s) % depth]: the register s steps before the output holds a result
    valid = np.zeros(depth, np.bool_)
    now = 0
    accepted = taken = stall_o = wait_i = 0
    valid_i, ready_o = gap_i[0], gap_o[0]
    t = 0
    while taken < o_cycles.size:
        o_ready = t >= ready_o
        offered = accepted < total and t >= valid_i
        step = o_ready or not valid[now]
        if offered and not step:
            stall_o += 1
        if step and not offered and accepted < total:
            wait_i += 1
        if valid[now] and o_ready:
            o_cycles[taken] = t
            taken += 1
            ready_o = t + 1 + gap_o[taken % gap_o.size]
        if step:
            if offered:
                accepted += 1
                valid_i = t + 1 + gap_i[accepted % gap_i.size]
            valid[now] = offered and accepted % window == 0
            now = (now + 1) % depth
        t += 1
    return t, stall_o, wait_i
