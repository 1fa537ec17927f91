"""Between two windows of a core on PIUMA: barriers, the first worker, the DMA engine.

The last thread at a barrier sends off the first worker of the core, which starts the write-back or
hands it to the engine, has the tags cleared, takes the next window, waits until the table is clear
and releases the others. The engine works through a ring of descriptors: fill the scratchpad, fill
a table in DRAM, copy the dense arrays to DRAM.
"""

from __future__ import annotations

# isort: off
from hwsim.dataflows.piuma_compile import compiled

from hwsim.dataflows.piuma_machine import (
    ACTIVE_GAUGE, BARRIER, BARRIERS, CORES, DIE_ARRIVED, DIE_LAST, DMA, DMA_BYTES, DMA_CHUNK,
    DMA_MOVED, DMA_SETUP, END, ENTRY_GAUGE, FAR_BARRIER, HOT_ATOMIC, LEFT, NEXT_WINDOW, OFFSET,
    OVERFLOW_WINDOW, POINTER_READ, SCRATCHPAD, SLOTS, STATE, STATIC, STORE_CYCLES, TABLE_WRITE,
    THREADS_PER_CORE, TOKEN_SIZE, VALUE_BYTES, WAIT, WINDOW, WINDOWS, WINDOW_COUNT, WINDOW_READ,
    WORKERS, W_BARRIER, W_DMA, W_IDLE, W_PIPELINE, W_REMOTE, Z, Z_WRITE, file, gauge, issue,
    remote_atomic, span, store, wait,
)  # fmt: skip
from hwsim.dataflows.piuma_program import (
    BEGUN, COPY, C_ARRIVED, C_BASE, C_BEGUN, C_COUNT, C_E, C_E_END, C_FAR, C_FAR_AT, C_FILLS,
    C_HEAD, C_JOBS, C_LAST, C_ORDER, C_ROW, C_ROW_END, C_SLOTS, C_START, C_TAIL, C_TOKEN,
    C_TOKEN_SIZE, C_WAITING, C_WINDOW, C_Z, ENDED, EVENT, FILL_FAR, FILL_PAD, GO, H_START,
    K_START, LOAD, L_CLAIM, L_CLAIMED, L_EMPTY, L_GO, L_START, NEXT_STATE, PH_DISTRIBUTION,
    PH_DMA, PH_HASHING, PH_WRITE_BACK, PLACE, SINCE, STOP, S_START, WORD_WINDOW, WORKER, X_CHUNK,
    X_DMA, X_FILLED, X_NEXT, X_WINDOW,
)  # fmt: skip
# isort: on

__all__ = ["engine", "lead", "park"]


@compiled
def park(hw, i, c, nxt, at, now):  # pragma: no cover - compiled
    """Thread i comes to a barrier with the instruction issued at `at`; the last one sets off `nxt`:
    a state L_... of the core's first worker, or, of the die, C_START of its single threads."""
    par, th, core, wheel, queue, cnt = hw.par, hw.th, hw.core, hw.wheel, hw.queue, hw.cnt
    cores, per_core, workers = par[CORES], par[THREADS_PER_CORE], par[WORKERS]
    t = wait(th, i, at, at, W_PIPELINE)
    th[i, SINCE] = t
    cnt[BARRIERS] += 1
    gauge(queue, cnt, ACTIVE_GAUGE, -1, now)
    if nxt == C_START:
        span(hw.spans, hw.last, queue, c, th[i, WORKER], 0, t, PH_DISTRIBUTION, -1)
        queue[DIE_ARRIVED] += 1
        queue[DIE_LAST] = max(queue[DIE_LAST], t)
        if queue[DIE_ARRIVED] == cores * workers:
            queue[DIE_ARRIVED] = 0
            at = queue[DIE_LAST] + par[FAR_BARRIER]
            for d in range(cores):
                single = d * per_core + workers
                th[single, STATE] = C_START
                th[single, BEGUN] = at
                th[single, WAIT + W_IDLE] += at
                file(th, wheel, queue, single, at, now)
            gauge(queue, cnt, ACTIVE_GAUGE, cores, now)
        return
    if core[c, C_TOKEN] >= 0:
        span(
            hw.spans,
            hw.last,
            queue,
            c,
            th[i, WORKER],
            th[i, BEGUN],
            t,
            PH_HASHING,
            core[c, C_WINDOW],
        )
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


@compiled
def lead(hw, work, a, i, c, st, t, now):  # pragma: no cover - compiled
    """A step of states L_: time, instructions, what follows, next state, address, cause."""
    par, cost, th, core, ring, banks, wheel, queue, cnt, net = (
        hw.par,
        hw.cost,
        hw.th,
        hw.core,
        hw.ring,
        hw.banks,
        hw.wheel,
        hw.queue,
        hw.cnt,
        hw.net,
    )
    cores = par[CORES]
    per_core = par[THREADS_PER_CORE]
    workers = par[WORKERS]
    threads = cores * per_core
    static = par[STATIC]
    offsets = par[OFFSET]
    dma = par[DMA]
    entry_bytes = 8 + par[VALUE_BYTES]
    slots = par[SLOTS]
    n, op, nxt, address, cause = 0, GO, st, 0, POINTER_READ
    if st == L_EMPTY:  # the window is hashed, or scanned
        begun = core[c, C_BEGUN]
        far = core[c, C_FAR]
        core[c, C_BEGUN] = t
        window = core[c, C_WINDOW]
        scanned = far > 0 or not offsets
        if scanned and core[c, C_TOKEN] >= 0:  # hashed: now every worker scans
            core[c, C_TOKEN] = -1
            span(hw.spans, hw.last, queue, c, -1, begun, t, PH_HASHING, window)
            nxt = S_START
        elif scanned:
            span(hw.spans, hw.last, queue, c, -1, begun, t, PH_WRITE_BACK, window)
            work.sizes[window] = core[c, C_COUNT]
            return t, 0, NEXT_STATE, L_CLAIM, 0, 0
        else:
            span(hw.spans, hw.last, queue, c, -1, begun, t, PH_HASHING, window)
            work.sizes[window] = core[c, C_COUNT]
            gauge(queue, cnt, ENTRY_GAUGE, -core[c, C_COUNT], now)
            for s in range(core[c, C_BASE], core[c, C_BASE] + slots):
                work.table[s, 0] = 0
                work.table[s, 1] = 0
            if dma:
                return t, 0, NEXT_STATE, L_START, 0, 0
            core[c, C_TOKEN] = -1
            nxt = K_START
        for w in range(workers):
            other = c * per_core + w
            if other != i:
                th[other, WAIT + W_BARRIER] += t - th[other, SINCE]
            th[other, STATE] = nxt
            file(th, wheel, queue, other, t, now)
        gauge(queue, cnt, ACTIVE_GAUGE, workers - 1, now)
        return t, 0, STOP, st, 0, 0
    elif st == L_START:  # the engine clears the tags, then copies what was hashed
        if offsets and not dma and core[c, C_COUNT] > 0:
            span(
                hw.spans,
                hw.last,
                queue,
                c,
                -1,
                core[c, C_BEGUN],
                t,
                PH_WRITE_BACK,
                core[c, C_WINDOW],
            )
        jobs = 2 if dma and core[c, C_COUNT] > 0 else 1
        _job(core, c, FILL_PAD, (12 if offsets else 16) * slots, 0)
        core[c, C_FILLS] += 1
        if jobs == 2:
            _job(core, c, COPY, entry_bytes * core[c, C_COUNT], par[Z] + entry_bytes * core[c, C_Z])
        n = jobs * cost[X_DMA] + 1
        at = issue(th, ring, cnt, i, t, n)
        t = wait(th, i, at, at, W_DMA)
        _wake(th, wheel, queue, threads + c, t, now)
        core[c, C_COUNT] = 0
        return t, 0, NEXT_STATE, L_CLAIM, 0, 0
    elif st == L_CLAIM:
        core[c, C_ORDER] += 1
        if static:
            th[i, PLACE] = c + cores * core[c, C_ORDER]
            n, op, nxt = cost[X_WINDOW] + 1, GO, L_CLAIMED
        else:
            n, op, nxt = cost[X_WINDOW] + 1, EVENT, L_CLAIMED
    elif st == L_CLAIMED:  # event, unless static
        if not static:
            done = remote_atomic(net, banks, c, 0, WORD_WINDOW, now)
            cnt[HOT_ATOMIC] += 1
            t = wait(th, i, now, done, W_REMOTE)
            th[i, PLACE] = queue[NEXT_WINDOW]
            queue[NEXT_WINDOW] += 1
        if th[i, PLACE] >= par[WINDOWS]:
            for w in range(workers):
                other = c * per_core + w
                if other != i:
                    th[other, WAIT + W_BARRIER] += t - th[other, SINCE]
                th[other, ENDED] = t
            gauge(queue, cnt, ACTIVE_GAUGE, -1, now)
            queue[LEFT] -= workers
            queue[END] = max(queue[END], t)
            return t, 0, STOP, st, 0, 0
        n, op, nxt = 1, LOAD, L_GO
        address = par[WINDOW] + 32 * th[i, PLACE]
        cause = WINDOW_READ
    elif st == L_GO:
        window = th[i, PLACE]
        far = work.far[window]
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
            return t, 0, STOP, st, 0, 0  # the engine files it
        core[c, C_WAITING] = 0
        cnt[WINDOW_COUNT] += 1
        if far > 0:
            cnt[OVERFLOW_WINDOW] += 1
        core[c, C_WINDOW] = window
        core[c, C_ROW], core[c, C_ROW_END] = work.begins[window], work.begins[window + 1]
        core[c, C_E] = a.ptr[core[c, C_ROW]]
        core[c, C_E_END] = a.ptr[core[c, C_ROW_END]]
        share = (core[c, C_E_END] - core[c, C_E]) // (2 * workers)
        core[c, C_TOKEN_SIZE] = min(par[TOKEN_SIZE], max(1, share))
        core[c, C_Z] = work.places[window]
        core[c, C_FAR] = far
        core[c, C_SLOTS] = far if far > 0 else slots
        core[c, C_BASE] = c * slots
        if far > 0:
            core[c, C_BASE] = cores * slots + c * ((len(work.table) - cores * slots) // cores)
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
        return t, 0, STOP, st, 0, 0
    return t, n, op, nxt, address, cause


@compiled
def engine(hw, i, c, st, t, now):  # pragma: no cover - compiled
    """A step of states X_, of a core's engine: the same."""
    par, th, core, wheel, queue, cnt, net = (
        hw.par,
        hw.th,
        hw.core,
        hw.wheel,
        hw.queue,
        hw.cnt,
        hw.net,
    )
    per_core = par[THREADS_PER_CORE]
    if st == X_NEXT:
        if core[c, C_HEAD] == core[c, C_TAIL]:
            th[i, SINCE] = 0  # idle
            return t, 0, STOP, st, 0, 0
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
        return t, 0, STOP, st, 0, 0
    elif st == X_CHUNK:  # event
        job = C_JOBS + 3 * (core[c, C_HEAD] & 3)
        size = min(core[c, job + 1], par[DMA_CHUNK])
        copy = core[c, job] == COPY
        cnt[DMA_MOVED] += size
        if copy:
            cnt[SCRATCHPAD] += -(-size // 8)
        done = store(net, c, core[c, job + 2], size, Z_WRITE if copy else TABLE_WRITE, now)
        t = max(done - par[STORE_CYCLES], now + -(-size // par[DMA_BYTES]))
        core[c, job + 1] -= size
        core[c, job + 2] += size
        th[i, STATE] = X_CHUNK
        if core[c, job + 1] == 0:
            th[i, STATE] = X_FILLED
        file(th, wheel, queue, i, t, now)
        return t, 0, STOP, st, 0, 0
    elif st == X_FILLED:  # event: a descriptor is done
        job = C_JOBS + 3 * (core[c, C_HEAD] & 3)
        core[c, C_HEAD] += 1
        queue[END] = max(queue[END], now)
        span(hw.spans, hw.last, queue, c, -1, th[i, BEGUN], now, PH_DMA, -1)
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
        return t, 0, NEXT_STATE, X_NEXT, 0, 0
    return t, 0, STOP, st, 0, 0


@compiled
def _job(core, c, kind, size, address):  # pragma: no cover - compiled
    job = C_JOBS + 3 * (core[c, C_TAIL] & 3)
    core[c, job] = kind
    core[c, job + 1] = size
    core[c, job + 2] = address
    core[c, C_TAIL] += 1


@compiled
def _wake(th, wheel, queue, engine, at, now):  # pragma: no cover - compiled
    """Starts an idle engine; a busy one finds its next descriptor itself."""
    if th[engine, SINCE] == 0:
        th[engine, SINCE] = 1
        th[engine, STATE] = X_NEXT
        file(th, wheel, queue, engine, at, now)
