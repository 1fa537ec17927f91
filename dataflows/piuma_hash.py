"""Thread programs of the atomic-hashing kernels V1, V2 and V3 on the PIUMA model.

One loop takes the next event and runs its thread until the thread meets something that must happen
at an event of its own (`hwsim.dataflows.piuma_machine`). The four mechanisms of the kernels are
parameters: static or claimed work, high or low hash bits, fused or offset table, scan or DMA.

    distribution  every row's bound: sum over its entries of nnz(B[k,:]), at most the columns of B;
                  then a single-thread pipeline of each core cuts its share of the rows into windows
    hashing       a core takes a window; its threads take rows or tokens of entries of A, walk the
                  rows of B, and for every product claim the key's slot by compare-exchange and
                  merge by fetch-add; linear probing
    write-back    scan: threads look at every slot and store what they find; copy: threads store the
                  dense arrays; DMA: the engine does, while the next window is hashed

Offset table: the thread that claims a key takes the next place of the dense arrays by fetch-add,
stores column and value there and then publishes the offset; who finds the key before waits for it.

A window of one row whose bound exceeds the entries of a table keeps its table in DRAM, tag and
value side by side; every probe and merge is then an atomic at the memory controller.

Keys are (row in window << column bits) | column; tags are stored as key + 1, offsets as offset + 1,
so that zero means empty. Low hash: the low bits of the key times an odd constant, which spreads
them. High hash: the table is dealt out to the window's rows in proportion to their bounds, and the
high bits of the column pick the place in the row's slice, so the table is nearly sorted and columns
that are near each other collide.
"""

from __future__ import annotations

# isort: off
from hwsim.dataflows.piuma_compile import compiled

from hwsim.dataflows.piuma_machine import (
    ACCUMULATE, ACTIVE_GAUGE, ADDRESS, ATOMIC_CYCLES, A_INDEX, A_POINTER, A_READ, A_VALUE,
    BOUNDARY, B_INDEX, B_POINTER, B_READ, B_VALUE, CACHE_HIT, CACHE_LATENCY, CAUSE, COLUMN_BITS,
    COORDINATE_BYTES, CORE, CORES, END, ENTRY_GAUGE, FILED, FLOAT_ADD_CYCLES, HIGH, HOT_ATOMIC,
    INSERT, LEFT, LINE_SHIFT, MULTIPLY, OFFSET, POINTER_BYTES, POINTER_READ, PROBE, SCRATCHPAD,
    SLOTS, SPIN, STATE, STATIC, TABLE_READ, TABLE_WRITE, THREADS_PER_CORE, TICKS, TIME,
    VALUE_BYTES, WORKERS, W_ATOMIC, W_DRAM, W_PIPELINE, W_SCRATCHPAD, access, atomic,
    close_buckets, dram, file, fill, gauge, issue, pop, prefetch, touch, wait,
)  # fmt: skip
from hwsim.dataflows.piuma_program import (
    AGAIN, C_BASE, C_COUNT, C_E, C_E_END, C_FAR, C_FAR_AT, C_ROW, C_ROW_END, C_SLOTS, C_TOKEN,
    C_TOKEN_SIZE, C_Z, D_START, E, EVENT, E_END, FIRST, GO, H_ADD, H_CAS, H_COUNT, H_ELEMENT,
    H_ELEMENTS, H_ENTRY, H_FOUND, H_MATCH, H_MULTIPLY, H_POINTER, H_POINTER2, H_PUBLISH, H_ROW,
    H_ROW2, H_ROW3, H_SEARCH, H_SPIN, H_START, H_STEP, H_TOKEN, H_VALUE, H_VALUE_B, INNER, KEY,
    LINE_INDEX, LINE_VALUE, LOAD, LOW, L_EMPTY, NEXT_STATE, P, PARK, PLACE, PLAIN, P_END, ROW,
    ROW_END, SLICE, SLOT, SPREAD, STOP, TAGS, TOP, WALK, WORD_COUNT, WORD_ROWS, WORD_TOKEN,
    WORKER, X_ACCUMULATE, X_ELEMENT, X_ENTRY, X_HASH, X_INSERT, X_MULTIPLY, X_NEXT, X_NEXT_SLOT,
    X_OFFSET, X_PROBE, X_ROW, X_ROW_STEP, X_SEARCH, X_TOKEN,
)  # fmt: skip
from hwsim.dataflows.piuma_distribution import distribute
from hwsim.dataflows.piuma_leader import engine, lead, park
from hwsim.dataflows.piuma_write_back import write_back
# isort: on

__all__ = ["run"]


@compiled
def run(hw, a, b, work, stop):  # pragma: no cover - compiled
    """Runs a hash kernel; the clock at which the last thread, engine and channel are done.

    Args:
        hw: `Machine`.
        a, b: `Matrix`.
        work: `Work`.
        stop: clock at which to give up; -1 is returned then, or -3 if nobody can go on.
    """
    par, cost, th, core, ring, banks = hw.par, hw.cost, hw.th, hw.core, hw.ring, hw.banks
    cache, wheel, queue, cnt, net = hw.cache, hw.wheel, hw.queue, hw.cnt, hw.net
    cores, per_core, workers = par[CORES], par[THREADS_PER_CORE], par[WORKERS]
    static, high, offsets = par[STATIC], par[HIGH], par[OFFSET]
    value_at = work.table_v.shape[1] // 2
    bits, slots = par[COLUMN_BITS], par[SLOTS]
    queue[LEFT] = cores * workers + cores
    now = 0
    for c in range(cores):
        for w in range(workers):
            i = c * per_core + w
            th[i, WORKER] = w
            th[i, ROW], th[i, LINE_INDEX], th[i, LINE_VALUE] = -1, -1, -1
            th[i, STATE] = D_START
            file(th, wheel, queue, i, 0, 0)
        th[c * per_core + workers, WORKER] = -1
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
        if th[i, ADDRESS] >= 0:  # a load that may miss
            address = th[i, ADDRESS]
            th[i, ADDRESS] = -1
            done = touch(par, cache, cnt, c, address, now)
            if done < 0:
                done = fill(net, cache, c, address, th[i, CAUSE], now)
            t = wait(th, i, now, done, W_DRAM)

        while True:
            n, op, nxt, address, cause = 0, GO, st, 0, POINTER_READ

            # ---- hashing: the path of a product first
            if st == H_ADD:  # event: merge
                key = th[i, KEY]
                slot = th[i, SLOT]
                product = a.val[th[i, E]] * b.val[th[i, P]]
                if core[c, C_FAR] > 0:
                    done = dram(
                        net, c, core[c, C_FAR_AT] + 16 * slot + 8, 8, TABLE_READ, TABLE_WRITE, now
                    )
                    work.table_v[core[c, C_BASE] + slot, value_at] += product
                elif offsets:
                    place = work.table[core[c, C_BASE] + slot, 1] - 1
                    done = atomic(
                        par, banks, cnt, c, TAGS + 2 * slots + place, now, par[FLOAT_ADD_CYCLES]
                    )
                    work.z_val[core[c, C_Z] + place] += product
                else:
                    done = atomic(
                        par, banks, cnt, c, TAGS + slots + slot, now, par[FLOAT_ADD_CYCLES]
                    )
                    work.table_v[core[c, C_BASE] + slot, value_at] += product
                cnt[ACCUMULATE] += th[i, PLACE]
                t = wait(th, i, now, done, W_ATOMIC)
                th[i, P] += 1
                st = H_ELEMENTS
                continue
            if st == H_ELEMENTS:
                if th[i, P] == th[i, P_END]:
                    th[i, E] += 1
                    st = H_ENTRY
                    continue
                n, op, nxt = cost[X_ELEMENT] + 1, LOAD, H_VALUE_B
                address = par[B_INDEX] + par[COORDINATE_BYTES] * th[i, P]
                cause = B_READ
                line = address >> par[LINE_SHIFT]
                if th[i, LINE_INDEX] == line:
                    op = AGAIN
                th[i, LINE_INDEX] = line
            elif st == H_VALUE_B:
                n, op, nxt = 1, LOAD, H_MULTIPLY
                address = par[B_VALUE] + par[VALUE_BYTES] * th[i, P]
                cause = B_READ
                line = address >> par[LINE_SHIFT]
                if th[i, LINE_VALUE] == line:
                    op = AGAIN
                th[i, LINE_VALUE] = line
            elif st == H_MULTIPLY:
                key = ((th[i, ROW] - core[c, C_ROW]) << bits) | b.idx[th[i, P]]
                th[i, KEY] = key
                if high:
                    th[i, SLOT] = th[i, FIRST] + ((b.idx[th[i, P]] * th[i, SLICE]) >> bits)
                else:
                    th[i, SLOT] = (key * SPREAD) & (core[c, C_SLOTS] - 1)
                prefetch(work.table, core[c, C_BASE] + th[i, SLOT])
                cnt[MULTIPLY] += 1
                n, op, nxt = cost[X_MULTIPLY] + cost[X_HASH] + 1, EVENT, H_CAS
            elif st == H_CAS:  # event: claim or find
                slot = th[i, SLOT]
                tag = th[i, KEY] + 1
                base = core[c, C_BASE]
                far = core[c, C_FAR]
                if far > 0:
                    done = dram(
                        net, c, core[c, C_FAR_AT] + 16 * slot, 8, TABLE_READ, TABLE_WRITE, now
                    )
                    t = wait(th, i, now, done, W_DRAM)
                else:
                    done = atomic(par, banks, cnt, c, TAGS + slot, now, par[ATOMIC_CYCLES])
                    t = wait(th, i, now, done, W_ATOMIC)
                cnt[PROBE] += 1
                found = work.table[base + slot, 0]
                if found == 0:
                    work.table[base + slot, 0] = tag
                    cnt[INSERT] += 1
                    if far == 0:
                        gauge(queue, cnt, ENTRY_GAUGE, 1, now)
                    th[i, PLACE] = 0
                    if offsets and far == 0:
                        n, op, nxt = cost[X_PROBE] + cost[X_INSERT] + 1, EVENT, H_COUNT
                    else:
                        n, op, nxt = cost[X_PROBE] + cost[X_ACCUMULATE] + 1, EVENT, H_ADD
                elif found == tag:
                    th[i, PLACE] = 1
                    st = H_MATCH
                    continue
                else:
                    mask = core[c, C_SLOTS] - 1
                    slot = (slot + 1) & mask
                    per_probe = cost[X_PROBE] + cost[X_NEXT_SLOT] + 1
                    at = issue(th, ring, cnt, i, t, per_probe)
                    nxt = H_CAS
                    if far == 0:
                        for _ in range(WALK):
                            found = work.table[base + slot, 0]
                            if found == 0:
                                break
                            cnt[PROBE] += 1
                            cnt[SCRATCHPAD] += 1
                            t = wait(
                                th,
                                i,
                                at,
                                access(par, banks, cnt, c, TAGS + slot, at) + par[ATOMIC_CYCLES],
                                W_ATOMIC,
                            )
                            if found == tag:
                                nxt = H_MATCH
                                break
                            slot = (slot + 1) & mask
                            at = issue(th, ring, cnt, i, t, per_probe)
                    th[i, SLOT] = slot
                    if nxt == H_MATCH:
                        th[i, PLACE] = 1
                        st = H_MATCH
                        continue
                    th[i, STATE] = H_CAS
                    file(th, wheel, queue, i, at, now)
                    break
            elif st == H_MATCH:  # the key is there
                if offsets and core[c, C_FAR] == 0:
                    n, nxt = cost[X_PROBE] + cost[X_OFFSET] + 1, H_SPIN
                    if work.table[core[c, C_BASE] + th[i, SLOT], 1] > 0:
                        place = work.table[core[c, C_BASE] + th[i, SLOT], 1] - 1
                        prefetch(work.z_val, core[c, C_Z] + place)
                        op = PLAIN
                        address = TAGS + slots + (th[i, SLOT] >> 1)
                    else:
                        op = EVENT
                else:
                    n, op, nxt = cost[X_PROBE] + cost[X_ACCUMULATE] + 1, EVENT, H_ADD
            elif st == H_SPIN:  # the offset is read: at an event if it was not there before
                if t == now:
                    word = TAGS + slots + (th[i, SLOT] >> 1)
                    t = wait(th, i, now, access(par, banks, cnt, c, word, now), W_SCRATCHPAD)
                    if work.table[core[c, C_BASE] + th[i, SLOT], 1] == 0:
                        cnt[SPIN] += 1
                        n, op = cost[X_OFFSET] + 1, EVENT
                if op == GO:
                    n, op, nxt = cost[X_ACCUMULATE] + 1, EVENT, H_ADD
            elif st == H_COUNT:  # event: the next place of the dense arrays
                done = atomic(par, banks, cnt, c, WORD_COUNT, now, par[ATOMIC_CYCLES])
                cnt[HOT_ATOMIC] += 1
                t = wait(th, i, now, done, W_ATOMIC)
                place = core[c, C_COUNT]
                core[c, C_COUNT] += 1
                th[i, PLACE] = place
                work.z_key[core[c, C_Z] + place] = th[i, KEY]
                work.z_val[core[c, C_Z] + place] = a.val[th[i, E]] * b.val[th[i, P]]
                for _ in range(2):  # column and value; then the offset, seen by others
                    at = issue(th, ring, cnt, i, t, 1)
                    t = wait(th, i, at, at, W_SCRATCHPAD)
                cnt[SCRATCHPAD] += 2
                n, op, nxt = 1, EVENT, H_PUBLISH
            elif st == H_PUBLISH:  # event
                cnt[SCRATCHPAD] += 1
                work.table[core[c, C_BASE] + th[i, SLOT], 1] = th[i, PLACE] + 1
                t = wait(th, i, now, now, W_SCRATCHPAD)
                th[i, P] += 1
                st = H_ELEMENTS
                continue

            # ---- hashing: entries of A
            elif st == H_ENTRY:
                if th[i, E] == th[i, E_END]:
                    st = H_ROW if static else H_START
                    continue
                if not static and th[i, E] >= th[i, ROW_END]:
                    n, op, nxt = cost[X_ROW_STEP] + 1, LOAD, H_STEP
                    address = par[A_POINTER] + par[POINTER_BYTES] * (th[i, ROW] + 2)
                else:
                    n, op, nxt = cost[X_ENTRY] + 1, LOAD, H_VALUE
                    address = par[A_INDEX] + par[COORDINATE_BYTES] * th[i, E]
                    cause = A_READ
            elif st == H_STEP:
                th[i, ROW] += 1
                th[i, ROW_END] = a.ptr[th[i, ROW] + 1]
                if high:
                    t = _slice(hw, work, i, c, t)
                st = H_ENTRY
                continue
            elif st == H_VALUE:
                th[i, INNER] = a.idx[th[i, E]]
                n, op, nxt = 1, LOAD, H_POINTER
                address = par[A_VALUE] + par[VALUE_BYTES] * th[i, E]
                cause = A_READ
            elif st == H_POINTER:
                n, op, nxt = 1, LOAD, H_POINTER2
                address = par[B_POINTER] + par[POINTER_BYTES] * th[i, INNER]
            elif st == H_POINTER2:
                n, op, nxt = 1, LOAD, H_ELEMENT
                address = par[B_POINTER] + par[POINTER_BYTES] * (th[i, INNER] + 1)
            elif st == H_ELEMENT:
                th[i, P] = b.ptr[th[i, INNER]]
                th[i, P_END] = b.ptr[th[i, INNER] + 1]
                st = H_ELEMENTS
                continue

            # ---- hashing: rows and tokens
            elif st == H_START:
                if static:
                    th[i, ROW] = core[c, C_ROW] + th[i, WORKER] - workers
                    st = H_ROW
                    continue
                n, op, nxt = cost[X_TOKEN] + 1, EVENT, H_TOKEN
            elif st == H_TOKEN:  # event: claim
                done = atomic(par, banks, cnt, c, WORD_TOKEN, now, par[ATOMIC_CYCLES])
                cnt[HOT_ATOMIC] += 1
                t = wait(th, i, now, done, W_ATOMIC)
                size = core[c, C_TOKEN_SIZE]
                first = core[c, C_E] + core[c, C_TOKEN] * size
                core[c, C_TOKEN] += 1
                if first >= core[c, C_E_END]:
                    n, op, nxt = 1, PARK, L_EMPTY
                else:
                    th[i, E] = first
                    th[i, E_END] = min(first + size, core[c, C_E_END])
                    th[i, LOW] = core[c, C_ROW]
                    th[i, TOP] = core[c, C_ROW_END]
                    st = H_FOUND
                    continue
            elif st == H_SEARCH:
                middle = (th[i, LOW] + th[i, TOP]) >> 1
                if a.ptr[middle] <= th[i, E]:
                    th[i, LOW] = middle
                else:
                    th[i, TOP] = middle
                st = H_FOUND
                continue
            elif st == H_FOUND:
                if th[i, TOP] - th[i, LOW] > 1:
                    n, op, nxt = cost[X_SEARCH] + 1, LOAD, H_SEARCH
                    middle = (th[i, LOW] + th[i, TOP]) >> 1
                    address = par[A_POINTER] + par[POINTER_BYTES] * middle
                else:
                    n, op, nxt = 1, LOAD, H_STEP
                    th[i, ROW] = th[i, LOW] - 1
                    address = par[A_POINTER] + par[POINTER_BYTES] * (th[i, LOW] + 1)
            elif st == H_ROW:
                th[i, ROW] += workers
                if th[i, ROW] >= core[c, C_ROW_END]:
                    n, op, nxt = cost[X_ROW] + 1, PARK, L_EMPTY
                else:
                    n, op, nxt = cost[X_ROW] + 1, LOAD, H_ROW2
                    address = par[A_POINTER] + par[POINTER_BYTES] * th[i, ROW]
            elif st == H_ROW2:
                n, op, nxt = 1, LOAD, H_ROW3
                address = par[A_POINTER] + par[POINTER_BYTES] * (th[i, ROW] + 1)
            elif st == H_ROW3:
                th[i, E] = a.ptr[th[i, ROW]]
                th[i, E_END] = a.ptr[th[i, ROW] + 1]
                if high:
                    t = _slice(hw, work, i, c, t)
                st = H_ENTRY
                continue

            # ---- the other phases
            elif st < D_START:
                t, n, op, nxt, address, cause = write_back(hw, work, i, c, st, t, now)
            elif st < L_EMPTY:
                t, n, op, nxt, address, cause = distribute(hw, work, a, i, c, st, t, now)
            elif st < X_NEXT:
                t, n, op, nxt, address, cause = lead(hw, work, a, i, c, st, t, now)
            else:
                t, n, op, nxt, address, cause = engine(hw, i, c, st, t, now)
            if op == STOP:
                break
            if op == NEXT_STATE:
                st = nxt
                continue

            # ---- the instructions of the state, and what the last of them does
            at = issue(th, ring, cnt, i, t, n)
            if op == LOAD:
                done = touch(par, cache, cnt, c, address, at)
                if done >= 0:
                    t = wait(th, i, at, done, W_DRAM)
                    st = nxt
                    continue
                th[i, ADDRESS] = address
                th[i, CAUSE] = cause
                th[i, STATE] = nxt
                file(th, wheel, queue, i, at, now)
                break
            if op == EVENT:
                th[i, STATE] = nxt
                file(th, wheel, queue, i, at, now)
                break
            if op == AGAIN:
                cnt[CACHE_HIT] += 1
                t = wait(th, i, at, at + par[CACHE_LATENCY], W_DRAM)
                st = nxt
            elif op == PLAIN:
                t = wait(th, i, at, access(par, banks, cnt, c, address, at), W_SCRATCHPAD)
                st = nxt
            elif op == GO:
                t = wait(th, i, at, at, W_PIPELINE)
                st = nxt
            else:
                park(hw, i, c, nxt, at, now)
                break

    if queue[LEFT] > 0:
        return -3
    end = queue[END]
    for channel in range(len(net.chan)):
        end = max(end, (net.chan[channel] + TICKS - 1) // TICKS)
    return end


@compiled
def _slice(hw, work, i, c, t):  # pragma: no cover - compiled
    """High hash: thread i reads the slice of the table that belongs to its row."""
    th, core = hw.th, hw.core
    for _ in range(2):
        at = issue(th, hw.ring, hw.cnt, i, t, 1)
        word = WORD_ROWS + th[i, ROW] - core[c, C_ROW]
        t = wait(th, i, at, access(hw.par, hw.banks, hw.cnt, c, word, at), W_SCRATCHPAD)
    before = work.row_place[core[c, C_ROW]]
    whole = max(work.row_place[core[c, C_ROW_END]] - before, 1)
    held = core[c, C_SLOTS]
    first = (work.row_place[th[i, ROW]] - before) * held // whole
    th[i, FIRST] = first
    th[i, SLICE] = (work.row_place[th[i, ROW] + 1] - before) * held // whole - first
    return t
