"""One read channel that all ports of the row-wise engine share, as an AXI4 master has it.

The law, for a request of any port in cycle t:

    bursts   its bus words, cut at multiples of a block; one burst a cycle is asked for, over all
             ports in the order of their requests, none before t + `ahead`
    credits  a burst is asked for when fewer than `outstanding` are under way
    words    a burst's first word is `latency` + 1 cycles behind its address, a word follows another
             of the same or an earlier burst by a cycle: the channel answers in order
    port     a word can pass at the port `behind` cycles after it came; a request of several bursts
             that are held up is answered as if all of it were as late as the last

What the law leaves out: ports take turns burst by burst, and a burst waits until its port's queue
has room.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["BusMemory", "answer_from", "bus_state", "word_of"]

_ON, _WORD, _BLOCK, _OUTSTANDING, _AHEAD, _LATENCY, _BEHIND = range(7)
_ASKED, _FREE, _BURSTS, _WORDS, _RING = range(7, 12)


@dataclass(frozen=True, kw_only=True)
class BusMemory:
    """A memory behind a shared channel.

    Attributes:
        word_bytes: of the bus.
        block_bytes: no burst crosses a multiple of it.
        outstanding: bursts under way at most.
        latency: cycles between a burst's address and its first word, the address's cycle excluded.
        ahead: cycles from a request at a port to its address on the bus, when nothing is in front.
        behind: cycles from a word on the bus to the port.
    """

    word_bytes: int
    block_bytes: int
    outstanding: int
    latency: int
    ahead: int
    behind: int


def bus_state(bus: BusMemory | None) -> NDArray[np.int64]:
    """The channel at rest, as the compiled functions take it; None is no channel."""
    if bus is None:
        return np.zeros(_RING + 1, np.int64)
    state = np.zeros(_RING + bus.outstanding, np.int64)
    state[:_ASKED] = (
        1, bus.word_bytes, bus.block_bytes, bus.outstanding, bus.ahead, bus.latency, bus.behind,
    )  # fmt: skip
    state[_ASKED] = -1
    state[_RING:] = -1
    return state


@njit(cache=True)
def answer_from(bus, t, late, start, length, size):  # pragma: no cover - compiled
    """Cycle from which word 0 of a request may pass at its port; word w may w cycles later.

    Args:
        bus: the channel; it is moved on.
        t: cycle of the request.
        late: latency without a channel.
        start, length: elements.
        size: bytes of an element.
    """
    if bus[_ON] == 0:
        return t + 1 + late
    word, block = bus[_WORD], bus[_BLOCK]
    at = start * size // word * word
    end = -(-(start + length) * size // word) * word
    total = (end - at) // word
    came = 0
    while at < end:
        stop = min(end, (at // block + 1) * block)
        words = (stop - at) // word
        slot = _RING + bus[_BURSTS] % bus[_OUTSTANDING]
        asked = max(t + bus[_AHEAD], bus[_ASKED] + 1, bus[slot] + 1)
        came = max(asked + 1 + bus[_LATENCY], bus[_FREE]) + words - 1  # its last word
        bus[_ASKED], bus[_FREE], bus[slot] = asked, came + 1, came + 1
        bus[_BURSTS] += 1
        bus[_WORDS] += words
        at = stop
    return came - (total - 1) + bus[_BEHIND]


@njit(cache=True)
def word_of(bus, start, element, size):  # pragma: no cover - compiled
    """Which bus word of a request from element `start` holds the end of its element; 0 without a
    channel."""
    if bus[_ON] == 0:
        return 0
    return (start * size % bus[_WORD] + (element + 1) * size - 1) // bus[_WORD]
