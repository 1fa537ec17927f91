"""Write-back by threads in the hash kernels on PIUMA: scanning tables, copying dense arrays.

Scan: every thread looks at its share of the slots; an entry takes its place in the result by
fetch-add, is stored, and its slot is cleared. Empty slots are passed in one event up to `AHEAD`
clocks. Copy: entry e of the dense arrays is stored by thread e mod threads.
"""

from __future__ import annotations

# isort: off
from hwsim.dataflows.piuma_compile import compiled

from hwsim.dataflows.piuma_machine import (
    ATOMIC_CYCLES, ENTRY_GAUGE, HOT_ATOMIC, POINTER_READ, SCRATCHPAD, SLOTS, STATE, TABLE_READ,
    VALUE_BYTES, WORKERS, W_ATOMIC, W_DRAM, W_SCRATCHPAD, Z, Z_WRITE, access, atomic, dram, file,
    gauge, issue, store, wait,
)  # fmt: skip
from hwsim.dataflows.piuma_program import (
    AHEAD, C_BASE, C_COUNT, C_FAR, C_FAR_AT, C_SLOTS, C_Z, EVENT, GO, K_ENTRY, K_START, K_STORE,
    L_EMPTY, L_START, NEXT_STATE, PARK, PLACE, P_END, SLOT, STOP, S_EMIT, S_FAR, S_SCAN, S_START,
    S_STORE, TAGS, WORD_COUNT, WORKER, X_COPY, X_EMIT, X_SCAN,
)  # fmt: skip
# isort: on

__all__ = ["write_back"]


@compiled
def write_back(hw, work, i, c, st, t, now):  # pragma: no cover - compiled
    """A step of states S_, K_: time, instructions, what follows, next state, address, cause."""
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
    workers = par[WORKERS]
    value_at = work.table_v.shape[1] // 2
    entry_bytes = 8 + par[VALUE_BYTES]
    slots = par[SLOTS]
    n, op, nxt, address, cause = 0, GO, st, 0, POINTER_READ
    if st == S_START:
        share = (core[c, C_SLOTS] + workers - 1) // workers
        th[i, SLOT] = min(share * th[i, WORKER], core[c, C_SLOTS])
        th[i, P_END] = min(share * (th[i, WORKER] + 1), core[c, C_SLOTS])
        return t, 0, NEXT_STATE, S_SCAN, 0, 0
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
                found = work.table[base + slot, 0]
                if found > 0:
                    break
                slot += 1
            th[i, SLOT] = slot
            if found > 0:
                n, op, nxt = cost[X_EMIT] + 1, EVENT, S_EMIT
            elif slot < top:
                th[i, STATE] = S_SCAN
                file(th, wheel, queue, i, t, now)
                return t, 0, STOP, st, 0, 0
            else:
                n, op, nxt = 1, PARK, L_EMPTY
    elif st == S_FAR:  # event: a slot of a table in DRAM
        slot = th[i, SLOT]
        done = dram(net, c, core[c, C_FAR_AT] + 16 * slot, 16, TABLE_READ, -1, now)
        t = wait(th, i, now, done, W_DRAM)
        if work.table[core[c, C_BASE] + slot, 0] > 0:
            n, op, nxt = cost[X_EMIT] + 1, EVENT, S_EMIT
        else:
            th[i, SLOT] += 1
            return t, 0, NEXT_STATE, S_SCAN, 0, 0
    elif st == S_EMIT:  # event: a place in the result
        done = atomic(par, banks, cnt, c, WORD_COUNT, now, par[ATOMIC_CYCLES])
        cnt[HOT_ATOMIC] += 1
        t = wait(th, i, now, done, W_ATOMIC)
        place = core[c, C_Z] + core[c, C_COUNT]
        core[c, C_COUNT] += 1
        th[i, PLACE] = place
        at_slot = core[c, C_BASE] + th[i, SLOT]
        work.z_key[place] = work.table[at_slot, 0] - 1
        work.z_val[place] = work.table_v[at_slot, value_at]
        work.table[at_slot, 0] = 0
        work.table[at_slot, 1] = 0
        if core[c, C_FAR] == 0:
            gauge(queue, cnt, ENTRY_GAUGE, -1, now)
            at = issue(th, ring, cnt, i, t, 1)  # its value
            word = TAGS + slots + th[i, SLOT]
            t = wait(th, i, at, access(par, banks, cnt, c, word, at), W_SCRATCHPAD)
        n, op, nxt = 2, EVENT, S_STORE
    elif st == S_STORE:  # event
        done = store(net, c, par[Z] + entry_bytes * th[i, PLACE], entry_bytes, Z_WRITE, now)
        t = wait(th, i, now, done, W_DRAM)
        th[i, SLOT] += 1
        if core[c, C_FAR] == 0:
            cnt[SCRATCHPAD] += 2  # tag and value are cleared
            n, op, nxt = 2, GO, S_SCAN
        else:
            return t, 0, NEXT_STATE, S_SCAN, 0, 0
    elif st == K_START:
        th[i, PLACE] = th[i, WORKER]
        return t, 0, NEXT_STATE, K_ENTRY, 0, 0
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
            net, c, par[Z] + entry_bytes * (core[c, C_Z] + th[i, PLACE]), entry_bytes, Z_WRITE, now
        )
        t = wait(th, i, now, done, W_DRAM)
        th[i, PLACE] += workers
        return t, 0, NEXT_STATE, K_ENTRY, 0, 0
    return t, n, op, nxt, address, cause
