"""AXI4 write engine: commands and words of several clients over the write channels.

Each client has a queue of bus words. A burst goes out only when all its words stand in the queue,
so that a slow client never holds the W channel. All bursts carry one ID, so responses come in the
order of the bursts; `bready` is always high.
"""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.config_base import BusConfig
from hwsim.rtl.axi import axi_write_members, block_words, command_layout

__all__ = ["WriteEngine", "write_queue_words"]


def write_queue_words(bus: BusConfig) -> int:
    """Words of a client's queue by default: one burst that goes out, one that comes in."""
    return 2 * block_words(bus)


class WriteEngine(wiring.Component):
    """Commands and bus words in, writes out.

    Args:
        bus: widths, burst length; as many write bursts as `outstanding_reads` may be under way.
        clients: how many, at least 1.
        queue_words: words of each client's queue, one number for all or one each, at least
            `block_words(bus)`; default `write_queue_words(bus)`.

    Ports:
        command[i]: {address, bytes}, `command_layout(bus)`; address a multiple of the bus's bytes
            (lower bits are ignored); of the last word only the bytes of the command are strobed;
            0 bytes is no transfer and gives no `done`.
        data[i]: bus words (plain bits), ceil(bytes / bus bytes) for every command, in order. They
            are taken while the queue has room, before or after their command: a client that does
            not know its length may send up to `queue_words` words first and then the command.
        done[i]: high for one cycle when all bursts of the client's oldest command are acknowledged.
        stop: while high: nothing new goes out, commands and words are dropped; bursts whose address
            was given are finished. Hold it until `idle`; then the engine is as after reset.
        idle: no command is held and all bursts are acknowledged.
        write_burst: a burst goes out in this cycle.
        write_bytes: bytes strobed in this cycle's word (0 when none is put out).
        error: sticky until `stop`: a burst was answered by SLVERR or DECERR.
        error_address, error_response: of the first such burst.
        m_axi_aw*, m_axi_w*, m_axi_b*: the AXI4 write channels.
    """

    def __init__(
        self, bus: BusConfig, clients: int, queue_words: int | Sequence[int] | None = None
    ) -> None:
        if clients < 1:
            raise ValueError(f"clients >= 1 must hold, but got {clients}")
        given = write_queue_words(bus) if queue_words is None else queue_words
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
                "data": In(stream.Signature(bus.data_bits)).array(clients),
                "done": Out(1).array(clients),
                "stop": In(1),
                "idle": Out(1),
                "write_burst": Out(1),
                "write_bytes": Out(range(bus.data_bits // 8 + 1)),
                "error": Out(1),
                "error_address": Out(bus.address_bits),
                "error_response": Out(2),
                **axi_write_members(bus),
            }
        )
