"""One cycle of the row-wise engine's dispatcher: windows to row pointers, non-zeros, tokens.

Part of `hwsim.dataflows.rowwise_kernel`, which says how cycles are stepped. The scalars of the
four units are one vector, indexed by the names below; each queue has a head and a fill there.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hwsim.dataflows.rowwise_bus import (
    A_POINTERS,
    B_POINTERS,
    A,
    answered,
    ask,
    word_is_there,
)
from hwsim.dataflows.rowwise_ports import (
    A_PTR_REQ,
    A_PTR_RSP,
    A_REQ,
    A_RSP,
    B_PTR_REQ,
    B_PTR_RSP,
    ELEMENT_BYTES,
    JOB,
    POINTER_BYTES,
    PORT_QUEUE,
)

__all__ = ["FRONT_FIELDS", "TOKENS", "TOKENS_HEAD", "start_front", "step_front"]

TOKENS, TOKENS_HEAD = 0, 1
_ELEMENTS, _ELEMENTS_HEAD = 2, 3
_ROWS, _ROWS_HEAD = 4, 5
_FETCHES, _FETCHES_HEAD = 6, 7  # requests of non-zeros at the port
_READS, _READS_HEAD, _READ_AT = 8, 9, 10  # of non-zeros under way; elements of the first given
_ASKS, _ASKS_HEAD = 11, 12  # requests of pointers of B at the port
_LOOKS, _LOOKS_HEAD = 13, 14  # of them under way
_JOBS, _ACTIVE, _FIRST, _ASK = 15, 16, 17, 18  # windows taken; one is read; no pointer of it yet
_LEFT, _ROW, _BEFORE = 19, 20, 21  # rows to come, this one, the last pointer
_POINTER, _POINTERS, _POINTER_FROM = 22, 23, 24  # next to answer, how many, since when
_TAKEN = 25  # non-zeros of the row so far
_COUNT, _FROM = 26, 33  # words passed, and when the next may, of the seven ports
FRONT_FIELDS = 40


@njit(cache=True)
def step_front(
    t, f, tok_room, tok, tok_v, el, el_v, rows, fetch, reads, asks, looks,
    jobs, a_ptr, a_col, a_val, b_ptr, gaps, gap_n, latency, bus,
):  # fmt: skip  # pragma: no cover - compiled
    """Pointers of B, non-zeros of A, row pointers, windows, from the last unit to the first.

    Args:
        t: the cycle.
        f: the scalars.
        tok_room: the queue of tokens had room when the cycle began.
        tok, tok_v: tokens: row, start, length, real, last; values.
        el, el_v: non-zeros: row, real, last; values.
        rows: row, length, last.
        fetch: start, length; asks: k, at the ports.
        reads: start, length, since when; looks: k, since when, under way.
        jobs, a_ptr, a_col, a_val, b_ptr, gaps, gap_n, latency, bus: as `step_windows`.
    """
    depth = tok_v.size
    ahead = depth + 2
    # pointers of B: tokens
    el_room = f[_ELEMENTS] < depth
    if f[_ELEMENTS] > 0 and tok_room:
        h = f[_ELEMENTS_HEAD]
        tail = (f[TOKENS_HEAD] + f[TOKENS]) % depth
        passed = el[h, 1] == 0
        if passed:
            tok[tail, 1], tok[tail, 2] = 0, 0
        elif (
            f[_LOOKS] > 0
            and t >= max(f[_FROM + B_PTR_RSP], looks[f[_LOOKS_HEAD], 1])
            and word_is_there(bus, B_POINTERS, t, looks[f[_LOOKS_HEAD], 0], 1, POINTER_BYTES)
        ):
            passed = True
            k = looks[f[_LOOKS_HEAD], 0]
            answered(bus, B_POINTERS, k, 2, POINTER_BYTES)
            tok[tail, 1], tok[tail, 2] = b_ptr[k], b_ptr[k + 1] - b_ptr[k]
            tok_v[tail] = el_v[h]
            f[_LOOKS_HEAD] = (f[_LOOKS_HEAD] + 1) % ahead
            f[_LOOKS] -= 1
            _pass(t, f, B_PTR_RSP, gaps, gap_n)
        if passed:
            tok[tail, 0], tok[tail, 3], tok[tail, 4] = el[h, 0], el[h, 1], el[h, 2]
            f[TOKENS] += 1
            f[_ELEMENTS_HEAD] = (h + 1) % depth
            f[_ELEMENTS] -= 1
    ask_room = f[_ASKS] < PORT_QUEUE
    if f[_ASKS] > 0 and t >= f[_FROM + B_PTR_REQ]:
        tail = (f[_LOOKS_HEAD] + f[_LOOKS]) % ahead
        looks[tail, 0], looks[tail, 1] = asks[f[_ASKS_HEAD]], t + 1 + latency[2]
        ask(bus, B_POINTERS, t, asks[f[_ASKS_HEAD]], 2, POINTER_BYTES)
        f[_LOOKS] += 1
        f[_ASKS_HEAD] = (f[_ASKS_HEAD] + 1) % PORT_QUEUE
        f[_ASKS] -= 1
        _pass(t, f, B_PTR_REQ, gaps, gap_n)

    # non-zeros of A
    rows_room = f[_ROWS] < depth
    if f[_ROWS] > 0 and el_room:
        h = f[_ROWS_HEAD]
        tail = (f[_ELEMENTS_HEAD] + f[_ELEMENTS]) % depth
        q = f[_READS_HEAD]
        end = passed = rows[h, 1] == 0
        offered = f[_READS] > 0 and t >= f[_FROM + A_RSP] and t >= reads[q, 2]
        offered = offered and word_is_there(bus, A, t, reads[q, 0], f[_READ_AT], ELEMENT_BYTES)
        if not passed and ask_room and offered:
            passed = True
            e = reads[q, 0] + f[_READ_AT]
            asks[(f[_ASKS_HEAD] + f[_ASKS]) % PORT_QUEUE] = a_col[e]
            f[_ASKS] += 1
            el_v[tail] = a_val[e]
            _pass(t, f, A_RSP, gaps, gap_n)
            f[_READ_AT] += 1
            if f[_READ_AT] == reads[q, 1]:
                answered(bus, A, reads[q, 0], reads[q, 1], ELEMENT_BYTES)
                f[_READ_AT] = 0
                f[_READS_HEAD] = (q + 1) % ahead
                f[_READS] -= 1
            f[_TAKEN] += 1
            end = f[_TAKEN] == rows[h, 1]
        if passed:
            el[tail, 0], el[tail, 1], el[tail, 2] = rows[h, 0], rows[h, 1] > 0, rows[h, 2] * end
            f[_ELEMENTS] += 1
            if end:
                f[_TAKEN] = 0
                f[_ROWS_HEAD] = (h + 1) % depth
                f[_ROWS] -= 1
    fetch_room = f[_FETCHES] < PORT_QUEUE
    if f[_FETCHES] > 0 and t >= f[_FROM + A_REQ]:
        tail = (f[_READS_HEAD] + f[_READS]) % ahead
        h = f[_FETCHES_HEAD]
        reads[tail, 0], reads[tail, 1], reads[tail, 2] = (
            fetch[h, 0],
            fetch[h, 1],
            t + 1 + latency[1],
        )
        f[_READS] += 1
        ask(bus, A, t, fetch[h, 0], fetch[h, 1], ELEMENT_BYTES)
        f[_FETCHES_HEAD] = (h + 1) % PORT_QUEUE
        f[_FETCHES] -= 1
        _pass(t, f, A_REQ, gaps, gap_n)

    # row pointers of A
    was_active = f[_ACTIVE]
    offered = f[_POINTERS] > 0 and t >= f[_FROM + A_PTR_RSP] and t >= f[_POINTER_FROM]
    if offered:
        first = jobs[f[_JOBS] - 1, 0]
        element = f[_POINTER] - first
        offered = word_is_there(bus, A_POINTERS, t, first, element, POINTER_BYTES)
    if was_active and fetch_room and rows_room and offered:
        _take_pointer(f, a_ptr[f[_POINTER]], rows, fetch)
        f[_POINTER] += 1
        f[_POINTERS] -= 1
        if f[_POINTERS] == 0:
            answered(bus, A_POINTERS, first, element + 1, POINTER_BYTES)
        _pass(t, f, A_PTR_RSP, gaps, gap_n)
    if f[_ASK] and t >= f[_FROM + A_PTR_REQ]:
        f[_ASK] = 0
        f[_POINTER], f[_POINTERS] = jobs[f[_JOBS] - 1, 0], jobs[f[_JOBS] - 1, 1] + 1
        f[_POINTER_FROM] = t + 1 + latency[0]
        ask(bus, A_POINTERS, t, f[_POINTER], f[_POINTERS], POINTER_BYTES)
        _pass(t, f, A_PTR_REQ, gaps, gap_n)
    if not was_active and f[_JOBS] < jobs.shape[0] and t >= f[_FROM + JOB]:
        f[_ACTIVE] = f[_FIRST] = f[_ASK] = 1
        f[_LEFT], f[_ROW] = jobs[f[_JOBS], 1], 0
        f[_JOBS] += 1
        _pass(t, f, JOB, gaps, gap_n)


@njit(cache=True)
def _take_pointer(f, pointer, rows, fetch):  # pragma: no cover - compiled
    if not f[_FIRST]:
        length = pointer - f[_BEFORE]
        if length > 0:
            tail = (f[_FETCHES_HEAD] + f[_FETCHES]) % PORT_QUEUE
            fetch[tail, 0], fetch[tail, 1] = f[_BEFORE], length
            f[_FETCHES] += 1
        if length > 0 or f[_LEFT] == 1:
            tail = (f[_ROWS_HEAD] + f[_ROWS]) % rows.shape[0]
            rows[tail, 0], rows[tail, 1], rows[tail, 2] = f[_ROW], length, f[_LEFT] == 1
            f[_ROWS] += 1
        f[_ROW] += 1
        f[_LEFT] -= 1
        f[_ACTIVE] = f[_LEFT] > 0
    f[_FIRST] = 0
    f[_BEFORE] = pointer


@njit(cache=True)
def _pass(t, f, port, gaps, gap_n):  # pragma: no cover - compiled
    """A word passes at a port of the dispatcher in cycle `t`."""
    f[_COUNT + port] += 1
    f[_FROM + port] = t + 1 + gaps[port, f[_COUNT + port] % gap_n[port]]


@njit(cache=True)
def start_front(gaps):  # pragma: no cover - compiled
    """The scalars at reset."""
    f = np.zeros(FRONT_FIELDS, np.int64)
    f[_FROM : _FROM + 7] = gaps[:7, 0]
    return f
