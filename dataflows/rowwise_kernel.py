"""The row-wise engine stepped cycle by cycle: the compiled part of `hwsim.dataflows.rowwise_sim`.

The machine is that of `rtl/rowwise.py`. All its units talk through queues whose `valid` and `ready`
depend on their fill at the start of a cycle. A cycle is stepped from the results back to the
windows: who reads a queue comes before who writes it, so what is read was there at the start, and
`room` is noted before the reader takes a word.

A product's tag is one integer, row << column_bits | column. Values are added when a sum begins:
the sum that the hardware writes later is seen by nobody before, which is what the wait is for.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hwsim.dataflows.rowwise_bus import B, answered, ask, step_bus, word_is_there
from hwsim.dataflows.rowwise_drain import (
    CLOSED,
    CLOSING,
    LAST,
    RESULT_FIELDS,
    RESULTS,
    WORDS,
    step_results,
)
from hwsim.dataflows.rowwise_front import TOKENS, TOKENS_HEAD, start_front, step_front
from hwsim.dataflows.rowwise_ports import (
    B_REQ,
    B_RSP,
    DONE,
    ELEMENT_BYTES,
    PORT_QUEUE,
    RESULT,
    SPILL,
)

__all__ = [
    "ACCUMULATES",
    "CAUSES",
    "DONE_CYCLE",
    "FLIP",
    "INSERTS",
    "MULTIPLIES",
    "PROBES",
    "SKIPPED",
    "SPILLED",
    "WAITS",
    "WINDOW_COUNTERS",
    "WINDOW_CYCLES",
    "WINDOW_FIELDS",
    "step_windows",
]

WINDOW_COUNTERS = (
    "multiplies",
    "skipped",
    "probes",
    "inserts",
    "accumulates",
    "waits",
    "spilled",
    "cycles",
)
"""Counters of a window, in the order of the word on `done`."""

MULTIPLIES, SKIPPED, PROBES, INSERTS, ACCUMULATES, WAITS, SPILLED, WINDOW_CYCLES = range(8)

FLIP, DONE_CYCLE = 8, 9
"""Further columns of a window's record: when it ended, when its word on `done` left."""

WINDOW_FIELDS = 10
"""Columns of a window's record: the counters, the cycle of its end, that of its word on `done`."""

CAUSES = ("multiply", "conflict", "b.wait", "token", "flush", "drain")
"""What a lane does in a cycle: it takes an element; its multiplier stands still since the queues
behind it are full; it waits for an element of B; for a token; for a window to be finished; for an
earlier window to drain."""

_MULTIPLY, _CONFLICT, _B_WAIT, _TOKEN, _FLUSH, _DRAIN = range(len(CAUSES))
_LONG_AGO = -(1 << 40)


@njit(cache=True)
def _grown(x):  # pragma: no cover - compiled
    """The same array with room for twice as much."""
    out = np.empty(2 * x.size, x.dtype)
    out[: x.size] = x
    return out


@njit(cache=True)
def step_windows(
    sizes, latency, factor, jobs, a_ptr, a_col, a_val, b_ptr, b_col, b_val, gaps, gap_n, bus, limit
):  # pragma: no cover - compiled
    """Work through windows.

    Args:
        sizes: lanes, banks, bank bits, slot bits, outputs, multiplier latency, adder latency,
            queue depths (token, request, product, bank), column bits, epoch bits, probe limit,
            elements of a token, entries by which a lane's or output's gaps begin behind those of
            the one before.
        latency: cycles from a request to its first word at the ports a_ptr, a, b_ptr, b.
        factor: of the row in the hash.
        jobs: int64 [windows, 2], first row of A and rows.
        a_ptr, a_col, a_val, b_ptr, b_col, b_val: A and B in CSR, values of one type.
        gaps, gap_n: int64 [ports, n] and how many of each row count.
        bus: the channel that all ports read through, of `hwsim.dataflows.rowwise_bus`.
        limit: cycles at most.

    Returns:
        cycles (-1 when the limit was reached); lane cycles by cause; a record for each window; of
        each result tag (-1 closes a window), value, cycle, output; of each spilled product tag,
        value, cycle.
    """
    lanes, banks, bank_bits, slot_bits, outputs = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    mul_l, add_l = sizes[5], sizes[6]
    tok_d, req_d, prod_d, bank_d = sizes[7], sizes[8], sizes[9], sizes[10]
    column_bits, epochs, probe_limit = sizes[11], (1 << sizes[12]) - 1, sizes[13]
    piece, stride, shared = sizes[14], sizes[15], bus.sizes[0] != 0
    entries = 1 << slot_bits
    hash_mask = (1 << (bank_bits + slot_bits)) - 1
    bank_mask, slot_mask = banks - 1, entries - 1
    value = a_val.dtype
    windows = jobs.shape[0]
    record = np.zeros((windows, WINDOW_FIELDS), np.int64)
    causes = np.zeros(6, np.int64)

    # when a port's next word may pass, and how many have passed
    spill_ok, done_ok = gaps[SPILL, 0], gaps[DONE, 0]
    bq_ok, br_ok = np.empty(lanes, np.int64), np.empty(lanes, np.int64)
    bq_n, br_n = np.zeros(lanes, np.int64), np.zeros(lanes, np.int64)
    for i in range(lanes):
        bq_ok[i] = gaps[B_REQ, i * stride % gap_n[B_REQ]]
        br_ok[i] = gaps[B_RSP, i * stride % gap_n[B_RSP]]
    z_ok, z_n = np.empty(outputs, np.int64), np.zeros(outputs, np.int64)
    for i in range(outputs):
        z_ok[i] = gaps[RESULT, i * stride % gap_n[RESULT]]

    # dispatcher: scalars, queues, reads under way
    f = start_front(gaps)
    rows, fetch = np.zeros((tok_d, 3), np.int64), np.zeros((PORT_QUEUE, 2), np.int64)
    asks = np.zeros(PORT_QUEUE, np.int64)
    reads, looks = np.zeros((tok_d + 2, 3), np.int64), np.zeros((tok_d + 2, 2), np.int64)
    el, el_v = np.zeros((tok_d, 3), np.int64), np.zeros(tok_d, value)
    tok, tok_v = np.zeros((tok_d, 5), np.int64), np.zeros(tok_d, value)
    turn = sent = 0
    barrier = False
    multiplies = skipped = 0

    # lanes
    task = np.zeros((lanes, req_d, 2), np.int64)  # row, length
    task_v = np.zeros((lanes, req_d), value)
    task_n, task_head = np.zeros(lanes, np.int64), np.zeros(lanes, np.int64)
    taken = np.zeros(lanes, np.int64)
    req = np.zeros((lanes, req_d, 2), np.int64)
    req_n, req_head = np.zeros(lanes, np.int64), np.zeros(lanes, np.int64)
    br_q = np.zeros((lanes, req_d + 1, 3), np.int64)  # reads of B under way: start, length, ready
    br_q_n, br_q_head = np.zeros(lanes, np.int64), np.zeros(lanes, np.int64)
    br_at = np.zeros(lanes, np.int64)
    lane_room = np.zeros(lanes, np.bool_)
    pipe_on = np.zeros((lanes, mul_l), np.bool_)
    pipe_key = np.zeros((lanes, mul_l), np.int64)
    pipe_hash = np.zeros((lanes, mul_l), np.int64)
    pipe_v = np.zeros((lanes, mul_l), value)
    pipe_at, pipe_n = np.zeros(lanes, np.int64), np.zeros(lanes, np.int64)
    prod_key = np.zeros((lanes, prod_d), np.int64)
    prod_hash = np.zeros((lanes, prod_d), np.int64)
    prod_v = np.zeros((lanes, prod_d), value)
    prod_n, prod_head = np.zeros(lanes, np.int64), np.zeros(lanes, np.int64)
    prod_room = np.zeros(lanes, np.bool_)

    # banks
    cross_turn = np.zeros(banks, np.int64)
    chosen, distance = np.empty(banks, np.int64), np.empty(banks, np.int64)
    in_key = np.zeros((banks, bank_d), np.int64)
    in_slot = np.zeros((banks, bank_d), np.int64)
    in_v = np.zeros((banks, bank_d), value)
    in_n, in_head = np.zeros(banks, np.int64), np.zeros(banks, np.int64)
    in_room = np.zeros(banks, np.bool_)
    on = np.zeros(banks, np.bool_)  # a product is probed
    on_key, on_slot = np.zeros(banks, np.int64), np.zeros(banks, np.int64)
    on_looked, on_v = np.zeros(banks, np.int64), np.zeros(banks, value)
    tag_key = np.zeros((banks, entries), np.int64)
    tag_window = np.full((banks, entries), -1, np.int64)
    tag_offset = np.zeros((banks, entries), np.int64)
    dense_key = np.zeros((2, banks, entries), np.int64)
    dense_v = np.zeros((2, banks, entries), value)
    began = np.full((banks, entries), _LONG_AGO, np.int64)  # the last sum of an offset
    last_sum = np.full(banks, _LONG_AGO, np.int64)
    count = np.zeros(banks, np.int64)
    epoch, sweep, window = 1, entries, 0
    half = 0
    probes = inserts = accumulates = waits = spilled = 0
    sp_key = np.zeros((banks, PORT_QUEUE), np.int64)
    sp_v = np.zeros((banks, PORT_QUEUE), value)
    sp_n, sp_head = np.zeros(banks, np.int64), np.zeros(banks, np.int64)
    sp_any = sp_turn = 0

    # results: two halves drain in turn, each output serves banks / outputs of them
    size, at = np.zeros(banks, np.int64), np.zeros(banks, np.int64)
    held = np.zeros(banks, np.bool_)
    z_turn = np.zeros(outputs, np.int64)
    closing = np.zeros(outputs, np.bool_)
    r = np.zeros(RESULT_FIELDS, np.int64)
    r[LAST] = -1
    zq_key = np.zeros((outputs, PORT_QUEUE), np.int64)
    zq_v = np.zeros((outputs, PORT_QUEUE), value)
    zq_n, zq_head = np.zeros(outputs, np.int64), np.zeros(outputs, np.int64)
    sq_key, sq_v = np.zeros(PORT_QUEUE, np.int64), np.zeros(PORT_QUEUE, value)
    sq_n = sq_head = 0
    dq_n = 0

    z_key, z_v = np.empty(1024, np.int64), np.empty(1024, value)
    z_cycle, z_port = np.empty(1024, np.int64), np.empty(1024, np.int64)
    s_key, s_v, s_cycle = np.empty(64, np.int64), np.empty(64, value), np.empty(64, np.int64)
    spills = dones = flipped = all_spilled = 0
    t = 0
    last_take = -1
    while dones < windows or r[CLOSED] < windows * outputs or spills < all_spilled:
        if t >= limit:
            last_take = r[LAST] = -2
            break
        if shared:
            step_bus(bus, t)
        # The window ends when everything behind the dispatcher stands still.
        flip = barrier and dq_n < PORT_QUEUE and r[CLOSING] == 0
        if flip:
            for i in range(lanes):
                if task_n[i] > 0 or pipe_n[i] > 0 or prod_n[i] > 0:
                    flip = False
                    break
        if flip:
            for b in range(banks):
                if in_n[b] > 0 or on[b] or sp_n[b] > 0 or t - last_sum[b] <= add_l + 1:
                    flip = False
                    break

        # result, spill and done ports, and the arbiters before them
        if r[WORDS] > 0 or r[CLOSING] > 0:
            if r[RESULTS] + outputs > z_key.size:
                z_key, z_v = _grown(z_key), _grown(z_v)
                z_cycle, z_port = _grown(z_cycle), _grown(z_port)
            step_results(
                t, half, r, size, at, held, closing, z_turn, z_ok, z_n, zq_key, zq_v, zq_n, zq_head,
                dense_key, dense_v, z_key, z_v, z_cycle, z_port, gaps, gap_n, stride,
            )  # fmt: skip
        spill_from = -1
        if sq_n > 0 or sp_any > 0:
            room = sq_n < PORT_QUEUE
            if sq_n > 0 and t >= spill_ok:
                if spills == s_key.size:
                    s_key, s_v, s_cycle = _grown(s_key), _grown(s_v), _grown(s_cycle)
                s_key[spills], s_v[spills], s_cycle[spills] = sq_key[sq_head], sq_v[sq_head], t
                spills += 1
                last_take = t
                sq_head = (sq_head + 1) % PORT_QUEUE
                sq_n -= 1
                spill_ok = t + 1 + gaps[SPILL, spills % gap_n[SPILL]]
            if sp_any > 0 and room:
                for j in range(banks):
                    b = (sp_turn + j) & bank_mask
                    if sp_n[b] > 0:
                        spill_from = b
                        break
                b = spill_from
                tail = (sq_head + sq_n) % PORT_QUEUE
                sq_key[tail], sq_v[tail] = sp_key[b, sp_head[b]], sp_v[b, sp_head[b]]
                sq_n += 1
                sp_head[b] = (sp_head[b] + 1) % PORT_QUEUE
                sp_n[b] -= 1
                sp_any -= 1
                sp_turn = (b + 1) & bank_mask
        if dq_n > 0 and t >= done_ok:
            record[dones, DONE_CYCLE] = t
            dones += 1
            last_take = t
            dq_n -= 1
            done_ok = t + 1 + gaps[DONE, dones % gap_n[DONE]]

        # banks: one probe
        for b in range(banks):
            in_room[b] = in_n[b] < bank_d
            if on[b]:
                s, key = on_slot[b], on_key[b]
                if tag_window[b, s] != window:
                    c = count[b]
                    tag_window[b, s], tag_key[b, s], tag_offset[b, s] = window, key, c
                    dense_key[half, b, c], dense_v[half, b, c] = key, on_v[b]
                    began[b, c] = last_sum[b] = t
                    count[b] = c + 1
                    inserts += 1
                    probes += 1
                    on[b] = False
                elif tag_key[b, s] == key:
                    c = tag_offset[b, s]
                    if t - began[b, c] <= add_l:
                        waits += 1
                    else:
                        dense_v[half, b, c] = dense_v[half, b, c] + on_v[b]
                        began[b, c] = last_sum[b] = t
                        accumulates += 1
                        probes += 1
                        on[b] = False
                elif on_looked[b] < probe_limit - 1:
                    on_slot[b] = (s + 1) & slot_mask
                    on_looked[b] += 1
                    probes += 1
                elif sp_n[b] + (b == spill_from) < PORT_QUEUE:
                    tail = (sp_head[b] + sp_n[b]) % PORT_QUEUE
                    sp_key[b, tail], sp_v[b, tail] = key, on_v[b]
                    sp_n[b] += 1
                    sp_any += 1
                    spilled += 1
                    all_spilled += 1
                    probes += 1
                    on[b] = False
            if not on[b] and in_n[b] > 0 and sweep == 0:
                h = in_head[b]
                on[b] = True
                on_key[b], on_slot[b], on_v[b] = in_key[b, h], in_slot[b, h], in_v[b, h]
                on_looked[b] = 0
                in_head[b] = h + 1 if h + 1 < bank_d else 0
                in_n[b] -= 1
        if sweep > 0:
            sweep -= 1

        # crossbar: each bank takes from the lane that is next in its turn
        asked = False
        for i in range(lanes):
            prod_room[i] = prod_n[i] < prod_d
            if prod_n[i] > 0:
                b = prod_hash[i, prod_head[i]] & bank_mask
                if in_room[b]:
                    if not asked:
                        distance[:] = lanes
                        asked = True
                    d = i - cross_turn[b]
                    if d < 0:
                        d += lanes
                    if d < distance[b]:
                        distance[b], chosen[b] = d, i
        if asked:
            for b in range(banks):
                if distance[b] == lanes:
                    continue
                i = chosen[b]
                h = prod_head[i]
                tail = in_head[b] + in_n[b]
                if tail >= bank_d:
                    tail -= bank_d
                in_key[b, tail], in_v[b, tail] = prod_key[i, h], prod_v[i, h]
                in_slot[b, tail] = prod_hash[i, h] >> bank_bits
                in_n[b] += 1
                prod_head[i] = h + 1 if h + 1 < prod_d else 0
                prod_n[i] -= 1
                cross_turn[b] = i + 1 if i + 1 < lanes else 0

        # lanes: multiplier, then the element that enters it, then the request port
        idle = _TOKEN
        if r[CLOSING] > 0 and (barrier or flipped == windows):
            idle = _DRAIN
        elif barrier or flipped == windows:
            idle = _FLUSH
        for i in range(lanes):
            p = pipe_at[i]
            en = prod_room[i] or not pipe_on[i, p]
            if en:
                if pipe_on[i, p]:
                    tail = prod_head[i] + prod_n[i]
                    if tail >= prod_d:
                        tail -= prod_d
                    prod_key[i, tail], prod_v[i, tail] = pipe_key[i, p], pipe_v[i, p]
                    prod_hash[i, tail] = pipe_hash[i, p]
                    prod_n[i] += 1
                    pipe_n[i] -= 1
                    pipe_on[i, p] = False
                pipe_at[i] = p + 1 if p + 1 < mul_l else 0
            lane_room[i] = task_n[i] < req_d and req_n[i] < req_d
            if task_n[i] == 0:
                causes[idle] += 1
            elif not en:
                causes[_CONFLICT] += 1
            elif (
                br_q_n[i] > 0
                and t >= max(br_ok[i], br_q[i, br_q_head[i], 2])
                and word_is_there(bus, B + i, t, br_q[i, br_q_head[i], 0], br_at[i], ELEMENT_BYTES)
            ):
                causes[_MULTIPLY] += 1
                h, q = task_head[i], br_q_head[i]
                e = br_q[i, q, 0] + br_at[i]
                row, col = task[i, h, 0], np.int64(b_col[e])
                pipe_on[i, p] = True
                pipe_n[i] += 1
                pipe_key[i, p] = row << column_bits | col
                place = (col + row * factor) & hash_mask
                pipe_hash[i, p] = place
                if bank_bits > 0:
                    rest = place >> bank_bits
                    while rest > 0:
                        pipe_hash[i, p] ^= rest & bank_mask
                        rest >>= bank_bits
                pipe_v[i, p] = task_v[i, h] * b_val[e]
                br_n[i] += 1
                br_ok[i] = t + 1 + gaps[B_RSP, (br_n[i] + i * stride) % gap_n[B_RSP]]
                br_at[i] += 1
                if br_at[i] == br_q[i, q, 1]:
                    if shared:
                        answered(bus, B + i, br_q[i, q, 0], br_at[i], ELEMENT_BYTES)
                    br_at[i] = 0
                    br_q_head[i] = q + 1 if q < req_d else 0
                    br_q_n[i] -= 1
                taken[i] += 1
                if taken[i] == task[i, h, 1]:
                    taken[i] = 0
                    task_head[i] = h + 1 if h + 1 < req_d else 0
                    task_n[i] -= 1
            else:
                causes[_B_WAIT] += 1
            if req_n[i] > 0 and t >= bq_ok[i]:
                h = req_head[i]
                tail = br_q_head[i] + br_q_n[i]
                if tail > req_d:
                    tail -= req_d + 1
                br_q[i, tail, 0], br_q[i, tail, 1] = req[i, h, 0], req[i, h, 1]
                br_q[i, tail, 2] = t + 1 + latency[3]
                if shared:
                    ask(bus, B + i, t, req[i, h, 0], req[i, h, 1], ELEMENT_BYTES)
                br_q_n[i] += 1
                req_head[i] = h + 1 if h + 1 < req_d else 0
                req_n[i] -= 1
                bq_n[i] += 1
                bq_ok[i] = t + 1 + gaps[B_REQ, (bq_n[i] + i * stride) % gap_n[B_REQ]]

        # hand-out
        tok_room = f[TOKENS] < tok_d
        if f[TOKENS] > 0 and not barrier:
            h = f[TOKENS_HEAD]
            passed = tok[h, 2] == 0
            if not passed:
                for j in range(lanes):
                    i = turn + j
                    if i >= lanes:
                        i -= lanes
                    if lane_room[i]:
                        passed = tok[h, 2] - sent <= piece
                        part = tok[h, 2] - sent if passed else piece
                        tail = (task_head[i] + task_n[i]) % req_d
                        task[i, tail, 0], task[i, tail, 1] = tok[h, 0], part
                        task_v[i, tail] = tok_v[h]
                        task_n[i] += 1
                        tail = (req_head[i] + req_n[i]) % req_d
                        req[i, tail, 0], req[i, tail, 1] = tok[h, 1] + sent, part
                        req_n[i] += 1
                        sent = 0 if passed else sent + piece
                        turn = i + 1 if i + 1 < lanes else 0
                        break
            if passed:
                multiplies += tok[h, 2]
                skipped += tok[h, 3] == 1 and tok[h, 2] == 0
                barrier = tok[h, 4] == 1
                f[TOKENS_HEAD] = (h + 1) % tok_d
                f[TOKENS] -= 1

        step_front(
            t, f, tok_room, tok, tok_v, el, el_v, rows, fetch, reads, asks, looks,
            jobs, a_ptr, a_col, a_val, b_ptr, gaps, gap_n, latency, bus,
        )  # fmt: skip
        if flip:
            record[window, MULTIPLIES], record[window, SKIPPED] = multiplies, skipped
            record[window, PROBES], record[window, INSERTS] = probes, inserts
            record[window, ACCUMULATES], record[window, WAITS] = accumulates, waits
            record[window, SPILLED], record[window, FLIP] = spilled, t
            record[window, WINDOW_CYCLES] = t + 1
            if window > 0:
                record[window, WINDOW_CYCLES] = t - record[window - 1, FLIP]
            multiplies = skipped = probes = inserts = accumulates = waits = spilled = 0
            barrier = False
            dq_n += 1
            flipped += 1
            window += 1
            half = 1 - half
            size[:] = count
            at[:] = 0
            count[:] = 0
            began[:] = _LONG_AGO
            closing[:] = True
            r[CLOSING] = outputs
            epoch += 1
            if epoch > epochs:
                epoch = 1
                sweep = entries
        t += 1
    n = r[RESULTS]
    return (
        max(last_take, r[LAST]) + 1, causes, record,
        z_key[:n], z_v[:n], z_cycle[:n], z_port[:n],
        s_key[:spills], s_v[:spills], s_cycle[:spills],
    )  # fmt: skip
