"""AXI4 read engine: commands of several clients over one read channel.

Each client has a queue of bus words. A burst is asked for only when the queue has room for all of
it, so `rready` is always high and no client can block another. All bursts carry one ID, so words
come in the order in which their bursts were asked for.

Sustained rate: a word a cycle while bursts x words under way cover the round trip, in general
min(1, k b / (L + b + 8)) for k bursts of b words at once, where L is the memory's latency and k is
limited by `outstanding_reads` over all clients and by the client's queue (queue words // b);
`hwsim.models.axi_law` states it exactly. A client whose bursts are single words gets a word every
second cycle at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwsim.config_base import BusConfig
from hwsim.rtl.axi import (
    Slice,
    axi_read_members,
    block_words,
    command_layout,
    drive_address,
    pick,
    queue_sizes,
    under_way,
    word_layout,
)
from hwsim.rtl.axi_burst import BurstSplitter
from hwsim.rtl.rowwise_parts import RoundRobin

__all__ = ["ReadEngine", "read_queue_words"]


def read_queue_words(bus: BusConfig) -> int:
    """Words of a client's queue by default: all bursts that may be under way."""
    return max(3, bus.outstanding_reads * block_words(bus))


class ReadEngine(wiring.Component):
    """Commands in, bus words out.

    Args:
        bus: widths, burst length, bursts under way.
        clients: how many, at least 1.
        queue_words: words of each client's queue, one number for all or one each, at least
            max(3, `block_words(bus)`); default `read_queue_words(bus)`.

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
        default = read_queue_words(bus)
        self.queue_words = queue_sizes(
            bus, clients, default if queue_words is None else queue_words
        )
        self.bus = bus
        self.clients = clients
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

    def elaborate(self, platform: object) -> Module:
        m = Module()
        splitters, queues = self._clients(m)
        order_layout = data.StructLayout(
            {"client": range(max(self.clients, 2)), "last": 1, "address": self.bus.address_bits}
        )
        m.submodules.order = order = SyncFIFO(
            width=order_layout.size, depth=max(2, self.bus.outstanding_reads)
        )

        # Asking: the next client's burst to a register, then to the address channel and to the
        # order of words.
        ask_layout = data.StructLayout({"address": self.bus.address_bits, "length": 8})
        m.submodules.ask = ask = Slice(ask_layout)
        m.submodules.arbiter = arbiter = RoundRobin(self.clients)
        burst = pick(arbiter.grant, [one.burst.payload for one in splitters])
        chosen, asked = Signal(), Signal(order_layout)
        length = Signal(8)
        answered = Signal()  # the last word of a burst has come
        room = under_way(m, self.bus.outstanding_reads, self.read_burst, answered)
        m.d.comb += [
            arbiter.requests.eq(Cat(one.burst.valid for one in splitters)),
            arbiter.enable.eq((~chosen | ask.i.ready) & room & ~self.stop),
            *(one.burst.ready.eq(arbiter.grant[i]) for i, one in enumerate(splitters)),
            self.read_burst.eq(arbiter.grant.any()),
            ask.i.valid.eq(chosen),
            ask.i.payload.address.eq(asked.address),
            ask.i.payload.length.eq(length),
            order.w_en.eq(chosen & ask.i.ready),
            order.w_data.eq(asked),
            *drive_address(self.bus, self, "m_axi_ar", ask.o),
            self.m_axi_rready.eq(1),
        ]
        with m.If(~chosen | ask.i.ready):
            m.d.sync += [
                chosen.eq(self.read_burst),
                asked.client.eq(pick(arbiter.grant, list(range(self.clients)))),
                asked.last.eq(burst.last),
                asked.address.eq(burst.address),
                length.eq(burst.length),
            ]

        # Answers: registered, then to the queue of the client that is next in order.
        came = Signal()
        word = Signal(data.StructLayout({"data": self.bus.data_bits, "resp": 2, "last": 1}))
        head = Signal(order_layout)
        m.d.sync += [
            came.eq(self.m_axi_rvalid),
            word.data.eq(self.m_axi_rdata),
            word.resp.eq(self.m_axi_rresp),
            word.last.eq(self.m_axi_rlast),
        ]
        m.d.comb += [
            head.eq(order.r_data),
            answered.eq(came & word.last),
            order.r_en.eq(answered),
            self.read_bytes.eq(Mux(came, self.bus.data_bits // 8, 0)),
            self.idle.eq(
                ~order.r_rdy & ~chosen & ~came & ~Cat(one.held for one in splitters).any()
            ),
        ]
        for i, queue in enumerate(queues):
            m.d.comb += [
                queue.w_en.eq(came & (head.client == i)),
                queue.w_data.eq(Cat(word.data, word.last & head.last)),
            ]
        self._errors(m, came, word, head.address)
        return m

    def _clients(self, m: Module) -> tuple[list[Any], list[Any]]:
        """Splitter and queue of every client."""
        splitters, queues = [], []
        for i, words in enumerate(self.queue_words):
            m.submodules[f"splitter{i}"] = splitter = BurstSplitter(self.bus, words, words)
            queue = SyncFIFOBuffered(width=self.bus.data_bits + 1, depth=words)
            m.submodules[f"queue{i}"] = ResetInserter(self.stop)(queue)
            wiring.connect(m, wiring.flipped(self.command[i]), splitter.command)
            out = self.data[i]
            m.d.comb += [
                splitter.stop.eq(self.stop),
                splitter.give.eq(queue.r_rdy & queue.r_en),
                Value.cast(out.payload).eq(queue.r_data),
                out.valid.eq(queue.r_rdy),
                queue.r_en.eq(out.ready),
            ]
            splitters.append(splitter)
            queues.append(queue)
        return splitters, queues

    def _errors(self, m: Module, came: Signal, word: Any, address: Any) -> None:
        """The first bad word: a burst stays in its block, so only the place in it counts up."""
        beat = Signal(8)
        low = (self.bus.data_bits // 8).bit_length() - 1
        high = low + block_words(self.bus).bit_length() - 1
        place = (address[low:high] + beat)[: high - low]
        with m.If(came):
            m.d.sync += beat.eq(Mux(word.last, 0, beat + 1))
        with m.If(self.stop):
            m.d.sync += self.error.eq(0)
        with m.Elif(came & word.resp[1] & ~self.error):
            m.d.sync += [
                self.error.eq(1),
                self.error_response.eq(word.resp),
                self.error_address.eq(Cat(address[:low], place, address[high:])),
            ]
