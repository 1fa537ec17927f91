"""One cycle of the row-wise engine's result ports: dense arrays to entries of C.

Part of `hwsim.dataflows.rowwise_kernel`, which says how cycles are stepped. Output o serves the
banks o, o + outputs, ...
"""

from __future__ import annotations

from numba import njit

from hwsim.dataflows.rowwise_ports import PORT_QUEUE, RESULT

__all__ = ["CLOSED", "CLOSING", "LAST", "RESULTS", "RESULT_FIELDS", "WORDS", "step_results"]

RESULTS, CLOSED, WORDS, CLOSING, LAST = range(5)
"""Scalars: words taken, closing words among them, words in the queues, outputs that have not closed
their window, the last cycle in which a word was taken."""

RESULT_FIELDS = 5


@njit(cache=True)
def step_results(
    t, half, r, size, at, held, closing, turn, since, passed, q_key, q_v, q_n, q_head,
    dense_key, dense_v, z_key, z_v, z_cycle, z_port, gaps, gap_n, stride,
):  # fmt: skip  # pragma: no cover - compiled
    """The ports, the arbiters before them, the reads of the dense arrays.

    Args:
        t: the cycle.
        half: that is hashed into; the other one drains.
        r: the scalars.
        size, at, held: of each bank, entries to drain, entries fetched, whether one is offered.
        closing, turn, since, passed: of each output, whether its window is open, the bank next in
            its turn, when the next word may pass, words passed.
        q_key, q_v, q_n, q_head: the queues at the ports; tag -1 closes a window.
        dense_key, dense_v: [2, banks, entries].
        z_key, z_v, z_cycle, z_port: what was taken.
        gaps, gap_n: as `step_windows`; stride: see its `sizes`.
    """
    outputs, group = closing.size, size.size // closing.size
    for o in range(outputs):
        room = q_n[o] < PORT_QUEUE
        if q_n[o] > 0 and t >= since[o]:
            h, i = q_head[o], r[RESULTS]
            z_key[i], z_v[i], z_cycle[i], z_port[i] = q_key[o, h], q_v[o, h], t, o
            r[CLOSED] += q_key[o, h] < 0
            r[RESULTS] += 1
            r[LAST] = t
            q_head[o] = (h + 1) % PORT_QUEUE
            q_n[o] -= 1
            r[WORDS] -= 1
            passed[o] += 1
            since[o] = t + 1 + gaps[RESULT, (passed[o] + o * stride) % gap_n[RESULT]]
        if not closing[o]:
            continue
        grant, empty = -1, True
        for j in range(group):
            g = turn[o] + j
            if g >= group:
                g -= group
            b = o + g * outputs
            if held[b]:
                empty = False
                if grant < 0:
                    grant = g
            elif at[b] != size[b]:
                empty = False
        tail = (q_head[o] + q_n[o]) % PORT_QUEUE
        if room and empty:
            q_key[o, tail], q_v[o, tail] = -1, 0
            q_n[o] += 1
            r[WORDS] += 1
            closing[o] = False
            r[CLOSING] -= 1
        elif room and grant >= 0:
            b = o + grant * outputs
            q_key[o, tail] = dense_key[1 - half, b, at[b] - 1]
            q_v[o, tail] = dense_v[1 - half, b, at[b] - 1]
            q_n[o] += 1
            r[WORDS] += 1
            held[b] = False
            turn[o] = grant + 1 if grant + 1 < group else 0
        for g in range(group):
            b = o + g * outputs
            if not held[b] and at[b] != size[b]:
                held[b] = True
                at[b] += 1
