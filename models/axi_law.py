"""What the DMA engines do on the bus, as laws: which bursts, and how many words a cycle.

The laws describe `hwsim.rtl.axi_read` and `hwsim.rtl.axi_write` by their structure; tests hold the
RTL against them, burst for burst and cycle for cycle.
"""

from __future__ import annotations

__all__ = ["BOUNDARY_BYTES", "READ_LOOP", "block_bytes", "bursts", "read_period", "read_rate"]

BOUNDARY_BYTES = 4096
"""No AXI burst crosses a multiple of this (AXI4, A3.4.1)."""

READ_LOOP = 8
"""Cycles that a read burst's room is taken beyond the memory's latency and the burst's own words:
the arbiter's register and the address register 2, the memory's answer 1, answer register 1, queue
2, credit and offer 2."""


def block_bytes(data_bits: int, burst_beats: int) -> int:
    """Bytes of the aligned blocks that bursts stay in: `burst_beats` words, 4 KB at most."""
    return min(burst_beats * data_bits // 8, BOUNDARY_BYTES)


def bursts(address: int, size: int, *, data_bits: int, burst_beats: int) -> list[tuple[int, int]]:
    """(address, beats) of a transfer's bursts, in order.

    Args:
        address: of its first byte; rounded down to a bus word.
        size: bytes; the last word counts whole.
        data_bits, burst_beats: of the bus.
    """
    word = data_bits // 8
    block = block_bytes(data_bits, burst_beats)
    here = address // word * word
    end = here + -(-size // word) * word
    found = []
    while here < end:
        behind = min(end, (here // block + 1) * block)
        found.append((here, (behind - here) // word))
        here = behind
    return found


def read_period(
    latency: int, *, burst_words: int, outstanding: int, queue_words: int | None = None
) -> tuple[int, int]:
    """(cycles, words) after which a client's long aligned read repeats itself.

    k bursts of b words are under way, as many as may be and as the queue holds. A burst's room is
    free for another when its last word has left the queue: `latency` + b + `READ_LOOP` cycles after
    it was granted. So k bursts take max(k b, latency + b + READ_LOOP) cycles; and as a client asks
    for a burst every second cycle at most, no less than 2 k.

    Args:
        latency: cycles from the one in which an address is taken to the one before its first word.
        burst_words: b.
        outstanding: bursts that may be under way.
        queue_words: of the client's queue; None is as much as `outstanding` bursts.
    """
    held = outstanding if queue_words is None else min(outstanding, queue_words // burst_words)
    words = held * burst_words
    return max(words, 2 * held, latency + burst_words + READ_LOOP), words


def read_rate(
    latency: int, *, burst_words: int, outstanding: int, queue_words: int | None = None
) -> float:
    """Bus words a cycle that a client's long aligned read sustains; see `read_period`."""
    cycles, words = read_period(
        latency, burst_words=burst_words, outstanding=outstanding, queue_words=queue_words
    )
    return words / cycles
