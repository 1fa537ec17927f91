"""Thread programs of the prior dataflows on the PIUMA model: outer product and inner product.

Both claim their work in tokens by remote fetch-add, like V2 and V3, and read operands through the
caches; everything that favours them within reason is assumed (`docs/piuma-model.md` lists it).

Outer product, two phases. Multiply: a token is some entries of A in column order; for each entry
(i, k) a segment with row k of B, scaled, is linked to row i's list in DRAM, 12 bytes a product in
posted stores of five. Merge: a token is a row of C, or a range of columns of a long one; its
segments go through a tournament of ceil(log2 segments) levels, and the entries are stored in order.
A token whose segments are longer than a line and whose heads fit the cache beside its rivals' reads
them through the cache; else each product is read alone, at DRAM's own granularity. Loads of a
token run segment by segment, which the merge would interleave.

Inner product: a token is one row of A against a block of columns of B, block by block, so that all
threads work on one block while it stays in the caches. Two pointers walk row and column
(`hwsim.dataflows.spgemm_inner` has the count). A token runs in bulk: its instructions at the rate
that its pipeline's threads share, its DRAM accesses at its begin, its result at its end.
"""

from __future__ import annotations

from numba import njit

from hwsim.dataflows.piuma_hash import (
    AGAIN,
    BEGUN,
    E_END,
    ENDED,
    EVENT,
    GO,
    INNER,
    KEY,
    LINE_INDEX,
    LINE_VALUE,
    LOAD,
    P_END,
    PARK,
    PLACE,
    SINCE,
    SLOT,
    TOP,
    WORKER,
    X_COMPARE,
    X_ELEMENT,
    X_ENTRY,
    X_HEAD,
    X_INTERSECT,
    X_MATCH,
    X_MERGE_OUT,
    X_MULTIPLY,
    X_PAIR,
    X_PARTIAL,
    X_RESULT,
    X_ROW_STEP,
    X_SEARCH,
    X_SEGMENT,
    X_TOKEN,
    E,
    P,
)  # fmt: skip
from hwsim.dataflows.piuma_machine import (
    A_INDEX,
    A_READ,
    A_VALUE,
    ACTIVE_GAUGE,
    ADDRESS,
    B_INDEX,
    B_POINTER,
    B_READ,
    B_VALUE,
    BARRIERS,
    BOUNDARY,
    CACHE_HIT,
    CACHE_LATENCY,
    CAUSE,
    COMPARE,
    COORDINATE_BYTES,
    CORE,
    CORES,
    DRAM_LATENCY,
    FAR_BARRIER,
    FILED,
    HOP_CYCLES,
    HOT_ATOMIC,
    INSTRUCTION,
    ISSUED,
    LINE_SHIFT,
    MULTIPLY,
    PAIR,
    PARTIAL,
    PIPE,
    POINTER_BYTES,
    POINTER_READ,
    REGISTER,
    STATE,
    STEP,
    T_INDEX,
    T_READ,
    T_VALUE,
    T_WRITE,
    THREADS_PER_CORE,
    TICKS,
    TIME,
    TOKEN_SIZE,
    VALUE_BYTES,
    W_BARRIER,
    W_DRAM,
    W_PIPELINE,
    W_REMOTE,
    WAIT,
    WORKERS,
    Z_WRITE,
    K,
    Z,
    close_buckets,
    dram,
    file,
    fill,
    gauge,
    issue,
    pop,
    remote_atomic,
    span,
    store,
    touch,
    wait,
)  # fmt: skip

__all__ = ["inner", "outer"]

PH_MULTIPLY, PH_MERGE, PH_INTERSECT = 5, 6, 7
GROUP = 5
"""Entries of 12 bytes in one posted store: what fits a line of 64."""
AHEAD = 512
"""Clocks that a thread without memory accesses may run ahead in one event."""

COLUMN, PENDING, OUT, LEVELS, FAR_READS = range(REGISTER + 18, REGISTER + 23)
"""Registers beyond those of the hash programs that are used here too (18 and 19 are free)."""

(O_START, O_TOKEN, O_ENTRY, O_VALUE, O_POINTER, O_POINTER2, O_SEGMENT, O_LINK, O_ELEMENT, O_VALUE_B,
 O_MULTIPLY, O_FLUSH, M_START, M_TOKEN, M_SETUP, M_ELEMENT, M_READ, M_LEVELS, M_FLUSH, M_NEXT,
 I_START, I_TOKEN, I_DONE) = range(23)  # fmt: skip


@njit(cache=True, _nrt=False)
def outer(
    par, cost, th, ring, banks, chan, links, routes, places, cache, wheel, queue, cnt, moved,
    totals, spans, last, row_of, column_of, segment_at, b_ptr, tok_products, tok_segments,
    tok_steps,
    tok_at, tok_stride, tok_nnz, tok_z, tok_cached, stop
):  # fmt: skip  # pragma: no cover - compiled
    """Runs the outer product; the clock at which all is done.

    Args:
        par .. last: as `hwsim.dataflows.piuma_hash.run`.
        row_of, column_of: int64[nnz A], row and column of every entry of A, in column order.
        segment_at: int64[nnz A], place of its segment in the partial products.
        b_ptr: of B.
        tok_products, tok_segments, tok_nnz: int64[tokens], of each merge token.
        tok_steps: halving steps to find a range in a segment, 0 for whole rows.
        tok_at, tok_stride: place of the first product, and from one to the next.
        tok_z: place of its first entry of the result.
        tok_cached: whether it reads through the cache.
        stop: clock at which to give up; -1 is returned then, or -3 if nobody can go on.
    """
    cores, per_core, workers = par[CORES], par[THREADS_PER_CORE], par[WORKERS]
    product_bytes = 4 + par[VALUE_BYTES]
    entries = len(column_of)
    next_token, next_merge = 0, 0
    arrived, latest = 0, 0
    left = cores * workers
    end, now = 0, 0
    levels_of_k = 0
    while (1 << levels_of_k) < par[K]:
        levels_of_k += 1
    for c in range(cores):
        for w in range(workers):
            i = c * per_core + w
            th[i, WORKER] = w
            th[i, LINE_INDEX], th[i, LINE_VALUE] = -1, -1
            th[i, COLUMN] = -1
            th[i, STATE] = O_START
            file(th, wheel, queue, i, 0, 0)
    gauge(queue, cnt, ACTIVE_GAUGE, cores * workers, 0)

    while True:
        i = pop(th, wheel, queue, now)
        if i < 0:
            if queue[FILED] == 0:
                break
            now += 1
            if now >= queue[BOUNDARY]:
                close_buckets(queue, cnt, moved, totals, now)
            if now > stop:
                return -1
            continue
        if th[i, TIME] > now:
            file(th, wheel, queue, i, th[i, TIME], now)
            continue
        t = now
        st = th[i, STATE]
        c = th[i, CORE]
        if th[i, ADDRESS] >= 0:
            address = th[i, ADDRESS]
            th[i, ADDRESS] = -1
            done = touch(par, cache, cnt, c, address, now)
            if done < 0:
                done = fill(
                    par, cache, chan, links, routes, places, cnt, moved, c, address,
                    th[i, CAUSE], now
                )  # fmt: skip
            t = wait(th, i, now, done, W_DRAM)

        while True:
            n, op, nxt, address, cause = 0, GO, st, 0, POINTER_READ
            if st == O_ELEMENT:
                if th[i, P] == th[i, P_END]:
                    th[i, E] += 1
                    st = O_ENTRY
                    continue
                n, op, nxt = cost[X_ELEMENT] + 1, LOAD, O_VALUE_B
                address = par[B_INDEX] + par[COORDINATE_BYTES] * th[i, P]
                cause = B_READ
                line = address >> par[LINE_SHIFT]
                if th[i, LINE_INDEX] == line:
                    op = AGAIN
                th[i, LINE_INDEX] = line
            elif st == O_VALUE_B:
                n, op, nxt = 1, LOAD, O_MULTIPLY
                address = par[B_VALUE] + par[VALUE_BYTES] * th[i, P]
                cause = B_READ
                line = address >> par[LINE_SHIFT]
                if th[i, LINE_VALUE] == line:
                    op = AGAIN
                th[i, LINE_VALUE] = line
            elif st == O_MULTIPLY:
                cnt[MULTIPLY] += 1
                cnt[PARTIAL] += 1
                th[i, P] += 1
                th[i, PENDING] += 1
                n = cost[X_MULTIPLY] + cost[X_PARTIAL] + 2
                if th[i, PENDING] == GROUP or th[i, P] == th[i, P_END]:
                    op, nxt = EVENT, O_FLUSH
                else:
                    op, nxt = GO, O_ELEMENT
            elif st == O_FLUSH:  # event
                size = product_bytes * th[i, PENDING]
                done = store(
                    par, chan, links, routes, places, cnt, moved, c,
                    par[T_VALUE] + product_bytes * th[i, PLACE], size, T_WRITE, now
                )  # fmt: skip
                t = wait(th, i, now, done, W_DRAM)
                th[i, PLACE] += th[i, PENDING]
                th[i, PENDING] = 0
                st = O_ELEMENT
                continue
            elif st == O_ENTRY:
                if th[i, E] == th[i, E_END]:
                    st = O_START
                    continue
                n, op, nxt = cost[X_ENTRY] + 1, LOAD, O_VALUE
                if column_of[th[i, E]] != th[i, COLUMN]:
                    n += cost[X_ROW_STEP]
                    th[i, COLUMN] = column_of[th[i, E]]
                address = par[A_INDEX] + par[COORDINATE_BYTES] * th[i, E]
                cause = A_READ
            elif st == O_VALUE:
                n, op, nxt = 1, LOAD, O_POINTER
                address = par[A_VALUE] + par[VALUE_BYTES] * th[i, E]
                cause = A_READ
            elif st == O_POINTER:
                n, op, nxt = 1, LOAD, O_POINTER2
                address = par[B_POINTER] + par[POINTER_BYTES] * th[i, COLUMN]
            elif st == O_POINTER2:
                n, op, nxt = 1, LOAD, O_SEGMENT
                address = par[B_POINTER] + par[POINTER_BYTES] * (th[i, COLUMN] + 1)
            elif st == O_SEGMENT:
                th[i, P] = b_ptr[th[i, COLUMN]]
                th[i, P_END] = b_ptr[th[i, COLUMN] + 1]
                th[i, PLACE] = segment_at[th[i, E]]
                if th[i, P] == th[i, P_END]:
                    th[i, E] += 1
                    st = O_ENTRY
                    continue
                n, op, nxt = cost[X_SEGMENT] + 1, EVENT, O_LINK
            elif st == O_LINK:  # event: the row's list head is exchanged
                done = dram(
                    par, chan, links, routes, places, cnt, moved, c,
                    par[T_INDEX] + 8 * row_of[th[i, E]], 8, T_READ, T_WRITE, now
                )  # fmt: skip
                t = wait(th, i, now, done, W_REMOTE)
                st = O_ELEMENT
                continue
            elif st == O_START:
                n, op, nxt = cost[X_TOKEN] + 1, EVENT, O_TOKEN
            elif st == O_TOKEN:  # event: claim
                done = remote_atomic(par, banks, links, routes, places, cnt, c, 0, 0, now)
                cnt[HOT_ATOMIC] += 1
                t = wait(th, i, now, done, W_REMOTE)
                th[i, E] = next_token * par[TOKEN_SIZE]
                next_token += 1
                th[i, E_END] = min(th[i, E] + par[TOKEN_SIZE], entries)
                if th[i, E] >= entries:
                    n, op, nxt = 1, PARK, M_START
                else:  # the column of its first entry
                    n, op, nxt = (cost[X_SEARCH] + 1) * levels_of_k + 1, GO, O_ENTRY

            # ---- merge
            elif st == M_START:
                n, op, nxt = cost[X_TOKEN] + 1, EVENT, M_TOKEN
            elif st == M_TOKEN:  # event: claim
                done = remote_atomic(par, banks, links, routes, places, cnt, c, 0, 1, now)
                cnt[HOT_ATOMIC] += 1
                t = wait(th, i, now, done, W_REMOTE)
                token = next_merge
                next_merge += 1
                if token >= len(tok_products):
                    th[i, ENDED] = t
                    end = max(end, t)
                    left -= 1
                    gauge(queue, cnt, ACTIVE_GAUGE, -1, now)
                    span(spans, last, queue, c, th[i, WORKER], th[i, BEGUN], t, PH_MERGE, -1)
                    break
                th[i, KEY] = token
                th[i, P] = 0
                th[i, SLOT] = tok_segments[token]
                th[i, OUT], th[i, INNER], th[i, PENDING] = 0, 0, 0
                th[i, LINE_INDEX] = -1
                levels = 0
                while (1 << levels) < tok_segments[token]:
                    levels += 1
                th[i, LEVELS] = levels
                st = M_SETUP
                continue
            elif st == M_SETUP:  # a segment enters the tournament, its range is found
                if th[i, SLOT] == 0:
                    st = M_ELEMENT
                    continue
                th[i, SLOT] -= 1
                steps = tok_steps[th[i, KEY]]
                n, op, nxt = (cost[X_SEARCH] + 1) * steps + cost[X_COMPARE] + 1, GO, M_SETUP
            elif st == M_ELEMENT:
                token = th[i, KEY]
                if th[i, P] == tok_products[token]:
                    st = M_START
                    continue
                place = tok_at[token] + tok_stride[token] * th[i, P]
                address = par[T_VALUE] + product_bytes * place
                cause = T_READ
                n, nxt = cost[X_HEAD] + 2, M_LEVELS
                if tok_cached[token]:
                    op = LOAD
                    line = address >> par[LINE_SHIFT]
                    if th[i, LINE_INDEX] == line:
                        op = AGAIN
                    th[i, LINE_INDEX] = line
                else:
                    op, nxt = EVENT, M_READ
                    th[i, TOP] = address
            elif st == M_READ:  # event
                done = dram(
                    par, chan, links, routes, places, cnt, moved, c, th[i, TOP], product_bytes,
                    T_READ, -1, now
                )  # fmt: skip
                t = wait(th, i, now, done, W_DRAM)
                st = M_LEVELS
                continue
            elif st == M_LEVELS:
                token = th[i, KEY]
                n = cost[X_COMPARE] * th[i, LEVELS] + 1
                cnt[COMPARE] += th[i, LEVELS]
                th[i, P] += 1
                th[i, INNER] += tok_nnz[token]
                op, nxt = GO, M_ELEMENT
                if th[i, INNER] >= tok_products[token]:  # an entry of C is complete
                    th[i, INNER] -= tok_products[token]
                    n += cost[X_MERGE_OUT] + 2
                    th[i, PENDING] += 1
                    th[i, OUT] += 1
                    if th[i, PENDING] == GROUP or th[i, OUT] == tok_nnz[token]:
                        op, nxt = EVENT, M_FLUSH
            elif st == M_FLUSH:  # event
                first = tok_z[th[i, KEY]] + th[i, OUT] - th[i, PENDING]
                done = store(
                    par, chan, links, routes, places, cnt, moved, c,
                    par[Z] + product_bytes * first, product_bytes * th[i, PENDING], Z_WRITE, now
                )  # fmt: skip
                t = wait(th, i, now, done, W_DRAM)
                th[i, PENDING] = 0
                st = M_ELEMENT
                continue
            else:
                return -2

            at = issue(th, ring, cnt, i, t, n)
            if op == EVENT:
                th[i, STATE] = nxt
                file(th, wheel, queue, i, at, now)
                break
            if op == LOAD:
                done = touch(par, cache, cnt, c, address, at)
                if done < 0:
                    th[i, ADDRESS] = address
                    th[i, CAUSE] = cause
                    th[i, STATE] = nxt
                    file(th, wheel, queue, i, at, now)
                    break
                t = wait(th, i, at, done, W_DRAM)
            elif op == AGAIN:
                cnt[CACHE_HIT] += 1
                t = wait(th, i, at, at + par[CACHE_LATENCY], W_DRAM)
            else:
                t = wait(th, i, at, at, W_PIPELINE)
            st = nxt
            if op == PARK:  # the barrier between the phases
                th[i, SINCE] = t
                cnt[BARRIERS] += 1
                gauge(queue, cnt, ACTIVE_GAUGE, -1, now)
                span(spans, last, queue, c, th[i, WORKER], 0, t, PH_MULTIPLY, -1)
                arrived += 1
                latest = max(latest, t)
                if arrived == cores * workers:
                    at = latest + par[FAR_BARRIER]
                    for d in range(cores):
                        for w in range(workers):
                            other = d * per_core + w
                            th[other, WAIT + W_BARRIER] += at - th[other, SINCE]
                            th[other, BEGUN] = at
                            th[other, STATE] = M_START
                            file(th, wheel, queue, other, at, now)
                    gauge(queue, cnt, ACTIVE_GAUGE, cores * workers, now)
                break
            if t > now + AHEAD:
                th[i, STATE] = st
                file(th, wheel, queue, i, t, now)
                break

    if left > 0:
        return -3
    for channel in range(len(chan)):
        end = max(end, (chan[channel] + TICKS - 1) // TICKS)
    return end


@njit(cache=True, _nrt=False)
def inner(
    par, cost, th, ring, banks, chan, links, routes, places, cache, wheel, queue, cnt, moved,
    totals, spans, last, active, a_ptr, a_idx, b_ptr, b_idx, columns_ptr, width, reach, below,
    block_pos, mark, fits, stop
):  # fmt: skip  # pragma: no cover - compiled
    """Runs the inner product; the clock at which all is done.

    Args:
        par .. last: as `hwsim.dataflows.piuma_hash.run`.
        active: int64[pipelines], threads that work on each.
        a_ptr, a_idx, b_ptr, b_idx: structure of the operands by rows.
        columns_ptr: int64[n + 1], entries before each column of B.
        width: columns in a block.
        reach, below: int64[k + 1], scratch: of the block in work, columns whose last entry is in
            row >= r, and entries in rows < r.
        block_pos: int64[k, 2], scratch: entries of each row of B in the block in work.
        mark: int64[n], scratch, all -1.
        fits: whether a block's coordinates stay in a cache while it is in work.
        stop: clock at which to give up; -1 is returned then, or -3 if nobody can go on.
    """
    cores, per_core, workers = par[CORES], par[THREADS_PER_CORE], par[WORKERS]
    m, n_columns, k = len(a_ptr) - 1, len(columns_ptr) - 1, par[K]
    coordinate = par[COORDINATE_BYTES]
    entry_bytes = 4 + par[VALUE_BYTES]
    blocks = (n_columns + width - 1) // width
    block, block_columns = -1, 0
    token = 0
    z_at = 0
    left = cores * workers
    end, now = 0, 0
    for r in range(k):
        block_pos[r, 0] = b_ptr[r]
        block_pos[r, 1] = b_ptr[r]
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
                close_buckets(queue, cnt, moved, totals, now)
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
                    par, chan, links, routes, places, cnt, moved, c,
                    par[Z] + entry_bytes * z_at, entry_bytes * th[i, OUT], Z_WRITE, now
                )  # fmt: skip
                z_at += th[i, OUT]
                t = wait(th, i, now, done, W_DRAM)
                th[i, WAIT + W_PIPELINE] += 1  # its instruction is counted among the token's
            st = I_START
        if st == I_START:
            while token < m * blocks and a_ptr[token % m] == a_ptr[token % m + 1]:
                token += 1  # an empty row is passed at once
            at = issue(th, ring, cnt, i, t, cost[X_TOKEN] + 1)
            th[i, STATE] = I_TOKEN
            file(th, wheel, queue, i, at, now)
            continue
        # ---- I_TOKEN, event: claim
        done = remote_atomic(par, banks, links, routes, places, cnt, c, 0, 0, now)
        cnt[HOT_ATOMIC] += 1
        t = wait(th, i, now, done, W_REMOTE)
        while token < m * blocks and a_ptr[token % m] == a_ptr[token % m + 1]:
            token += 1
        if token >= m * blocks:
            th[i, ENDED] = t
            end = max(end, t)
            left -= 1
            active[th[i, PIPE]] -= 1
            gauge(queue, cnt, ACTIVE_GAUGE, -1, now)
            span(spans, last, queue, c, th[i, WORKER], 0, t, PH_INTERSECT, -1)
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
                while p < b_ptr[r + 1] and b_idx[p] < highest:
                    mark[b_idx[p]] = r  # rows ascend, so the last one stays
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
        for e in range(a_ptr[row], a_ptr[row + 1]):
            r = a_idx[e]
            compares += reach[r]
            for p in range(block_pos[r, 0], block_pos[r, 1]):
                matches += 1
                if mark[b_idx[p]] != row:
                    mark[b_idx[p]] = row
                    nnz += 1
        passed = below[a_idx[a_ptr[row + 1] - 1] + 1]
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
        size = coordinate * (a_ptr[row + 1] - a_ptr[row])
        ready = dram(
            par, chan, links, routes, places, cnt, moved, c,
            par[A_INDEX] + coordinate * a_ptr[row], size, A_READ, -1, t
        )  # fmt: skip
        single = c * per_core
        if not fits or th[single, COLUMN] != block:
            th[single, COLUMN] = block
            first = columns_ptr[block * width]
            size = coordinate * (columns_ptr[min((block + 1) * width, n_columns)] - first)
            size += par[POINTER_BYTES] * width
            ready = max(ready, _stream(
                par, chan, links, routes, places, cnt, moved, c, par[B_INDEX] + coordinate * first,
                size, t
            ))  # fmt: skip
        if matches > 0:  # values of matches, 8 bytes at a time
            first = par[B_VALUE] + par[VALUE_BYTES] * b_ptr[a_idx[a_ptr[row]]]
            ready = max(ready, _stream(
                par, chan, links, routes, places, cnt, moved, c, first,
                par[VALUE_BYTES] * matches, t
            ))  # fmt: skip
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
    for channel in range(len(chan)):
        end = max(end, (chan[channel] + TICKS - 1) // TICKS)
    return end


@njit(cache=True, _nrt=False)
def _stream(
    par, chan, links, routes, places, cnt, moved, core, address, size, now
):  # pragma: no cover - compiled
    """Reads `size` bytes of B in pieces of 256; when the last one is there."""
    ready = now
    while size > 0:
        piece = min(size, 256)
        done = dram(
            par, chan, links, routes, places, cnt, moved, core, address, piece, B_READ, -1, now
        )
        ready = max(ready, done)
        address += piece
        size -= piece
    return ready
