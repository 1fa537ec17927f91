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

from numba import njit

from hwsim.dataflows.piuma_machine import (
    A_INDEX,
    A_POINTER,
    A_READ,
    A_VALUE,
    ACCUMULATE,
    ACTIVE_GAUGE,
    ADDRESS,
    ATOMIC_CYCLES,
    B_INDEX,
    B_POINTER,
    B_READ,
    B_VALUE,
    BARRIER,
    BARRIERS,
    BOUND,
    BOUND_READ,
    BOUND_WRITE,
    BOUNDARY,
    CACHE_HIT,
    CACHE_LATENCY,
    CAUSE,
    COLUMN_BITS,
    COORDINATE_BYTES,
    CORE,
    CORES,
    DMA,
    DMA_BYTES,
    DMA_CHUNK,
    DMA_MOVED,
    DMA_SETUP,
    ENTRY_GAUGE,
    FAR_BARRIER,
    FILED,
    FLOAT_ADD_CYCLES,
    HIGH,
    HOT_ATOMIC,
    INSERT,
    LINE_SHIFT,
    MULTIPLY,
    OFFSET,
    OVERFLOW_WINDOW,
    POINTER_BYTES,
    POINTER_READ,
    PROBE,
    REGISTER,
    ROW_TOKEN,
    SCRATCHPAD,
    SLOTS,
    SPIN,
    STATE,
    STATIC,
    STORE_CYCLES,
    TABLE_READ,
    TABLE_WRITE,
    THREADS_PER_CORE,
    TICKS,
    TIME,
    TOKEN_SIZE,
    VALUE_BYTES,
    W_ATOMIC,
    W_BARRIER,
    W_DMA,
    W_DRAM,
    W_IDLE,
    W_PIPELINE,
    W_REMOTE,
    W_SCRATCHPAD,
    WAIT,
    WINDOW,
    WINDOW_COUNT,
    WINDOW_READ,
    WINDOW_WRITE,
    WINDOWS,
    WORKERS,
    Z_WRITE,
    M,
    Z,
    access,
    atomic,
    close_buckets,
    dram,
    file,
    fill,
    gauge,
    issue,
    pop,
    prefetch,
    remote_atomic,
    span,
    store,
    touch,
    wait,
)  # fmt: skip

__all__ = ["CORE_COLUMNS", "COSTS", "run"]

COSTS = (
    "row", "token", "search", "row_step", "entry", "element", "multiply", "hash", "probe",
    "next_slot", "accumulate", "insert", "offset", "scan", "emit", "copy_entry", "window", "dma",
    "bound", "bound_row", "cut", "partial", "segment", "head", "compare", "merge_out", "pair",
    "intersect", "match", "result",
)  # fmt: skip
(
    X_ROW, X_TOKEN, X_SEARCH, X_ROW_STEP, X_ENTRY, X_ELEMENT, X_MULTIPLY, X_HASH, X_PROBE,
    X_NEXT_SLOT, X_ACCUMULATE, X_INSERT, X_OFFSET, X_SCAN, X_EMIT, X_COPY, X_WINDOW, X_DMA,
    X_BOUND, X_BOUND_ROW, X_CUT, X_PARTIAL, X_SEGMENT, X_HEAD, X_COMPARE, X_MERGE_OUT, X_PAIR,
    X_INTERSECT, X_MATCH, X_RESULT,
) = range(len(COSTS))  # fmt: skip

# Registers of a thread, those of a product first. LINE_INDEX and LINE_VALUE are the lines of B that
# it read last: the next word of the same line is at hand without another look at the cache.
(P, P_END, E, KEY, SLOT, PLACE, LINE_INDEX, LINE_VALUE, WORKER, ROW, ROW_END, E_END, INNER, LOW,
 TOP, SINCE, BEGUN, ENDED, FIRST, SLICE) = range(REGISTER, REGISTER + 20)  # fmt: skip

# What the threads of a core share. JOBS is a ring of four DMA descriptors (kind, bytes, address).
(C_WINDOW, C_ROW, C_ROW_END, C_E, C_E_END, C_Z, C_BASE, C_SLOTS, C_FAR, C_FAR_AT, C_TOKEN,
 C_COUNT, C_ARRIVED, C_LAST, C_ORDER, C_FILLS, C_WAITING, C_BEGUN, C_HEAD, C_TAIL,
 C_TOKEN_SIZE, C_JOBS) = range(22)  # fmt: skip
CORE_COLUMNS = C_JOBS + 12
FILL_PAD, FILL_FAR, COPY = range(3)

# What follows the instructions of a state.
LOAD, EVENT, PLAIN, GO, PARK, AGAIN = range(6)

# Phases, as `hwsim.dataflows.piuma.PHASES`.
PH_DISTRIBUTION, PH_CUT, PH_HASHING, PH_WRITE_BACK, PH_DMA = range(5)

# States. Those from LEADER on are for the first worker of a core while the others are parked.
(D_START, D_TOKEN, D_ROW, D_ROW2, D_ENTRIES, D_POINTER, D_POINTER2, D_ADD, D_STORE, C_START, C_CUT,
 C_OPEN, H_START, H_ROW, H_ROW2, H_ROW3, H_TOKEN, H_SEARCH, H_FOUND, H_ENTRY, H_STEP, H_VALUE,
 H_POINTER, H_POINTER2, H_ELEMENTS, H_ELEMENT, H_VALUE_B, H_MULTIPLY, H_CAS, H_MATCH, H_ADD,
 H_COUNT, H_PUBLISH, H_SPIN, S_START, S_SCAN, S_FAR, S_EMIT, S_STORE, K_START, K_ENTRY, K_STORE,
 X_NEXT, X_FILLED, X_CHUNK, LEADER, L_START, L_EMPTY, L_CLAIM, L_CLAIMED, L_GO,
 L_RUN) = range(52)  # fmt: skip

# The scratchpad's shared words; slot s has its tag in word TAGS + s.
WORD_WINDOW, WORD_TOKEN, WORD_COUNT, WORD_ROWS, TAGS = 0, 1, 2, 3, 64

SPREAD = 0x9E3779B1
"""Odd multiplier of a key before its low bits are taken: 2^32 over the golden ratio (Knuth 6.4)."""
WALK = 8
"""Occupied slots that a probe passes in one event; they stay occupied, so no order is lost."""
AHEAD = 512
"""Clocks of empty slots that a scan passes in one event."""


@njit(cache=True, _nrt=False)
def run(
    par, cost, th, core, ring, banks, chan, links, routes, places, cache, wheel, queue, cnt, moved,
    totals, spans, last, a_ptr, a_idx, a_val, b_ptr, b_idx, b_val, row_place,
    window_of, win_row, win_z, win_far, win_nnz, table, table_v, z_key, z_val, stop
):  # fmt: skip  # pragma: no cover - compiled
    """Runs a hash kernel; the clock at which the last thread, engine and channel are done.

    Args:
        par, cost: parameters and instruction costs.
        th, core, ring, banks, chan, links, routes, places, cache, wheel, queue, cnt, moved,
        totals, spans, last: state of the machine, as `hwsim.dataflows.piuma` makes it.
        a_ptr .. b_val: operands.
        row_place: int64[m + 1], running sum of the rows' bounds.
        window_of: int64[m + 1], windows that begin before row i.
        win_row: int64[windows + 1], first row of every window, then m.
        win_z: int64[windows], place of its first entry in `z_key`.
        win_far: int64[windows], slots of a table in DRAM, or 0.
        win_nnz: int64[windows], out: entries.
        table: int64[slots, 2], tag + 1 and offset + 1 or value; scratchpads one after the other,
            then a DRAM table for each core; `table_v` views the values.
        z_key, z_val: out: entries of the result, window by window at `win_z`.
        stop: clock at which to give up; -1 is returned then, or if nobody can go on.
    """
    cores, per_core, workers = par[CORES], par[THREADS_PER_CORE], par[WORKERS]
    threads = cores * per_core
    static, high, offsets, dma = par[STATIC], par[HIGH], par[OFFSET], par[DMA]
    depth_walk = WALK
    value_at = table_v.shape[1] // 2
    bits = par[COLUMN_BITS]
    entry_bytes = 8 + par[VALUE_BYTES]
    slots = par[SLOTS]
    die_arrived, die_last = 0, 0
    token_rows, next_window = 0, 0
    left = cores * workers + cores
    end = 0
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
        if th[i, ADDRESS] >= 0:  # a load that may miss
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

            # ---- hashing: the path of a product first
            if st == H_ADD:  # event: merge
                key = th[i, KEY]
                slot = th[i, SLOT]
                product = a_val[th[i, E]] * b_val[th[i, P]]
                if core[c, C_FAR] > 0:
                    done = dram(
                        par, chan, links, routes, places, cnt, moved, c,
                        core[c, C_FAR_AT] + 16 * slot + 8, 8, TABLE_READ, TABLE_WRITE, now
                    )  # fmt: skip
                    table_v[core[c, C_BASE] + slot, value_at] += product
                elif offsets:
                    place = table[core[c, C_BASE] + slot, 1] - 1
                    done = atomic(
                        par, banks, cnt, c, TAGS + 2 * slots + place, now, par[FLOAT_ADD_CYCLES]
                    )
                    z_val[core[c, C_Z] + place] += product
                else:
                    done = atomic(
                        par, banks, cnt, c, TAGS + slots + slot, now, par[FLOAT_ADD_CYCLES]
                    )
                    table_v[core[c, C_BASE] + slot, value_at] += product
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
                key = ((th[i, ROW] - core[c, C_ROW]) << bits) | b_idx[th[i, P]]
                th[i, KEY] = key
                if high:
                    th[i, SLOT] = th[i, FIRST] + ((b_idx[th[i, P]] * th[i, SLICE]) >> bits)
                else:
                    th[i, SLOT] = (key * SPREAD) & (core[c, C_SLOTS] - 1)
                prefetch(table, core[c, C_BASE] + th[i, SLOT])
                cnt[MULTIPLY] += 1
                n, op, nxt = cost[X_MULTIPLY] + cost[X_HASH] + 1, EVENT, H_CAS
            elif st == H_CAS:  # event: claim or find
                slot = th[i, SLOT]
                tag = th[i, KEY] + 1
                base = core[c, C_BASE]
                far = core[c, C_FAR]
                if far > 0:
                    done = dram(
                        par, chan, links, routes, places, cnt, moved, c,
                        core[c, C_FAR_AT] + 16 * slot, 8, TABLE_READ, TABLE_WRITE, now
                    )  # fmt: skip
                    t = wait(th, i, now, done, W_DRAM)
                else:
                    done = atomic(par, banks, cnt, c, TAGS + slot, now, par[ATOMIC_CYCLES])
                    t = wait(th, i, now, done, W_ATOMIC)
                cnt[PROBE] += 1
                found = table[base + slot, 0]
                if found == 0:
                    table[base + slot, 0] = tag
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
                        for _ in range(depth_walk):
                            found = table[base + slot, 0]
                            if found == 0:
                                break
                            cnt[PROBE] += 1
                            cnt[SCRATCHPAD] += 1
                            t = wait(
                                th, i, at, access(par, banks, cnt, c, TAGS + slot, at)
                                + par[ATOMIC_CYCLES], W_ATOMIC
                            )  # fmt: skip
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
                    if table[core[c, C_BASE] + th[i, SLOT], 1] > 0:
                        place = table[core[c, C_BASE] + th[i, SLOT], 1] - 1
                        prefetch(z_val, core[c, C_Z] + place)
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
                    if table[core[c, C_BASE] + th[i, SLOT], 1] == 0:
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
                z_key[core[c, C_Z] + place] = th[i, KEY]
                z_val[core[c, C_Z] + place] = a_val[th[i, E]] * b_val[th[i, P]]
                for _ in range(2):  # column and value; then the offset, seen by others
                    at = issue(th, ring, cnt, i, t, 1)
                    t = wait(th, i, at, at, W_SCRATCHPAD)
                cnt[SCRATCHPAD] += 2
                n, op, nxt = 1, EVENT, H_PUBLISH
            elif st == H_PUBLISH:  # event
                cnt[SCRATCHPAD] += 1
                table[core[c, C_BASE] + th[i, SLOT], 1] = th[i, PLACE] + 1
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
                th[i, ROW_END] = a_ptr[th[i, ROW] + 1]
                if high:  # the row's slice of the table
                    for _ in range(2):
                        at = issue(th, ring, cnt, i, t, 1)
                        word = WORD_ROWS + th[i, ROW] - core[c, C_ROW]
                        t = wait(th, i, at, access(par, banks, cnt, c, word, at), W_SCRATCHPAD)
                    before = row_place[core[c, C_ROW]]
                    whole = max(row_place[core[c, C_ROW_END]] - before, 1)
                    held = core[c, C_SLOTS]
                    first = (row_place[th[i, ROW]] - before) * held // whole
                    th[i, FIRST] = first
                    th[i, SLICE] = (row_place[th[i, ROW] + 1] - before) * held // whole - first
                st = H_ENTRY
                continue
            elif st == H_VALUE:
                th[i, INNER] = a_idx[th[i, E]]
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
                th[i, P] = b_ptr[th[i, INNER]]
                th[i, P_END] = b_ptr[th[i, INNER] + 1]
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
                if a_ptr[middle] <= th[i, E]:
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
                th[i, E] = a_ptr[th[i, ROW]]
                th[i, E_END] = a_ptr[th[i, ROW] + 1]
                if high:  # the row's slice of the table
                    for _ in range(2):
                        at = issue(th, ring, cnt, i, t, 1)
                        word = WORD_ROWS + th[i, ROW] - core[c, C_ROW]
                        t = wait(th, i, at, access(par, banks, cnt, c, word, at), W_SCRATCHPAD)
                    before = row_place[core[c, C_ROW]]
                    whole = max(row_place[core[c, C_ROW_END]] - before, 1)
                    held = core[c, C_SLOTS]
                    first = (row_place[th[i, ROW]] - before) * held // whole
                    th[i, FIRST] = first
                    th[i, SLICE] = (row_place[th[i, ROW] + 1] - before) * held // whole - first
                st = H_ENTRY
                continue

            # ---- write-back by threads
            elif st == S_START:
                share = (core[c, C_SLOTS] + workers - 1) // workers
                th[i, SLOT] = min(share * th[i, WORKER], core[c, C_SLOTS])
                th[i, P_END] = min(share * (th[i, WORKER] + 1), core[c, C_SLOTS])
                st = S_SCAN
                continue
            elif st == S_SCAN:
                slot = th[i, SLOT]
                top = th[i, P_END]
                base = core[c, C_BASE]
                per_slot = cost[X_SCAN] + 1
                if core[c, C_FAR] > 0:
                    if slot < top:
                        n, op, nxt = per_slot + 1, EVENT, S_FAR
                    else:
                        n, op, nxt = 1, PARK, L_EMPTY
                else:
                    found = 0
                    while slot < top and t < now + AHEAD:
                        at = issue(th, ring, cnt, i, t, per_slot)
                        done = access(par, banks, cnt, c, TAGS + slot, at)
                        t = wait(th, i, at, done, W_SCRATCHPAD)
                        found = table[base + slot, 0]
                        if found > 0:
                            break
                        slot += 1
                    th[i, SLOT] = slot
                    if found > 0:
                        n, op, nxt = cost[X_EMIT] + 1, EVENT, S_EMIT
                    elif slot < top:
                        th[i, STATE] = S_SCAN
                        file(th, wheel, queue, i, t, now)
                        break
                    else:
                        n, op, nxt = 1, PARK, L_EMPTY
            elif st == S_FAR:  # event: a slot of a table in DRAM
                slot = th[i, SLOT]
                done = dram(
                    par, chan, links, routes, places, cnt, moved, c,
                    core[c, C_FAR_AT] + 16 * slot, 16, TABLE_READ, -1, now
                )  # fmt: skip
                t = wait(th, i, now, done, W_DRAM)
                if table[core[c, C_BASE] + slot, 0] > 0:
                    n, op, nxt = cost[X_EMIT] + 1, EVENT, S_EMIT
                else:
                    th[i, SLOT] += 1
                    st = S_SCAN
                    continue
            elif st == S_EMIT:  # event: a place in the result
                done = atomic(par, banks, cnt, c, WORD_COUNT, now, par[ATOMIC_CYCLES])
                cnt[HOT_ATOMIC] += 1
                t = wait(th, i, now, done, W_ATOMIC)
                place = core[c, C_Z] + core[c, C_COUNT]
                core[c, C_COUNT] += 1
                th[i, PLACE] = place
                at_slot = core[c, C_BASE] + th[i, SLOT]
                z_key[place] = table[at_slot, 0] - 1
                z_val[place] = table_v[at_slot, value_at]
                table[at_slot, 0] = 0
                table[at_slot, 1] = 0
                if core[c, C_FAR] == 0:
                    gauge(queue, cnt, ENTRY_GAUGE, -1, now)
                    at = issue(th, ring, cnt, i, t, 1)  # its value
                    word = TAGS + slots + th[i, SLOT]
                    t = wait(th, i, at, access(par, banks, cnt, c, word, at), W_SCRATCHPAD)
                n, op, nxt = 2, EVENT, S_STORE
            elif st == S_STORE:  # event
                done = store(
                    par, chan, links, routes, places, cnt, moved, c,
                    par[Z] + entry_bytes * th[i, PLACE], entry_bytes, Z_WRITE, now
                )  # fmt: skip
                t = wait(th, i, now, done, W_DRAM)
                th[i, SLOT] += 1
                if core[c, C_FAR] == 0:
                    cnt[SCRATCHPAD] += 2  # tag and value are cleared
                    n, op, nxt = 2, GO, S_SCAN
                else:
                    st = S_SCAN
                    continue
            elif st == K_START:
                th[i, PLACE] = th[i, WORKER]
                st = K_ENTRY
                continue
            elif st == K_ENTRY:
                if th[i, PLACE] >= core[c, C_COUNT]:
                    n, op, nxt = 1, PARK, L_START
                else:
                    at = issue(th, ring, cnt, i, t, cost[X_COPY] + 1)
                    word = TAGS + 2 * slots + th[i, PLACE]
                    t = wait(th, i, at, access(par, banks, cnt, c, word, at), W_SCRATCHPAD)
                    at = issue(th, ring, cnt, i, t, 1)
                    t = wait(th, i, at, access(par, banks, cnt, c, word, at), W_SCRATCHPAD)
                    n, op, nxt = 2, EVENT, K_STORE
            elif st == K_STORE:  # event
                done = store(
                    par, chan, links, routes, places, cnt, moved, c,
                    par[Z] + entry_bytes * (core[c, C_Z] + th[i, PLACE]), entry_bytes, Z_WRITE, now
                )  # fmt: skip
                t = wait(th, i, now, done, W_DRAM)
                th[i, PLACE] += workers
                st = K_ENTRY
                continue

            # ---- distribution
            elif st == D_START:
                n = cost[X_TOKEN] + 1
                if static:
                    if th[i, ROW] < 0:
                        th[i, ROW] = (c * workers + th[i, WORKER]) * par[ROW_TOKEN]
                    else:
                        th[i, ROW] += (cores * workers - 1) * par[ROW_TOKEN]
                    op, nxt = GO, D_ROW
                    th[i, ROW_END] = min(th[i, ROW] + par[ROW_TOKEN], par[M])
                else:
                    op, nxt = EVENT, D_TOKEN
            elif st == D_TOKEN:  # event: claim
                done = remote_atomic(par, banks, links, routes, places, cnt, c, 0, WORD_ROWS, now)
                cnt[HOT_ATOMIC] += 1
                t = wait(th, i, now, done, W_REMOTE)
                th[i, ROW] = token_rows * par[ROW_TOKEN]
                token_rows += 1
                th[i, ROW_END] = min(th[i, ROW] + par[ROW_TOKEN], par[M])
                st = D_ROW
                continue
            elif st == D_ROW:
                if th[i, ROW] >= par[M]:
                    n, op, nxt = 1, PARK, C_START
                elif th[i, ROW] == th[i, ROW_END]:
                    st = D_START
                    continue
                else:
                    n, op, nxt = cost[X_BOUND_ROW] + 1, LOAD, D_ROW2
                    address = par[A_POINTER] + par[POINTER_BYTES] * th[i, ROW]
            elif st == D_ROW2:
                th[i, E] = a_ptr[th[i, ROW]]
                th[i, E_END] = a_ptr[th[i, ROW] + 1]
                n, op, nxt = 1, LOAD, D_ENTRIES
                address = par[A_POINTER] + par[POINTER_BYTES] * (th[i, ROW] + 1)
            elif st == D_ENTRIES:
                if th[i, E] == th[i, E_END]:
                    n, op, nxt = 1, EVENT, D_STORE
                else:
                    n, op, nxt = cost[X_BOUND] + 1, LOAD, D_POINTER
                    address = par[A_INDEX] + par[COORDINATE_BYTES] * th[i, E]
                    cause = A_READ
            elif st == D_POINTER:
                th[i, INNER] = a_idx[th[i, E]]
                n, op, nxt = 1, LOAD, D_POINTER2
                address = par[B_POINTER] + par[POINTER_BYTES] * th[i, INNER]
            elif st == D_POINTER2:
                n, op, nxt = 1, LOAD, D_ADD
                address = par[B_POINTER] + par[POINTER_BYTES] * (th[i, INNER] + 1)
            elif st == D_ADD:
                th[i, E] += 1
                st = D_ENTRIES
                continue
            elif st == D_STORE:  # event
                done = store(
                    par, chan, links, routes, places, cnt, moved, c,
                    par[BOUND] + 8 * th[i, ROW], 8, BOUND_WRITE, now
                )  # fmt: skip
                t = wait(th, i, now, done, W_DRAM)
                th[i, ROW] += 1
                st = D_ROW
                continue

            # ---- windows are cut by a single-thread pipeline
            elif st == C_START:
                th[i, ROW] = par[M] * c // cores
                th[i, ROW_END] = par[M] * (c + 1) // cores
                st = C_CUT
                continue
            elif st == C_CUT:
                if th[i, ROW] == th[i, ROW_END]:
                    th[i, ENDED] = t
                    end = max(end, t)
                    left -= 1
                    gauge(queue, cnt, ACTIVE_GAUGE, -1, now)
                    span(spans, last, queue, c, -1, th[i, BEGUN], t, PH_CUT, -1)
                    die_arrived += 1
                    die_last = max(die_last, t)
                    if die_arrived == cores:
                        die_arrived = 0
                        at = die_last + par[FAR_BARRIER]
                        for d in range(cores):
                            leader = d * per_core
                            th[leader, WAIT + W_BARRIER] += at - th[leader, SINCE]
                            th[leader, STATE] = L_START
                            core[d, C_COUNT] = 0
                            core[d, C_ORDER] = -1
                            file(th, wheel, queue, leader, at, now)
                        gauge(queue, cnt, ACTIVE_GAUGE, cores, now)
                    break
                n, op, nxt = cost[X_CUT] + 1, LOAD, C_OPEN
                address = par[BOUND] + 8 * th[i, ROW]
                cause = BOUND_READ
            elif st == C_OPEN:
                row = th[i, ROW]
                th[i, ROW] += 1
                if window_of[row + 1] > window_of[row]:
                    th[i, PLACE] = window_of[row]
                    n, op, nxt = 1, EVENT, L_RUN
                else:
                    st = C_CUT
                    continue
            elif st == L_RUN:  # event: a window's descriptor
                done = store(
                    par, chan, links, routes, places, cnt, moved, c,
                    par[WINDOW] + 32 * th[i, PLACE], 32, WINDOW_WRITE, now
                )  # fmt: skip
                t = wait(th, i, now, done, W_DRAM)
                st = C_CUT
                continue

            # ---- the first worker of a core, between windows
            elif st == L_EMPTY:  # the window is hashed, or scanned
                begun = core[c, C_BEGUN]
                far = core[c, C_FAR]
                core[c, C_BEGUN] = t
                window = core[c, C_WINDOW]
                scanned = far > 0 or not offsets
                if scanned and core[c, C_TOKEN] >= 0:  # hashed: now every worker scans
                    core[c, C_TOKEN] = -1
                    span(spans, last, queue, c, -1, begun, t, PH_HASHING, window)
                    nxt = S_START
                elif scanned:
                    span(spans, last, queue, c, -1, begun, t, PH_WRITE_BACK, window)
                    win_nnz[window] = core[c, C_COUNT]
                    st = L_CLAIM
                    continue
                else:
                    span(spans, last, queue, c, -1, begun, t, PH_HASHING, window)
                    win_nnz[window] = core[c, C_COUNT]
                    gauge(queue, cnt, ENTRY_GAUGE, -core[c, C_COUNT], now)
                    for s in range(core[c, C_BASE], core[c, C_BASE] + slots):
                        table[s, 0] = 0
                        table[s, 1] = 0
                    if dma:
                        st = L_START
                        continue
                    core[c, C_TOKEN] = -1
                    nxt = K_START
                for w in range(workers):
                    other = c * per_core + w
                    if other != i:
                        th[other, WAIT + W_BARRIER] += t - th[other, SINCE]
                    th[other, STATE] = nxt
                    file(th, wheel, queue, other, t, now)
                gauge(queue, cnt, ACTIVE_GAUGE, workers - 1, now)
                break
            elif st == L_START:  # the engine clears the tags, then copies what was hashed
                if offsets and not dma and core[c, C_COUNT] > 0:
                    span(
                        spans, last, queue, c, -1, core[c, C_BEGUN], t, PH_WRITE_BACK,
                        core[c, C_WINDOW]
                    )  # fmt: skip
                jobs = 2 if dma and core[c, C_COUNT] > 0 else 1
                _job(core, c, FILL_PAD, (12 if offsets else 16) * slots, 0)
                core[c, C_FILLS] += 1
                if jobs == 2:
                    _job(
                        core, c, COPY, entry_bytes * core[c, C_COUNT],
                        par[Z] + entry_bytes * core[c, C_Z]
                    )  # fmt: skip
                n = jobs * cost[X_DMA] + 1
                at = issue(th, ring, cnt, i, t, n)
                t = wait(th, i, at, at, W_DMA)
                _wake(th, wheel, queue, threads + c, t, now)
                core[c, C_COUNT] = 0
                st = L_CLAIM
                continue
            elif st == L_CLAIM:
                core[c, C_ORDER] += 1
                if static:
                    th[i, PLACE] = c + cores * core[c, C_ORDER]
                    n, op, nxt = cost[X_WINDOW] + 1, GO, L_CLAIMED
                else:
                    n, op, nxt = cost[X_WINDOW] + 1, EVENT, L_CLAIMED
            elif st == L_CLAIMED:  # event, unless static
                if not static:
                    done = remote_atomic(
                        par, banks, links, routes, places, cnt, c, 0, WORD_WINDOW, now
                    )
                    cnt[HOT_ATOMIC] += 1
                    t = wait(th, i, now, done, W_REMOTE)
                    th[i, PLACE] = next_window
                    next_window += 1
                if th[i, PLACE] >= par[WINDOWS]:
                    for w in range(workers):
                        other = c * per_core + w
                        if other != i:
                            th[other, WAIT + W_BARRIER] += t - th[other, SINCE]
                        th[other, ENDED] = t
                    gauge(queue, cnt, ACTIVE_GAUGE, -1, now)
                    left -= workers
                    end = max(end, t)
                    break
                n, op, nxt = 1, LOAD, L_GO
                address = par[WINDOW] + 32 * th[i, PLACE]
                cause = WINDOW_READ
            elif st == L_GO:
                window = th[i, PLACE]
                far = win_far[window]
                if core[c, C_FILLS] == 0 and far > 0 and core[c, C_WAITING] != 2:
                    _job(core, c, FILL_FAR, 16 * far, core[c, C_FAR_AT])
                    core[c, C_FILLS] += 1
                    at = issue(th, ring, cnt, i, t, cost[X_DMA] + 1)
                    t = wait(th, i, at, at, W_DMA)
                    _wake(th, wheel, queue, threads + c, t, now)
                    core[c, C_WAITING] = 2
                elif core[c, C_FILLS] > 0 and core[c, C_WAITING] == 0:
                    core[c, C_WAITING] = 1
                if core[c, C_FILLS] > 0:
                    th[i, SINCE] = t
                    gauge(queue, cnt, ACTIVE_GAUGE, -1, now)
                    break  # the engine files it
                core[c, C_WAITING] = 0
                cnt[WINDOW_COUNT] += 1
                if far > 0:
                    cnt[OVERFLOW_WINDOW] += 1
                core[c, C_WINDOW] = window
                core[c, C_ROW], core[c, C_ROW_END] = win_row[window], win_row[window + 1]
                core[c, C_E] = a_ptr[core[c, C_ROW]]
                core[c, C_E_END] = a_ptr[core[c, C_ROW_END]]
                share = (core[c, C_E_END] - core[c, C_E]) // (2 * workers)
                core[c, C_TOKEN_SIZE] = min(par[TOKEN_SIZE], max(1, share))
                core[c, C_Z] = win_z[window]
                core[c, C_FAR] = far
                core[c, C_SLOTS] = far if far > 0 else slots
                core[c, C_BASE] = c * slots
                if far > 0:
                    core[c, C_BASE] = cores * slots + c * ((len(table) - cores * slots) // cores)
                core[c, C_TOKEN], core[c, C_COUNT] = 0, 0
                at = issue(th, ring, cnt, i, t, 1)
                t = wait(th, i, at, at, W_PIPELINE)
                at = t + par[BARRIER]
                cnt[BARRIERS] += 1
                core[c, C_BEGUN] = at
                th[i, SINCE] = t
                for w in range(workers):
                    other = c * per_core + w
                    th[other, WAIT + W_BARRIER] += at - th[other, SINCE]
                    th[other, STATE] = H_START
                    th[other, BEGUN] = at
                    file(th, wheel, queue, other, at, now)
                gauge(queue, cnt, ACTIVE_GAUGE, workers - 1, now)
                break

            # ---- the DMA engine
            elif st == X_NEXT:
                if core[c, C_HEAD] == core[c, C_TAIL]:
                    th[i, SINCE] = 0  # idle
                    break
                job = C_JOBS + 3 * (core[c, C_HEAD] & 3)
                t += par[DMA_SETUP]
                th[i, BEGUN] = t
                if core[c, job] == FILL_PAD:
                    cnt[DMA_MOVED] += core[c, job + 1]
                    cnt[SCRATCHPAD] += core[c, job + 1] // 8
                    t += -(-core[c, job + 1] // par[DMA_BYTES])
                    th[i, STATE] = X_FILLED
                else:
                    th[i, STATE] = X_CHUNK
                file(th, wheel, queue, i, t, now)
                break
            elif st == X_CHUNK:  # event
                job = C_JOBS + 3 * (core[c, C_HEAD] & 3)
                size = min(core[c, job + 1], par[DMA_CHUNK])
                copy = core[c, job] == COPY
                cnt[DMA_MOVED] += size
                if copy:
                    cnt[SCRATCHPAD] += -(-size // 8)
                done = store(
                    par, chan, links, routes, places, cnt, moved, c, core[c, job + 2], size,
                    Z_WRITE if copy else TABLE_WRITE, now
                )  # fmt: skip
                t = max(done - par[STORE_CYCLES], now + -(-size // par[DMA_BYTES]))
                core[c, job + 1] -= size
                core[c, job + 2] += size
                th[i, STATE] = X_CHUNK
                if core[c, job + 1] == 0:
                    th[i, STATE] = X_FILLED
                file(th, wheel, queue, i, t, now)
                break
            elif st == X_FILLED:  # event: a descriptor is done
                job = C_JOBS + 3 * (core[c, C_HEAD] & 3)
                core[c, C_HEAD] += 1
                end = max(end, now)
                span(spans, last, queue, c, -1, th[i, BEGUN], now, PH_DMA, -1)
                if core[c, job] != COPY:
                    core[c, C_FILLS] -= 1
                    if core[c, C_WAITING] > 0 and core[c, C_FILLS] == 0:
                        leader = c * per_core
                        at = max(now, th[leader, SINCE])
                        th[leader, WAIT + W_DMA] += at - th[leader, SINCE]
                        if core[c, C_WAITING] == 1:
                            core[c, C_WAITING] = 0
                        th[leader, STATE] = L_GO
                        file(th, wheel, queue, leader, at, now)
                        gauge(queue, cnt, ACTIVE_GAUGE, 1, now)
                st = X_NEXT
                continue
            else:
                return -2

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
            else:  # PARK: a barrier of the core, or of the die before C_START
                t = wait(th, i, at, at, W_PIPELINE)
                th[i, SINCE] = t
                cnt[BARRIERS] += 1
                gauge(queue, cnt, ACTIVE_GAUGE, -1, now)
                if nxt == C_START:
                    span(spans, last, queue, c, th[i, WORKER], 0, t, PH_DISTRIBUTION, -1)
                    die_arrived += 1
                    die_last = max(die_last, t)
                    if die_arrived == cores * workers:
                        die_arrived = 0
                        at = die_last + par[FAR_BARRIER]
                        for d in range(cores):
                            single = d * per_core + workers
                            th[single, STATE] = C_START
                            th[single, BEGUN] = at
                            th[single, WAIT + W_IDLE] += at
                            file(th, wheel, queue, single, at, now)
                        gauge(queue, cnt, ACTIVE_GAUGE, cores, now)
                    break
                if core[c, C_TOKEN] >= 0:
                    span(
                        spans, last, queue, c, th[i, WORKER], th[i, BEGUN], t, PH_HASHING,
                        core[c, C_WINDOW]
                    )  # fmt: skip
                core[c, C_ARRIVED] += 1
                core[c, C_LAST] = max(core[c, C_LAST], t)
                if core[c, C_ARRIVED] == workers:
                    leader = c * per_core
                    at = core[c, C_LAST] + par[BARRIER]
                    core[c, C_ARRIVED], core[c, C_LAST] = 0, 0
                    th[leader, WAIT + W_BARRIER] += at - th[leader, SINCE]
                    th[leader, STATE] = nxt
                    file(th, wheel, queue, leader, at, now)
                    gauge(queue, cnt, ACTIVE_GAUGE, 1, now)
                break

    if left > 0:
        return -3
    for channel in range(len(chan)):
        end = max(end, (chan[channel] + TICKS - 1) // TICKS)
    return end


@njit(cache=True, _nrt=False)
def _job(core, c, kind, size, address):  # pragma: no cover - compiled
    job = C_JOBS + 3 * (core[c, C_TAIL] & 3)
    core[c, job] = kind
    core[c, job + 1] = size
    core[c, job + 2] = address
    core[c, C_TAIL] += 1


@njit(cache=True, _nrt=False)
def _wake(th, wheel, queue, engine, at, now):  # pragma: no cover - compiled
    """Starts an idle engine; a busy one finds its next descriptor itself."""
    if th[engine, SINCE] == 0:
        th[engine, SINCE] = 1
        th[engine, STATE] = X_NEXT
        file(th, wheel, queue, engine, at, now)
