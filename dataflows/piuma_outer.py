"""Outer product on the PIUMA model: the prior dataflow that stores partial products, then merges.

Work is claimed in tokens by remote fetch-add, as in V2 and V3; what favours this dataflow within
reason is assumed (`docs/piuma-model.md` lists it).

Multiply: a token is some entries of A in column order; for each entry (i, k) a segment with row k
of B, scaled, is linked to row i's list in DRAM, 12 bytes a product in posted stores of five. Merge:
a token is a row of C, or a range of columns of a long one; its segments go through a tournament of
ceil(log2 segments) levels, and the entries are stored in order. A token whose segments are longer
than a line and whose heads fit the cache beside its rivals' reads them through the cache; else each
product is read alone, at DRAM's own granularity. Loads of a token run segment by segment, which the
merge would interleave.
"""

from __future__ import annotations

# isort: off
from typing import Any

import numpy as np
from numba import njit
from hwsim.dataflows.piuma_compile import compiled
from numpy.typing import NDArray

from hwsim.dataflows.piuma_machine import (
    ACTIVE_GAUGE, ADDRESS, A_INDEX, A_READ, A_VALUE, BARRIERS, BOUNDARY, B_INDEX, B_POINTER,
    B_READ, B_VALUE, CACHE_HIT, CACHE_LATENCY, CAUSE, COMPARE, COORDINATE_BYTES, CORE, CORES,
    FAR_BARRIER, FILED, HOT_ATOMIC, K, LINE_SHIFT, MULTIPLY, PARTIAL, POINTER_BYTES, POINTER_READ,
    REGISTER, STATE, THREADS_PER_CORE, TICKS, TIME, TOKEN_SIZE, T_INDEX, T_READ, T_VALUE, T_WRITE,
    VALUE_BYTES, WAIT, WORKERS, W_BARRIER, W_DRAM, W_PIPELINE, W_REMOTE, Z, Z_WRITE,
    close_buckets, dram, file, fill, gauge, issue, pop, remote_atomic, span, store, touch, wait,
)  # fmt: skip
from hwsim.dataflows.piuma_program import (
    AGAIN, AHEAD, BEGUN, E, ENDED, EVENT, E_END, GO, INNER, KEY, LINE_INDEX, LINE_VALUE, LOAD, P,
    PARK, PH_MERGE, PH_MULTIPLY, PLACE, P_END, SINCE, SLOT, TOP, WORKER, X_COMPARE, X_ELEMENT,
    X_ENTRY, X_HEAD, X_MERGE_OUT, X_MULTIPLY, X_PARTIAL, X_ROW_STEP, X_SEARCH, X_SEGMENT, X_TOKEN,
)  # fmt: skip
# isort: on

__all__ = ["merge_tokens", "outer"]

GROUP = 5
"""Entries of 12 bytes in one posted store: what fits a line of 64."""

COLUMN, PENDING, OUT, LEVELS = range(REGISTER + 20, REGISTER + 24)
"""Registers beyond those of the hash programs, of which some are used here too."""

# Columns of a merge token.
(T_PRODUCTS, T_SEGMENTS, T_STEPS, T_PLACE, T_STRIDE, T_NNZ, T_RESULT, T_CACHED) = range(8)

(
    O_START, O_TOKEN, O_ENTRY, O_VALUE, O_POINTER, O_POINTER2, O_SEGMENT, O_LINK, O_ELEMENT,
    O_VALUE_B, O_MULTIPLY, O_FLUSH, M_START, M_TOKEN, M_SETUP, M_ELEMENT, M_READ, M_LEVELS,
    M_FLUSH, M_NEXT,
) = range(20)  # fmt: skip


@compiled
def outer(hw, row_of, column_of, segment_at, b_ptr, tokens, stop):  # pragma: no cover - compiled
    """Runs the outer product; the clock at which all is done.

    Args:
        hw: `Machine`.
        row_of, column_of: int64[nnz A], row and column of every entry of A, in column order.
        segment_at: int64[nnz A], place of its segment in the partial products.
        b_ptr: of B.
        tokens: int64[tokens, 8] of the merge, as `merge_tokens` makes them.
        stop: clock at which to give up; -1 is returned then, or -3 if nobody can go on.
    """
    par, cost, th, ring, banks = hw.par, hw.cost, hw.th, hw.ring, hw.banks
    cache, wheel, queue, cnt, net = hw.cache, hw.wheel, hw.queue, hw.cnt, hw.net
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
                close_buckets(queue, cnt, net.moved, hw.totals, now)
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
                done = fill(net, cache, c, address, th[i, CAUSE], now)
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
                    net, c, par[T_VALUE] + product_bytes * th[i, PLACE], size, T_WRITE, now
                )
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
                done = dram(net, c, par[T_INDEX] + 8 * row_of[th[i, E]], 8, T_READ, T_WRITE, now)
                t = wait(th, i, now, done, W_REMOTE)
                st = O_ELEMENT
                continue
            elif st == O_START:
                n, op, nxt = cost[X_TOKEN] + 1, EVENT, O_TOKEN
            elif st == O_TOKEN:  # event: claim
                done = remote_atomic(net, banks, c, 0, 0, now)
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
                done = remote_atomic(net, banks, c, 0, 1, now)
                cnt[HOT_ATOMIC] += 1
                t = wait(th, i, now, done, W_REMOTE)
                token = next_merge
                next_merge += 1
                if token >= len(tokens):
                    th[i, ENDED] = t
                    end = max(end, t)
                    left -= 1
                    gauge(queue, cnt, ACTIVE_GAUGE, -1, now)
                    span(hw.spans, hw.last, queue, c, th[i, WORKER], th[i, BEGUN], t, PH_MERGE, -1)
                    break
                th[i, KEY] = token
                th[i, P] = 0
                th[i, SLOT] = tokens[token, T_SEGMENTS]
                th[i, OUT], th[i, INNER], th[i, PENDING] = 0, 0, 0
                th[i, LINE_INDEX] = -1
                levels = 0
                while (1 << levels) < tokens[token, T_SEGMENTS]:
                    levels += 1
                th[i, LEVELS] = levels
                st = M_SETUP
                continue
            elif st == M_SETUP:  # a segment enters the tournament, its range is found
                if th[i, SLOT] == 0:
                    st = M_ELEMENT
                    continue
                th[i, SLOT] -= 1
                steps = tokens[th[i, KEY], T_STEPS]
                n, op, nxt = (cost[X_SEARCH] + 1) * steps + cost[X_COMPARE] + 1, GO, M_SETUP
            elif st == M_ELEMENT:
                token = th[i, KEY]
                if th[i, P] == tokens[token, T_PRODUCTS]:
                    st = M_START
                    continue
                place = tokens[token, T_PLACE] + tokens[token, T_STRIDE] * th[i, P]
                address = par[T_VALUE] + product_bytes * place
                cause = T_READ
                n, nxt = cost[X_HEAD] + 2, M_LEVELS
                if tokens[token, T_CACHED]:
                    op = LOAD
                    line = address >> par[LINE_SHIFT]
                    if th[i, LINE_INDEX] == line:
                        op = AGAIN
                    th[i, LINE_INDEX] = line
                else:
                    op, nxt = EVENT, M_READ
                    th[i, TOP] = address
            elif st == M_READ:  # event
                done = dram(net, c, th[i, TOP], product_bytes, T_READ, -1, now)
                t = wait(th, i, now, done, W_DRAM)
                st = M_LEVELS
                continue
            elif st == M_LEVELS:
                token = th[i, KEY]
                n = cost[X_COMPARE] * th[i, LEVELS] + 1
                cnt[COMPARE] += th[i, LEVELS]
                th[i, P] += 1
                th[i, INNER] += tokens[token, T_NNZ]
                op, nxt = GO, M_ELEMENT
                if th[i, INNER] >= tokens[token, T_PRODUCTS]:  # an entry of C is complete
                    th[i, INNER] -= tokens[token, T_PRODUCTS]
                    n += cost[X_MERGE_OUT] + 2
                    th[i, PENDING] += 1
                    th[i, OUT] += 1
                    if th[i, PENDING] == GROUP or th[i, OUT] == tokens[token, T_NNZ]:
                        op, nxt = EVENT, M_FLUSH
            elif st == M_FLUSH:  # event
                first = tokens[th[i, KEY], T_RESULT] + th[i, OUT] - th[i, PENDING]
                done = store(
                    net,
                    c,
                    par[Z] + product_bytes * first,
                    product_bytes * th[i, PENDING],
                    Z_WRITE,
                    now,
                )
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
                span(hw.spans, hw.last, queue, c, th[i, WORKER], 0, t, PH_MULTIPLY, -1)
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
    for channel in range(len(net.chan)):
        end = max(end, (net.chan[channel] + TICKS - 1) // TICKS)
    return end


def merge_tokens(
    a_ptr: NDArray[Any], a_idx: NDArray[Any], b_ptr: NDArray[Any], b_idx: NDArray[Any],
    places: NDArray[np.int64], z_ptr: NDArray[np.int64], limit: int, line: int, size: int,
    workers: int, cache: int,
) -> NDArray[np.int64]:  # fmt: skip
    """int64[tokens, 8]: products, segments, halving steps, place of the first product, stride,
    entries, place of the first entry, cached or not. Rows of more than `limit` products are cut
    into ranges of columns at equal shares of their products."""
    counts = np.diff(places[a_ptr])
    room = int((counts // limit + 1).sum() * 2 + len(counts))
    tokens = np.empty((room, 8), np.int64)
    count = _fill_tokens(
        a_ptr, a_idx, b_ptr, b_idx, places, z_ptr, limit, line, size, workers, cache, tokens
    )
    return tokens[:count]


@njit(cache=True)
def _fill_tokens(
    a_ptr, a_idx, b_ptr, b_idx, places, z_ptr, limit, line, size, workers, cache, tokens
):  # pragma: no cover - compiled
    count = 0
    for row in range(len(a_ptr) - 1):
        first = places[a_ptr[row]]
        products_of = places[a_ptr[row + 1]] - first
        if products_of == 0:
            continue
        segments = 0
        for e in range(a_ptr[row], a_ptr[row + 1]):
            segments += places[e + 1] > places[e]
        if products_of <= limit:
            held = min(segments * line, products_of * size) * workers
            tokens[count, 0] = products_of
            tokens[count, 1] = segments
            tokens[count, 2] = 0
            tokens[count, 3] = first
            tokens[count, 4] = 1
            tokens[count, 5] = z_ptr[row + 1] - z_ptr[row]
            tokens[count, 6] = z_ptr[row]
            tokens[count, 7] = held <= cache
            count += 1
            continue
        columns = np.empty(products_of, np.int64)
        at = 0
        for e in range(a_ptr[row], a_ptr[row + 1]):
            for p in range(b_ptr[a_idx[e]], b_ptr[a_idx[e] + 1]):
                columns[at] = b_idx[p]
                at += 1
        columns.sort()
        steps = 1
        while (1 << steps) * segments < products_of:
            steps += 1
        ranges = -(-products_of // limit)
        share = -(-products_of // ranges)
        begin = 0
        done = z_ptr[row]
        index = 0
        while begin < products_of:
            stop = min(begin + share, products_of)
            while stop < products_of and columns[stop] == columns[stop - 1]:
                stop += 1
            entries = 1
            for p in range(begin + 1, stop):
                entries += columns[p] != columns[p - 1]
            long = (stop - begin) * size >= segments * line
            tokens[count, 0] = stop - begin
            tokens[count, 1] = segments
            tokens[count, 2] = steps
            tokens[count, 3] = first + (begin if long else index)
            tokens[count, 4] = 1 if long else ranges
            tokens[count, 5] = entries
            tokens[count, 6] = done
            tokens[count, 7] = long and segments * line * workers <= cache
            count += 1
            done += entries
            begin = stop
            index += 1
    return count
