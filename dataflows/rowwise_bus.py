"""One read channel that all ports of the row-wise engine share, as an AXI4 master has it.

Ports are clients: row pointers of A, non-zeros of A, row pointers of B, then the lanes. The law:

    requests  a port's requests wait in order, cut into bursts at multiples of a block; the first
              burst may be granted `ahead` cycles after the request
    grant     one burst a cycle, ports in turn, a port every `spacing` cycles at most; only when
              fewer than `outstanding` bursts are under way, and when the port's queue has room for
              all of it
    words     first one `latency` + `address` cycles after the grant, then one a cycle, but never
              before the last one of the burst granted before: the channel answers in order
    port      a word is at the port `behind` cycles after it was on the bus; of a burst that is
              `done` cycles behind its last word another may be granted
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "A_POINTERS",
    "B_POINTERS",
    "A",
    "B",
    "BusMemory",
    "BusState",
    "answered",
    "ask",
    "bus_state",
    "step_bus",
    "word_is_there",
]

A_POINTERS, A, B_POINTERS, B = range(4)
"""Clients; lane i is B + i."""

_ON, _WORD, _BLOCK, _OUTSTANDING, _LATENCY, _AHEAD, _SPACING, _ADDRESS, _BEHIND, _DONE = range(10)
_TURN, _FREE, _BURSTS = 10, 11, 12
_SIZES = 13

_ROOM, _WAITING, _WAITING_HEAD, _BASE, _NEXT, _ASKED, _CAME, _CAME_HEAD, _GONE, _FROM = range(10)
_FIELDS = 10


@dataclass(frozen=True, kw_only=True)
class BusMemory:
    """A memory behind a shared channel.

    Attributes:
        word_bytes: of the bus.
        block_bytes: no burst crosses a multiple of it.
        outstanding: bursts under way at most.
        latency: cycles between a burst's address and its first word, the address's cycle excluded.
        ahead, spacing, address, behind, done: stages of the master, as the module says.
        queue_words: of the four kinds of client, each lane has its own.
    """

    word_bytes: int
    block_bytes: int
    outstanding: int
    latency: int
    ahead: int
    spacing: int
    address: int
    behind: int
    done: int
    queue_words: tuple[int, int, int, int]


class BusState(NamedTuple):
    """The channel as the compiled functions take it.

    Attributes:
        sizes: what `BusMemory` says, whose turn it is, cycle from which the channel is free, bursts
            granted so far.
        clients: of each: words of its queue; requests that wait, the first of them; words of
            requests that are answered, words behind which the next element ends; words asked for;
            bursts granted and not answered, the first of them, words before it; cycle from which it
            may have a grant.
        waiting: of requests that wait: next byte, end, cycle from which a burst may be granted.
        came: of bursts that are granted: cycle in which word 0 is at the port, words.
        until: cycle in which the credit of each of the last `outstanding` bursts comes back.
    """

    sizes: NDArray[np.int64]
    clients: NDArray[np.int64]
    waiting: NDArray[np.int64]
    came: NDArray[np.int64]
    until: NDArray[np.int64]


def bus_state(bus: BusMemory | None, lanes: int, requests: int) -> BusState:
    """The channel at rest; None is no channel.

    Args:
        bus: the memory.
        lanes: of the engine.
        requests: of a port that may wait at once.
    """
    clients = np.zeros((B + lanes, _FIELDS), np.int64)
    sizes = np.zeros(_SIZES, np.int64)
    if bus is None:
        empty = np.zeros((1, 1, 3), np.int64)
        return BusState(sizes, clients, empty, empty, np.zeros(1, np.int64))
    sizes[:_TURN] = (
        1, bus.word_bytes, bus.block_bytes, bus.outstanding, bus.latency, bus.ahead, bus.spacing,
        bus.address, bus.behind, bus.done,
    )  # fmt: skip
    a_pointers, a, b_pointers, b = bus.queue_words
    clients[:, _ROOM] = [a_pointers, a, b_pointers, *[b] * lanes]
    return BusState(
        sizes,
        clients,
        np.zeros((B + lanes, requests, 3), np.int64),
        np.zeros((B + lanes, max(bus.queue_words) + 1, 2), np.int64),
        np.full(bus.outstanding, -1, np.int64),
    )


@njit(cache=True)
def ask(bus, client, t, start, length, size):  # pragma: no cover - compiled
    """A request of `length` elements of `size` bytes passes in cycle `t`."""
    s, c = bus.sizes, bus.clients[client]
    if s[_ON] == 0:
        return
    word = s[_WORD]
    slot = (c[_WAITING_HEAD] + c[_WAITING]) % bus.waiting.shape[1]
    w = bus.waiting[client, slot]
    w[0] = start * size // word * word
    w[1] = -(-(start + length) * size // word) * word
    w[2] = t + s[_AHEAD]
    c[_WAITING] += 1


@njit(cache=True)
def step_bus(bus, t):  # pragma: no cover - compiled
    """Grants a burst in cycle `t`, if there is one that may go."""
    s = bus.sizes
    if s[_ON] == 0:
        return
    slot = s[_BURSTS] % s[_OUTSTANDING]
    if bus.until[slot] > t:
        return
    word, block = s[_WORD], s[_BLOCK]
    count = bus.clients.shape[0]
    for i in range(count):
        client = s[_TURN] + i
        if client >= count:
            client -= count
        c = bus.clients[client]
        if c[_WAITING] == 0 or c[_FROM] > t:
            continue
        w = bus.waiting[client, c[_WAITING_HEAD]]
        if w[2] > t:
            continue
        stop = min(w[1], (w[0] // block + 1) * block)
        words = (stop - w[0]) // word
        if c[_ASKED] - c[_NEXT] + words > c[_ROOM]:
            continue
        first = max(t + s[_ADDRESS] + s[_LATENCY], s[_FREE])
        c[_FROM] = t + s[_SPACING]
        s[_FREE] = first + words
        bus.until[slot] = first + words - 1 + s[_DONE]
        s[_BURSTS] += 1
        s[_TURN] = client + 1 if client + 1 < count else 0
        place = (c[_CAME_HEAD] + c[_CAME]) % bus.came.shape[1]
        bus.came[client, place, 0], bus.came[client, place, 1] = first + s[_BEHIND], words
        c[_CAME] += 1
        c[_ASKED] += words
        w[0] = stop
        if stop == w[1]:
            c[_WAITING_HEAD] = (c[_WAITING_HEAD] + 1) % bus.waiting.shape[1]
            c[_WAITING] -= 1
        return


@njit(cache=True)
def word_is_there(bus, client, t, start, element, size):  # pragma: no cover - compiled
    """Whether an element of the oldest request, from element `start` on, can pass in cycle `t`."""
    s = bus.sizes
    if s[_ON] == 0:
        return True
    c = bus.clients[client]
    at = c[_BASE] + (start * size % s[_WORD] + (element + 1) * size - 1) // s[_WORD]
    c[_NEXT] = at
    while c[_CAME] > 0:
        place = c[_CAME_HEAD]
        words = bus.came[client, place, 1]
        if at < c[_GONE] + words:
            return t >= bus.came[client, place, 0] + at - c[_GONE]
        c[_GONE] += words
        c[_CAME_HEAD] = (place + 1) % bus.came.shape[1]
        c[_CAME] -= 1
    return False


@njit(cache=True)
def answered(bus, client, start, length, size):  # pragma: no cover - compiled
    """The last element of the oldest request has passed."""
    s, c = bus.sizes, bus.clients[client]
    if s[_ON] == 0:
        return
    word = s[_WORD]
    c[_BASE] += -(-(start + length) * size // word) - start * size // word
    c[_NEXT] = c[_BASE]
