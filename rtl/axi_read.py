"""AXI4 read engine: commands of several clients over one read channel.

Each client has a queue of bus words. A burst is asked for only when the queue has room for all of
it, so `rready` is always high and no client can block another. All bursts carry one ID, so words
come in the order in which their bursts were asked for.

Sustained rate: a word a cycle while bursts x words under way cover the round trip, in general
min(1, k b / (L + b)) for k bursts of b words at once, where L is the number of cycles from the
cycle in which a burst is asked for until its first word has come, and k is limited by
`outstanding_reads` over all clients and by the client's queue (queue words // b).
"""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.config_base import BusConfig
from hwsim.rtl.axi import axi_read_members, block_words, command_layout, word_layout

__all__ = ["ReadEngine", "read_queue_words"]


def read_queue_words(bus: BusConfig) -> int:
    """Words of a client's queue by default: all bursts that may be under way."""
    return max(2, bus.outstanding_reads) * block_words(bus)


class ReadEngine(wiring.Component):
    """Commands in, bus words out.

    Args:
        bus: widths, burst length, bursts under way.
        clients: how many, at least 1.
        queue_words: words of each client's queue, one number for all or one each, at least
            `block_words(bus)`; default `read_queue_words(bus)`.

    Ports:
        command[i]: {address, bytes}, `command_layout(bus)`; address a multiple of the bus's bytes
            (lower bits are ignored), bytes rounded up to whole words; 0 bytes gives no word.
        data[i]: {data, last}, `word_layout(bus)`: the words of command after command in order.
        stop: while high: nothing new is asked for, all commands, words and errors are dropped.
            Hold it until `idle`; then the engine is as after reset.
        idle: no command is held and no burst is under way (words may still stand in queues).
        read_burst: a burst is asked for in this cycle.
        read_bytes: bytes that came in this cycle.
        error: sticky until `stop`: a word came with SLVERR or DECERR. Words are passed on all the
            same, so that nobody hangs.
        error_address, error_response: of the first such word.
        m_axi_ar*, m_axi_r*: the AXI4 read channels.
    """

    def __init__(
        self, bus: BusConfig, clients: int, queue_words: int | Sequence[int] | None = None
    ) -> None:
        if clients < 1:
            raise ValueError(f"clients >= 1 must hold, but got {clients}")
        given = read_queue_words(bus) if queue_words is None else queue_words
        words = (given,) * clients if isinstance(given, int) else tuple(given)
        if len(words) != clients or min(words) < block_words(bus):
            raise ValueError(
                f"queue_words must be {clients} numbers >= {block_words(bus)}, but got {given}"
            )
        self.bus = bus
        self.clients = clients
        self.queue_words = words
        super().__init__(
            {
                "command": In(stream.Signature(command_layout(bus))).array(clients),
                "data": Out(stream.Signature(word_layout(bus))).array(clients),
                "stop": In(1),
                "idle": Out(1),
                "read_burst": Out(1),
                "read_bytes": Out(range(bus.data_bits // 8 + 1)),
                "error": Out(1),
                "error_address": Out(bus.address_bits),
                "error_response": Out(2),
                **axi_read_members(bus),
            }
        )
