"""First phase of the hash kernels on PIUMA: bounds of the rows, windows.

Threads take rows, dealt out or claimed, and store the bound of each; after a barrier of the die one
single-thread pipeline of each core walks the bounds of its share of the rows and stores a
descriptor for every window that begins; after another barrier the first workers take windows.
"""

from __future__ import annotations

# isort: off
from hwsim.dataflows.piuma_compile import compiled

from hwsim.dataflows.piuma_machine import (
    ACTIVE_GAUGE, A_INDEX, A_POINTER, A_READ, BOUND, BOUND_READ, BOUND_WRITE, B_POINTER,
    COORDINATE_BYTES, CORES, DIE_ARRIVED, DIE_LAST, END, FAR_BARRIER, HOT_ATOMIC, LEFT, M,
    POINTER_BYTES, POINTER_READ, ROW_TOKEN, ROW_TOKENS, STATE, STATIC, THREADS_PER_CORE, WAIT,
    WINDOW, WINDOW_WRITE, WORKERS, W_BARRIER, W_DRAM, W_REMOTE, file, gauge, remote_atomic, span,
    store, wait,
)  # fmt: skip
from hwsim.dataflows.piuma_program import (
    BEGUN, C_COUNT, C_CUT, C_OPEN, C_ORDER, C_START, C_STORE, D_ADD, D_ENTRIES, D_POINTER,
    D_POINTER2, D_ROW, D_ROW2, D_START, D_STORE, D_TOKEN, E, ENDED, EVENT, E_END, GO, INNER, LOAD,
    L_START, NEXT_STATE, PARK, PH_CUT, PLACE, ROW, ROW_END, SINCE, STOP, WORD_ROWS, WORKER,
    X_BOUND, X_BOUND_ROW, X_CUT, X_TOKEN,
)  # fmt: skip
# isort: on

__all__ = ["distribute"]


@compiled
def distribute(hw, work, a, i, c, st, t, now):  # pragma: no cover - compiled
    """A step of states D_, C_: time, instructions, what follows, next state, address, cause."""
    par, cost, th, core, banks, wheel, queue, cnt, net = (
        hw.par,
        hw.cost,
        hw.th,
        hw.core,
        hw.banks,
        hw.wheel,
        hw.queue,
        hw.cnt,
        hw.net,
    )
    cores = par[CORES]
    per_core = par[THREADS_PER_CORE]
    workers = par[WORKERS]
    static = par[STATIC]
    n, op, nxt, address, cause = 0, GO, st, 0, POINTER_READ
    if st == D_START:
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
        done = remote_atomic(net, banks, c, 0, WORD_ROWS, now)
        cnt[HOT_ATOMIC] += 1
        t = wait(th, i, now, done, W_REMOTE)
        th[i, ROW] = queue[ROW_TOKENS] * par[ROW_TOKEN]
        queue[ROW_TOKENS] += 1
        th[i, ROW_END] = min(th[i, ROW] + par[ROW_TOKEN], par[M])
        return t, 0, NEXT_STATE, D_ROW, 0, 0
    elif st == D_ROW:
        if th[i, ROW] >= par[M]:
            n, op, nxt = 1, PARK, C_START
        elif th[i, ROW] == th[i, ROW_END]:
            return t, 0, NEXT_STATE, D_START, 0, 0
        else:
            n, op, nxt = cost[X_BOUND_ROW] + 1, LOAD, D_ROW2
            address = par[A_POINTER] + par[POINTER_BYTES] * th[i, ROW]
    elif st == D_ROW2:
        th[i, E] = a.ptr[th[i, ROW]]
        th[i, E_END] = a.ptr[th[i, ROW] + 1]
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
        th[i, INNER] = a.idx[th[i, E]]
        n, op, nxt = 1, LOAD, D_POINTER2
        address = par[B_POINTER] + par[POINTER_BYTES] * th[i, INNER]
    elif st == D_POINTER2:
        n, op, nxt = 1, LOAD, D_ADD
        address = par[B_POINTER] + par[POINTER_BYTES] * (th[i, INNER] + 1)
    elif st == D_ADD:
        th[i, E] += 1
        return t, 0, NEXT_STATE, D_ENTRIES, 0, 0
    elif st == D_STORE:  # event
        done = store(net, c, par[BOUND] + 8 * th[i, ROW], 8, BOUND_WRITE, now)
        t = wait(th, i, now, done, W_DRAM)
        th[i, ROW] += 1
        return t, 0, NEXT_STATE, D_ROW, 0, 0
    elif st == C_START:
        th[i, ROW] = par[M] * c // cores
        th[i, ROW_END] = par[M] * (c + 1) // cores
        return t, 0, NEXT_STATE, C_CUT, 0, 0
    elif st == C_CUT:
        if th[i, ROW] == th[i, ROW_END]:
            th[i, ENDED] = t
            queue[END] = max(queue[END], t)
            queue[LEFT] -= 1
            gauge(queue, cnt, ACTIVE_GAUGE, -1, now)
            span(hw.spans, hw.last, queue, c, -1, th[i, BEGUN], t, PH_CUT, -1)
            queue[DIE_ARRIVED] += 1
            queue[DIE_LAST] = max(queue[DIE_LAST], t)
            if queue[DIE_ARRIVED] == cores:
                queue[DIE_ARRIVED] = 0
                at = queue[DIE_LAST] + par[FAR_BARRIER]
                for d in range(cores):
                    leader = d * per_core
                    th[leader, WAIT + W_BARRIER] += at - th[leader, SINCE]
                    th[leader, STATE] = L_START
                    core[d, C_COUNT] = 0
                    core[d, C_ORDER] = -1
                    file(th, wheel, queue, leader, at, now)
                gauge(queue, cnt, ACTIVE_GAUGE, cores, now)
            return t, 0, STOP, st, 0, 0
        n, op, nxt = cost[X_CUT] + 1, LOAD, C_OPEN
        address = par[BOUND] + 8 * th[i, ROW]
        cause = BOUND_READ
    elif st == C_OPEN:
        row = th[i, ROW]
        th[i, ROW] += 1
        if work.window_of[row + 1] > work.window_of[row]:
            th[i, PLACE] = work.window_of[row]
            n, op, nxt = 1, EVENT, C_STORE
        else:
            return t, 0, NEXT_STATE, C_CUT, 0, 0
    elif st == C_STORE:  # event: a window's descriptor
        done = store(net, c, par[WINDOW] + 32 * th[i, PLACE], 32, WINDOW_WRITE, now)
        t = wait(th, i, now, done, W_DRAM)
        return t, 0, NEXT_STATE, C_CUT, 0, 0
    return t, n, op, nxt, address, cause
