"""Inner product on the PIUMA model: rows of A intersected with columns of B.

Work is claimed in tokens by remote fetch-add, as in V2 and V3; what favours this dataflow within
reason is assumed (`docs/piuma-model.md` lists it).

A token is one row of A against a block of columns of B, block by block, so that all threads work on
one block while it stays in the caches. Two pointers walk row and column
(`hwsim.dataflows.spgemm_inner` has the count). A token runs in bulk: its instructions at the rate
that its pipeline's threads share, its DRAM accesses at its begin, its result at its end.
"""

from __future__ import annotations

# isort: off
from hwsim.dataflows.piuma_compile import compiled

from hwsim.dataflows.piuma_machine import (
    ACTIVE_GAUGE, A_INDEX, A_READ, BOUNDARY, B_INDEX, B_READ, B_VALUE, COMPARE, COORDINATE_BYTES,
    CORE, CORES, DRAM_LATENCY, FILED, HOP_CYCLES, HOT_ATOMIC, INSTRUCTION, ISSUED, K, MULTIPLY,
    PAIR, PIPE, POINTER_BYTES, REGISTER, STATE, STEP, THREADS_PER_CORE, TICKS, TIME, VALUE_BYTES,
    WAIT, WORKERS, W_DRAM, W_PIPELINE, W_REMOTE, Z, Z_WRITE, close_buckets, dram, file, gauge,
    issue, pop, remote_atomic, span, store, wait,
)  # fmt: skip
from hwsim.dataflows.piuma_program import (
    ENDED, PH_INTERSECT, WORKER, X_INTERSECT, X_MATCH, X_PAIR, X_RESULT, X_TOKEN,
)  # fmt: skip
# isort: on

__all__ = ["inner"]

COLUMN, OUT = range(REGISTER + 20, REGISTER + 22)
"""Registers beyond those of the hash programs."""

I_START, I_TOKEN, I_DONE = range(3)


@compiled
def inner(
    hw, active, a, b, columns_ptr, width, reach, below, block_pos, mark, fits, stop
):  # pragma: no cover - compiled
    """Runs the inner product; the clock at which all is done.

    Args:
        hw: `Machine`.
        active: int64[pipelines], threads that work on each.
        a, b: `Matrix`.
        columns_ptr: int64[n + 1], entries before each column of B.
        width: columns in a block.
        reach, below: int64[k + 1], scratch: of the block in work, columns whose last entry is in
            row >= r, and entries in rows < r.
        block_pos: int64[k, 2], scratch: entries of each row of B in the block in work.
        mark: int64[n], scratch, all -1.
        fits: whether a block's coordinates stay in a cache while it is in work.
        stop: clock at which to give up; -1 is returned then, or -3 if nobody can go on.
    """
    par, cost, th, ring, banks = hw.par, hw.cost, hw.th, hw.ring, hw.banks
    wheel, queue, cnt, net = hw.wheel, hw.queue, hw.cnt, hw.net
    cores, per_core, workers = par[CORES], par[THREADS_PER_CORE], par[WORKERS]
    m, n_columns, k = len(a.ptr) - 1, len(columns_ptr) - 1, par[K]
    coordinate = par[COORDINATE_BYTES]
    entry_bytes = 4 + par[VALUE_BYTES]
    blocks = (n_columns + width - 1) // width
    block, block_columns = -1, 0
    token = 0
    z_at = 0
    left = cores * workers
    end, now = 0, 0
    for r in range(k):
        block_pos[r, 0] = b.ptr[r]
        block_pos[r, 1] = b.ptr[r]
    for c in range(cores):
        for w in range(workers):
            i = c * per_core + w
            th[i, WORKER] = w
            th[i, COLUMN] = -1
            th[i, STATE] = I_START
            active[th[i, PIPE]] += 1
            file(th, wheel, queue, i, 0, 0)
    gauge(queue, cnt, ACTIVE_GAUGE, cores * workers, 0)

    while True:
        i = pop(th, wheel, queue, now)
        if i < 0:
            if queue[FILED] == 0:
                break
            now += 1
            if now >= queue[BOUNDARY]:
                close_buckets(queue, cnt, net.moved, hw.totals, now)
            if now > stop:
                return -1
            continue
        if th[i, TIME] > now:
            file(th, wheel, queue, i, th[i, TIME], now)
            continue
        st = th[i, STATE]
        c = th[i, CORE]
        t = now
        if st == I_DONE:  # event: the result leaves
            if th[i, OUT] > 0:
                done = store(
                    net, c, par[Z] + entry_bytes * z_at, entry_bytes * th[i, OUT], Z_WRITE, now
                )
                z_at += th[i, OUT]
                t = wait(th, i, now, done, W_DRAM)
                th[i, WAIT + W_PIPELINE] += 1  # its instruction is counted among the token's
            st = I_START
        if st == I_START:
            at = issue(th, ring, cnt, i, t, cost[X_TOKEN] + 1)
            th[i, STATE] = I_TOKEN
            file(th, wheel, queue, i, at, now)
            continue
        # ---- I_TOKEN, event: claim
        done = remote_atomic(net, banks, c, 0, 0, now)
        cnt[HOT_ATOMIC] += 1
        t = wait(th, i, now, done, W_REMOTE)
        while token < m * blocks and a.ptr[token % m] == a.ptr[token % m + 1]:
            token += 1  # an empty row is passed at once
        if token >= m * blocks:
            th[i, ENDED] = t
            end = max(end, t)
            left -= 1
            active[th[i, PIPE]] -= 1
            gauge(queue, cnt, ACTIVE_GAUGE, -1, now)
            span(hw.spans, hw.last, queue, c, th[i, WORKER], 0, t, PH_INTERSECT, -1)
            continue
        row = token % m
        if token // m != block:  # a new block: its columns' reach, its entries by row
            block = token // m
            lowest, highest = block * width, min((block + 1) * width, n_columns)
            for r in range(k + 1):
                reach[r] = 0
                below[r] = 0
            block_columns = 0
            for j in range(lowest, highest):
                mark[j] = -1
                if columns_ptr[j + 1] > columns_ptr[j]:
                    block_columns += 1
            for r in range(k):
                p = block_pos[r, 1]
                block_pos[r, 0] = p
                while p < b.ptr[r + 1] and b.idx[p] < highest:
                    mark[b.idx[p]] = r  # rows ascend, so the last one stays
                    p += 1
                block_pos[r, 1] = p
                below[r + 1] = below[r] + p - block_pos[r, 0]
            for j in range(lowest, highest):
                if mark[j] >= 0:
                    reach[mark[j]] += 1
                mark[j] = -1
            for r in range(k - 1, -1, -1):
                reach[r] += reach[r + 1]
        token += 1
        compares, matches, nnz = 0, 0, 0
        for e in range(a.ptr[row], a.ptr[row + 1]):
            r = a.idx[e]
            compares += reach[r]
            for p in range(block_pos[r, 0], block_pos[r, 1]):
                matches += 1
                if mark[b.idx[p]] != row:
                    mark[b.idx[p]] = row
                    nnz += 1
        passed = below[a.idx[a.ptr[row + 1] - 1] + 1]
        compares += passed - matches
        cnt[PAIR] += block_columns
        cnt[COMPARE] += compares
        cnt[MULTIPLY] += matches
        instructions = (
            block_columns * (cost[X_PAIR] + 2)
            + compares * (cost[X_INTERSECT] + 1)
            + matches * (cost[X_MATCH] + 2)
            + nnz * (cost[X_RESULT] + 2)
            + 1
        )
        # Coordinates: the row's, and the block's unless this core has it already.
        size = coordinate * (a.ptr[row + 1] - a.ptr[row])
        ready = dram(net, c, par[A_INDEX] + coordinate * a.ptr[row], size, A_READ, -1, t)
        single = c * per_core
        if not fits or th[single, COLUMN] != block:
            th[single, COLUMN] = block
            first = columns_ptr[block * width]
            size = coordinate * (columns_ptr[min((block + 1) * width, n_columns)] - first)
            size += par[POINTER_BYTES] * width
            ready = max(ready, _stream(net, c, par[B_INDEX] + coordinate * first, size, t))
        if matches > 0:  # values of matches, 8 bytes at a time
            first = par[B_VALUE] + par[VALUE_BYTES] * b.ptr[a.idx[a.ptr[row]]]
            ready = max(ready, _stream(net, c, first, par[VALUE_BYTES] * matches, t))
        rate = max(th[i, STEP], active[th[i, PIPE]])
        stall = matches * (par[DRAM_LATENCY] + 4 * par[HOP_CYCLES])
        working = t + instructions * rate + stall
        finish = max(working, ready)
        th[i, ISSUED] += instructions
        cnt[INSTRUCTION] += instructions
        th[i, WAIT + W_PIPELINE] += instructions * (rate - 1)
        th[i, WAIT + W_DRAM] += stall + finish - working
        th[i, OUT] = nnz
        th[i, STATE] = I_DONE
        file(th, wheel, queue, i, finish, now)

    if left > 0:
        return -3
    for channel in range(len(net.chan)):
        end = max(end, (net.chan[channel] + TICKS - 1) // TICKS)
    return end


@compiled
def _stream(net, core, address, size, now):  # pragma: no cover - compiled
    """Reads `size` bytes of B in pieces of 256; when the last one is there."""
    ready = now
    while size > 0:
        piece = min(size, 256)
        ready = max(ready, dram(net, core, address, piece, B_READ, -1, now))
        address += piece
        size -= piece
    return ready
