"""The phase loop: a layer's buffer tiles one after the other, loads and stores behind the compute.

All three on-chip memories are double-buffered. While the array works on a tile, DRAM brings the
next one's operands and takes the last one's results; a phase lasts as long as the slower of the
two. What the array waits beyond its own cycles is `stall_dram`; before the first tile is on chip
it is `fill`; after the last step it is `drain` (the array's tail and the last store). So the parts
sum to the layer's cycles, always.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hwsim.dataflows.stce import OS, WS
from hwsim.memory import (
    a_bytes,
    b_bytes,
    b_reduced,
    dram_cycles,
    input_bytes,
    out_bytes,
    run_bytes,
    side_bytes,
)

__all__ = ["ARRAY_FIELDS", "ROW_FIELDS", "layer_phases", "search"]

PLAIN = 2
"""Mode of the plain systolic array, whose cycles are those of its closed form for a whole product;
here they are only spread over the product's buffer tiles, in proportion to their MACs."""

ARRAY_FIELDS = (
    "mode", "rows", "cols", "psum_depth", "n_keep", "m_block", "index_bits", "dense",
    "tile_cols", "slot_steps", "drain_slots", "fold_steps", "sore_lanes",
)  # fmt: skip
"""What an `array` argument holds, all integers; four of the last as in `ArrayShape`."""

ROW_FIELDS = (
    "compute", "stall_dram", "fill", "drain", "dram_read", "dram_write", "phases", "jobs",
    "sore_wait", "sore_elements", "sore_busy",
)  # fmt: skip
"""What `layer_phases` returns, all integers. `sore_wait`: what phases last longer because the
selector reduces B on its way in; in no other part."""


@njit(cache=True)
def _slots(k, n_keep, m_block, dense):  # pragma: no cover - compiled
    return k if dense else -(-k // m_block) * n_keep


@njit(cache=True)
def _weight_bytes(k, n, array, size):  # pragma: no cover - compiled
    """A tile of B with its indices, bytes."""
    slots = _slots(k, array[4], array[5], array[7])
    bits = 0 if array[7] else array[6]
    return slots * n * size + -(-slots * n * bits // 8)


@njit(cache=True)
def _compute(m, n, k, first_k, array):  # pragma: no cover - compiled
    """(cycles, jobs) of one buffer tile on the sparse array, as `hwsim.dataflows.stce`.

    A tile of k that continues a unit tile (`first_k` False) adds steps to a job under way.
    """
    mode, rows, cols, depth = array[0], array[1], array[2], array[3]
    slots = _slots(k, array[4], array[5], array[7])
    if mode == OS:
        tile_cols, slot_steps, drain_slots = array[8], array[9], array[10]
        tiles = -(-m // rows) * -(-n // tile_cols)
        if not first_k:
            return tiles * slots * slot_steps, 0
        return 1 + tiles * max(slots, drain_slots) * slot_steps, 1
    column_tiles, fold_steps = -(-n // cols), array[11]
    folds = -(-slots // rows)
    whole, rest = m // depth, m % depth
    total, jobs = 0, 0
    start = 1 + rows + 1 if first_k else 0
    if whole:
        total += start + whole * column_tiles * folds * max(depth, fold_steps)
        jobs += 1
    if rest:
        total += start + column_tiles * folds * max(rest, fold_steps)
        jobs += 1
    return total, jobs if first_k else 0


@njit(cache=True)
def layer_phases(
    m, n, k, count, shared, geometry, array, tile, dram, size, tail, plain
):  # pragma: no cover - compiled
    """The parts of a layer's cycles and its traffic, `ROW_FIELDS`.

    Args:
        m, n, k, count, shared: the products, as in `Gemm`.
        geometry: of `geometry_array`.
        array: `ARRAY_FIELDS`.
        tile: (tm, tn, tk, order), order 0 with m outside n, 1 with n outside m.
        dram: (bytes a cycle, channels, latency, burst), float64.
        size: bytes of an operand.
        tail: cycles from the last step to the last result.
        plain: cycles of one whole product where `array` is `PLAIN`.
    """
    tm, tn, tk, order = tile[0], tile[1], tile[2], tile[3]
    bandwidth, channels, latency = dram[0], int(dram[1]), int(dram[2])
    burst = int(dram[3])
    m_tiles, n_tiles, k_tiles = -(-m // tm), -(-n // tn), -(-k // tk)
    outer, inner = (m_tiles, n_tiles) if order == 0 else (n_tiles, m_tiles)

    compute = stall = read = written = phases = jobs = fill = 0
    sore_wait = sore_elements = sore_busy = 0
    before = 0  # array cycles of the phase that this tile's loads run behind
    leaving = 0  # bytes that the tile before the last one leaves to be stored in that phase
    finished = 0  # bytes that the last tile leaves
    a_m = a_k = b_n = b_k = -1  # the tiles of A and B on chip
    for _ in range(count):
        a_m = -1
        if not shared:
            b_n = -1
        macs = spread = 0  # of this product so far, and the plain cycles given to them
        for i in range(outer):
            for j in range(inner):
                mi, ni = (i, j) if order == 0 else (j, i)
                m0, m1 = mi * tm, min(m, (mi + 1) * tm)
                wide = min(n, (ni + 1) * tn) - ni * tn
                for ki in range(k_tiles):
                    deep = min(k, (ki + 1) * tk) - ki * tk
                    load = reducing = 0
                    if mi != a_m or ki != a_k:
                        runs, amount = a_bytes(geometry, m, k, m0, m1, ki * tk, deep, size)
                        load += run_bytes(runs, amount, burst)
                        a_m, a_k = mi, ki
                    if ni != b_n or ki != b_k:
                        compact = _weight_bytes(deep, wide, array, size)
                        n0 = ni * tn
                        runs, amount = b_bytes(
                            geometry, n, k, n0, n0 + wide, ki * tk, deep, size, compact
                        )
                        load += run_bytes(runs, amount, burst)
                        elements, reducing = b_reduced(
                            geometry, runs, amount, size, deep, wide, array[12]
                        )
                        sore_elements += elements
                        sore_busy += reducing
                        b_n, b_k = ni, ki
                    if ki == k_tiles - 1:
                        load += side_bytes(geometry, m1 - m0, wide, n, burst)
                    steps, started = 0, 0
                    if array[0] != PLAIN:
                        steps, started = _compute(m1 - m0, wide, deep, ki == 0, array)
                    else:
                        macs += (m1 - m0) * wide * deep
                        until = plain if macs == m * n * k else int(plain * (macs / (m * n * k)))
                        steps, spread = until - spread, until
                    busy = dram_cycles(load + leaving, bandwidth, channels, latency, burst)
                    if phases == 0:
                        fill = busy
                        sore_wait = max(0, reducing - busy)
                    else:
                        stall += max(0, busy - before)
                        sore_wait += max(0, reducing - max(busy, before))
                    read += load
                    written += leaving
                    leaving, finished = finished, 0
                    if ki == k_tiles - 1:
                        finished = out_bytes(geometry, m1 - m0, wide, n, size, burst)
                    compute += steps
                    before = steps
                    phases += 1
                    jobs += started
    busy = dram_cycles(leaving, bandwidth, channels, latency, burst)
    stall += max(0, busy - before)
    written += leaving + finished
    drain = tail + dram_cycles(finished, bandwidth, channels, latency, burst)
    return np.array(
        [
            compute, stall, fill, drain, read, written, phases, jobs, sore_wait, sore_elements,
            sore_busy,
        ],
        np.int64,
    )  # fmt: skip


@njit(cache=True)
def search(
    m, n, k, count, shared, geometry, array, dram, size, accumulator, halves, unit_m, unit_n,
    step_k, plain
):  # fmt: skip  # pragma: no cover - compiled
    """The tile (tm, tn, tk, order): of those within 1 % of the fewest estimated cycles, the one
    with the least traffic, because energy is spent on traffic long before cycles are.

    tm and tn go through the unit tile times powers of two and the whole axis. k stays whole where
    it fits; a chunked k streams through one unit tile of outputs, whose sums stay in the array.
    Where a weight-stationary unit tile does not fit, its m is halved until one does or it is no
    taller than the array; an output-stationary one gives up interleaved column tiles. Returns
    tm = 0 if nothing fits, with the memory that is too small for the smallest tile (0 input,
    1 weight, 2 output) in tn.

    Args:
        halves: half of the input, weight and output buffer, bytes.
        unit_m, unit_n: outputs that the array keeps at once.
        step_k: what a chunk of k is a multiple of.
        plain: as in `layer_phases`.
    """
    start_m, start_n = min(unit_m, m), min(unit_n, n)
    while True:
        best = _search_from(
            start_m, start_n, m, n, k, count, shared, geometry, array, dram, size, accumulator,
            halves, unit_m, unit_n, step_k, plain,
        )  # fmt: skip
        if best[0]:
            return best
        if array[0] == WS and start_m > array[1]:
            start_m = max(array[1], start_m // 2)
        elif array[0] == OS and start_n > array[2]:
            start_n = max(array[2], start_n // 2)
        else:
            return best


@njit(cache=True)
def _search_from(
    start_m, start_n, m, n, k, count, shared, geometry, array, dram, size, accumulator, halves,
    unit_m, unit_n, step_k, plain
):  # fmt: skip  # pragma: no cover - compiled
    """`search` over the tiles of at least `start_m` rows and `start_n` columns."""
    best = np.zeros(4, np.int64)
    limit, chosen_cycles, chosen_traffic = -1, -1, -1
    blocker = -1  # of the first, smallest tile
    for second in range(2):
        tm = start_m
        while True:
            tn = start_n
            whole_k = _a_fits(geometry, m, k, tm, k, size, halves[0])
            while True:
                tk, blocked = _fitting_k(
                    tm, tn, m, n, k, whole_k, geometry, array, size, accumulator, halves, unit_m,
                    unit_n, step_k,
                )  # fmt: skip
                if tk == 0:
                    blocker = blocked if blocker < 0 else blocker
                else:
                    for order in range(2):
                        cycles, traffic = _estimate(
                            m, n, k, count, shared, geometry, array, tm, tn, tk, order, dram,
                            size, plain,
                        )  # fmt: skip
                        if not second:
                            if limit < 0 or cycles < limit:
                                limit = cycles
                            continue
                        if cycles * 100 > limit * 101:
                            continue
                        better = chosen_traffic < 0 or traffic < chosen_traffic
                        if better or (traffic == chosen_traffic and cycles < chosen_cycles):
                            chosen_cycles, chosen_traffic = cycles, traffic
                            best[0], best[1], best[2], best[3] = tm, tn, tk, order
                if tn >= n:
                    break
                tn = min(n, tn * 2)
            if tm >= m:
                break
            tm = min(m, tm * 2)
        if limit < 0:
            best[1] = blocker
            break
    return best


@njit(cache=True)
def _fitting_k(
    tm, tn, m, n, k, whole_k, geometry, array, size, accumulator, halves, unit_m, unit_n, step_k
):  # pragma: no cover - compiled
    """(the longest k of a tile that fits, 0), or (0, the memory that is too small).

    `whole_k`: A's tile fits with all of k; the same for every tn, so found by the caller.
    """
    tk = k
    while True:
        fits = whole_k if tk == k else _a_fits(geometry, m, k, tm, tk, size, halves[0])
        if not fits:
            blocker = 0
        elif not _b_fits(geometry, n, k, tn, tk, array, size, halves[1]):
            blocker = 1
        elif tm * tn * accumulator > halves[2]:
            return 0, 2
        else:
            return tk, 0
        if tm > unit_m or tn > unit_n or tk <= step_k:
            return 0, blocker
        tk = max(step_k, -(-(tk // 2) // step_k) * step_k)


@njit(cache=True)
def _a_fits(geometry, m, k, tm, tk, size, half):  # pragma: no cover - compiled
    """Whether every tile of A fits `half` bytes."""
    role = geometry[14]
    if role == 0:
        return _input_fits(geometry, m, tm, tk, k, size, half)
    if role == 1 and geometry[0] != 0:
        return _input_fits(geometry, k, tk, tm, m, size, half)
    return tm * tk * size <= half


@njit(cache=True)
def _b_fits(geometry, n, k, tn, tk, array, size, half):  # pragma: no cover - compiled
    """Whether every tile of B fits `half` bytes; what is reduced is held compact."""
    role = geometry[14]
    if role == 2 and geometry[0] != 0:
        return _input_fits(geometry, k, tk, tn, n, size, half)
    if role == 3 and geometry[0] != 0:
        return _input_fits(geometry, n, tn, tk, k, size, half)
    return _weight_bytes(tk, tn, array, size) <= half


@njit(cache=True)
def _input_fits(geometry, m, tm, tk, k, size, half):  # pragma: no cover - compiled
    """Whether every gathered tile of tm of m positions and tk of k taps fits `half` bytes.

    A tile's bytes depend on where in the output map it starts, and these places repeat.
    """
    places = 1
    if geometry[0] != 0:
        plane = geometry[12] * geometry[13]
        common, rest = tm, plane
        while rest:
            common, rest = rest, common % rest
        places = min(-(-m // tm), plane // common)
    for place in range(places):
        at = place * tm
        runs, amount = input_bytes(geometry, at, min(m, at + tm), tk, k, size)
        if runs * amount > half:
            return False
    return True


@njit(cache=True)
def _estimate(
    m, n, k, count, shared, geometry, array, tm, tn, tk, order, dram, size, plain
):  # pragma: no cover - compiled
    """(cycles, traffic) of a tiling from one inner tile, without walking the phases."""
    burst = int(dram[3])
    m_tiles, n_tiles, k_tiles = -(-m // tm), -(-n // tn), -(-k // tk)
    m0 = max(0, min((m_tiles // 2) * tm, m - tm))
    n0 = max(0, min((n_tiles // 2) * tn, n - tn))
    k0 = max(0, min((k_tiles // 2) * tk, k - tk))
    runs, amount = a_bytes(geometry, m, k, m0, min(m, m0 + tm), k0, tk, size)
    a_tile = run_bytes(runs, amount, burst)
    compact = _weight_bytes(tk, tn, array, size)
    runs, amount = b_bytes(geometry, n, k, n0, min(n, n0 + tn), k0, tk, size, compact)
    b_tile = run_bytes(runs, amount, burst)
    _, reducing = b_reduced(geometry, runs, amount, size, tk, tn, array[12])
    tiles = m_tiles * n_tiles * k_tiles
    a_loads = b_loads = tiles
    if k_tiles == 1:
        if order == 0:
            a_loads = m_tiles
            b_loads = n_tiles if n_tiles == 1 else tiles
        else:
            b_loads = n_tiles
            a_loads = m_tiles if m_tiles == 1 else tiles
    b_all = count if not (shared and n_tiles == 1 and k_tiles == 1) else 1
    if tn == n:
        z_all = out_bytes(geometry, m, n, n, size, burst) + side_bytes(geometry, m, n, n, burst)
    else:
        z_all = n_tiles * (
            out_bytes(geometry, m, tn, n, size, burst) + side_bytes(geometry, m, tn, n, burst)
        )
    traffic = count * (a_loads * a_tile + z_all) + b_all * b_loads * b_tile
    moving = dram_cycles(traffic, dram[0], int(dram[1]), 0, burst)
    moving += count * tiles * int(dram[2])
    moving = max(moving, b_all * b_loads * reducing)
    compute = plain * count
    if array[0] != PLAIN:
        steps, _ = _compute(tm, tn, tk, True, array)
        if k_tiles > 1:
            more, _ = _compute(tm, tn, tk, False, array)
            compute = (steps + (k_tiles - 1) * more) * count * m_tiles * n_tiles
        else:
            compute = steps * count * tiles
    first = dram_cycles(a_tile + b_tile, dram[0], int(dram[1]), int(dram[2]), burst)
    last = dram_cycles(
        out_bytes(geometry, tm, tn, tn, size, burst), dram[0], int(dram[1]), int(dram[2]), burst
    )
    return max(compute, moving) + first + last, traffic
