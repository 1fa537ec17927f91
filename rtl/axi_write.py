"""AXI4 write engine: commands and words of several clients over the write channels.

Each client has a queue of bus words. A burst goes out only when all its words stand in the queue,
so that a slow client never holds the W channel. All bursts carry one ID, so responses come in the
order of the bursts; `bready` is always high.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO, SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwsim.config_base import BusConfig
from hwsim.rtl.axi import (
    Slice,
    axi_write_members,
    block_words,
    command_layout,
    drive_address,
    pick,
    queue_sizes,
    under_way,
)
from hwsim.rtl.axi_burst import BurstSplitter
from hwsim.rtl.rowwise_parts import RoundRobin

__all__ = ["WriteEngine", "write_queue_words"]


def write_queue_words(bus: BusConfig) -> int:
    """Words of a client's queue by default: one burst that goes out, one that comes in."""
    return max(3, 2 * block_words(bus))


class WriteEngine(wiring.Component):
    """Commands and bus words in, writes out.

    Args:
        bus: widths, burst length; as many write bursts as `outstanding_reads` may be under way.
        clients: how many, at least 1.
        queue_words: words of each client's queue, one number for all or one each, at least
            max(3, `block_words(bus)`); default `write_queue_words(bus)`.

    Ports:
        command[i]: {address, bytes}, `command_layout(bus)`; address a multiple of the bus's bytes
            (lower bits are ignored); of the last word only the bytes of the command are strobed;
            0 bytes is no transfer and gives no `done`.
        data[i]: bus words (plain bits), ceil(bytes / bus bytes) for every command, in order. They
            are taken while the queue has room, before or after their command: a client that does
            not know its length may send up to `queue_words` words first and then the command.
        done[i]: high for one cycle when all bursts of the client's oldest command are acknowledged
            without an error; after an error nothing is done until `stop`.
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
        default = write_queue_words(bus)
        self.queue_words = queue_sizes(
            bus, clients, default if queue_words is None else queue_words
        )
        self.bus = bus
        self.clients = clients
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

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sending = Signal()  # words of bursts whose address was given still stand in queues
        splitters, queues = self._clients(m, sending)
        client = range(max(self.clients, 2))
        in_word = (self.bus.data_bits // 8).bit_length() - 1
        words_layout = data.StructLayout({"client": self.clients, "length": 8, "tail": in_word})
        answer_layout = data.StructLayout(
            {"client": client, "last": 1, "address": self.bus.address_bits}
        )
        depth = max(2, self.bus.outstanding_reads)
        m.submodules.words = words = SyncFIFO(width=words_layout.size, depth=depth)
        m.submodules.answers = answers = SyncFIFO(width=answer_layout.size, depth=depth)

        # A burst whose words are there: to a register, then its address, its words' order, its
        # answer's order.
        ask_layout = data.StructLayout({"address": self.bus.address_bits, "length": 8})
        m.submodules.ask = ask = Slice(ask_layout)
        m.submodules.arbiter = arbiter = RoundRobin(self.clients)
        burst = pick(arbiter.grant, [one.burst.payload for one in splitters])
        chosen, next_words, next_answer = Signal(), Signal(words_layout), Signal(answer_layout)
        answered = Signal()
        room = under_way(m, self.bus.outstanding_reads, self.write_burst, answered)
        m.d.comb += [
            arbiter.requests.eq(Cat(one.burst.valid for one in splitters)),
            # answers outlive words, so there is room for the words as well
            arbiter.enable.eq((~chosen | ask.i.ready) & room & ~self.stop),
            *(one.burst.ready.eq(arbiter.grant[i]) for i, one in enumerate(splitters)),
            self.write_burst.eq(arbiter.grant.any()),
            ask.i.valid.eq(chosen),
            ask.i.payload.address.eq(next_answer.address),
            ask.i.payload.length.eq(next_words.length),
            words.w_en.eq(chosen & ask.i.ready),
            words.w_data.eq(next_words),
            answers.w_en.eq(chosen & ask.i.ready),
            answers.w_data.eq(next_answer),
            answered.eq(answers.r_en),
            *drive_address(self.bus, self, "m_axi_aw", ask.o),
        ]
        with m.If(~chosen | ask.i.ready):
            m.d.sync += [
                chosen.eq(self.write_burst),
                next_words.client.eq(arbiter.grant),
                next_words.length.eq(burst.length),
                next_words.tail.eq(burst.tail),
                next_answer.client.eq(pick(arbiter.grant, list(range(self.clients)))),
                next_answer.last.eq(burst.last),
                next_answer.address.eq(burst.address),
            ]
        self._words(m, queues, words, words_layout, chosen, sending)
        self._answers(m, answers, answer_layout, splitters, chosen)
        return m

    def _clients(self, m: Module, sending: Signal) -> tuple[list[Any], list[Any]]:
        """Splitter and queue of every client; a splitter's room is the words in the queue."""
        splitters, queues = [], []
        flush = Signal()
        m.d.comb += flush.eq(self.stop & ~sending)
        for i, words in enumerate(self.queue_words):
            m.submodules[f"splitter{i}"] = splitter = BurstSplitter(self.bus, words, 0)
            queue = SyncFIFOBuffered(width=self.bus.data_bits, depth=words)
            m.submodules[f"queue{i}"] = ResetInserter(flush)(queue)
            wiring.connect(m, wiring.flipped(self.command[i]), splitter.command)
            given = self.data[i]
            m.d.comb += [
                splitter.stop.eq(self.stop),
                queue.w_data.eq(given.payload),
                given.ready.eq(queue.w_rdy),
                queue.w_en.eq(given.valid & ~self.stop),
                splitter.give.eq(given.valid & queue.w_rdy),
            ]
            splitters.append(splitter)
            queues.append(queue)
        return splitters, queues

    def _words(
        self,
        m: Module,
        queues: list[Any],
        words: SyncFIFO,
        layout: Any,
        chosen: Signal,
        sending: Signal,
    ) -> None:
        """Words of burst after burst, one a cycle."""
        size = self.bus.data_bits // 8
        now, valid, final = Signal(layout), Signal(), Signal()
        left = Signal(8)  # beats behind this one
        out_layout = data.StructLayout({"data": self.bus.data_bits, "strobe": size, "last": 1})
        m.submodules.send = send = Slice(out_layout)
        following = Signal(layout)
        leaves = Signal()
        m.d.comb += [
            following.eq(words.r_data),
            sending.eq(chosen | words.r_rdy | valid),
            send.i.valid.eq(valid & (Cat(one.r_rdy for one in queues) & now.client).any()),
            leaves.eq(send.i.valid & send.i.ready),
            send.i.payload.data.eq(pick(now.client, [one.r_data for one in queues])),
            send.i.payload.last.eq(final),
            send.i.payload.strobe.eq(
                Mux(final, Cat(1, (now.tail >= i for i in range(1, size))), (1 << size) - 1)
            ),
            *(one.r_en.eq(leaves & now.client[i]) for i, one in enumerate(queues)),
            words.r_en.eq(~valid | (leaves & final)),
            self.m_axi_wdata.eq(send.o.payload.data),
            self.m_axi_wstrb.eq(send.o.payload.strobe),
            self.m_axi_wlast.eq(send.o.payload.last),
            self.m_axi_wvalid.eq(send.o.valid),
            send.o.ready.eq(self.m_axi_wready),
            self.write_bytes.eq(Mux(leaves, Mux(final, now.tail, size - 1) + 1, 0)),
        ]
        with m.If(words.r_en):
            m.d.sync += [
                valid.eq(words.r_rdy),
                now.eq(following),
                left.eq(following.length),
                final.eq(following.length == 0),
            ]
        with m.Elif(leaves):
            m.d.sync += [left.eq(left - 1), final.eq(left == 1)]

    def _answers(
        self, m: Module, answers: SyncFIFO, layout: Any, splitters: list[Any], chosen: Signal
    ) -> None:
        came, response, head = Signal(), Signal(2), Signal(layout)
        m.d.sync += [came.eq(self.m_axi_bvalid), response.eq(self.m_axi_bresp)]
        m.d.comb += [
            self.m_axi_bready.eq(1),
            head.eq(answers.r_data),
            answers.r_en.eq(came),
            self.idle.eq(
                ~answers.r_rdy & ~chosen & ~came & ~Cat(one.held for one in splitters).any()
            ),
        ]
        for i in range(self.clients):
            mine = came & head.last & (head.client == i)
            m.d.sync += self.done[i].eq(mine & ~response[1] & ~self.error & ~self.stop)
        with m.If(self.stop):
            m.d.sync += self.error.eq(0)
        with m.Elif(came & response[1] & ~self.error):
            m.d.sync += [
                self.error.eq(1),
                self.error_response.eq(response),
                self.error_address.eq(head.address),
            ]
