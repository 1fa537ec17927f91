"""Cuts a client's commands into bursts and reserves room for each before it is offered.

Bursts stay in aligned blocks of `block_words(bus)` words: the first ends at a block's end, those
between are whole blocks. So the next address needs no adder over a variable length, and none
crosses 4 KB, which is a multiple of a block. `hwsim.models.axi_law.bursts` is the same rule.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.config_base import BusConfig
from hwsim.rtl.axi import BYTES_BITS, block_words, command_layout

__all__ = ["BurstSplitter", "burst_layout"]


def burst_layout(bus: BusConfig) -> data.StructLayout:
    """A burst: address, beats - 1, whether it ends its command, bytes - 1 of its last beat."""
    word_bits = (bus.data_bits // 8).bit_length() - 1
    return data.StructLayout(
        {"address": bus.address_bits, "length": 8, "last": 1, "tail": word_bits}
    )


class BurstSplitter(wiring.Component):
    """Commands in, bursts out; three cycles from a command to its first burst.

    A burst is offered every second cycle at most, and a command is taken every second cycle: then
    no path leads from an arbiter's grant through the next burst's length to the credits. A client
    whose bursts are single words gets a word every second cycle.

    Args:
        bus: the bus.
        room: words that may be reserved at most.
        start: of these, how many after reset.

    Ports:
        command: {address, bytes}.
        burst: `burst_layout(bus)`. A burst is offered only when its words fit in the room there
            is, and takes them.
        give: a word of room comes (back) in this cycle.
        held: a command or an offered burst is held.
        stop: drops commands and the offered burst; room is as after reset.
    """

    def __init__(self, bus: BusConfig, room: int, start: int) -> None:
        self.bus = bus
        self.room = room
        self.start = start
        super().__init__(
            {
                "command": In(stream.Signature(command_layout(bus))),
                "burst": Out(stream.Signature(burst_layout(bus))),
                "give": In(1),
                "held": Out(1),
                "stop": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words = block_words(self.bus)
        in_word = (self.bus.data_bits // 8).bit_length() - 1  # bits of a byte's place in a word
        in_block = words.bit_length() - 1  # bits of a word's place in a block
        block_bits = self.bus.address_bits - in_word - in_block

        # First stage: which blocks the command touches, and where in the first and last.
        address, length = self.command.payload.address, self.command.payload.bytes
        end = Signal(BYTES_BITS + 1)  # of the last byte, from the first block's start
        m.d.comb += end.eq(address[in_word : in_word + in_block] * (1 << in_word) + length - 1)
        place_bits = max(in_block, 1)
        command = data.StructLayout(
            {
                "block": block_bits,
                "place": place_bits,  # of the first word in its block
                "more": BYTES_BITS + 1 - in_word - in_block,  # blocks behind the first
                "end": place_bits,  # of the last word in its block
                "tail": in_word,
            }
        )
        waiting, waits = Signal(command), Signal()
        m.d.comb += self.command.ready.eq(~waits)
        with m.If(~waits):
            m.d.sync += [
                waits.eq(self.command.valid & (length != 0)),
                waiting.block.eq(address[in_word + in_block :]),
                waiting.place.eq(address[in_word : in_word + in_block]),
                waiting.more.eq(end[in_word + in_block :]),
                waiting.end.eq(end[in_word : in_word + in_block]),
                waiting.tail.eq(end[:in_word]),
            ]

        # Second stage: the next burst, its length known from registers.
        now, valid = Signal(command), Signal()
        final = Signal()  # `now` has no further block
        above = Signal(place_bits)  # beats - 1
        take = Signal()  # the next burst is offered
        with m.If(~valid | (take & final)):
            last = Mux(waiting.more == 0, waiting.end, words - 1)
            m.d.sync += [
                now.eq(waiting),
                valid.eq(waits),
                final.eq(waiting.more == 0),
                above.eq(last - waiting.place),
            ]
            with m.If(waits):
                m.d.sync += waits.eq(0)
        with m.Elif(take):
            m.d.sync += [
                now.block.eq(now.block + 1),
                now.place.eq(0),
                now.more.eq(now.more - 1),
                final.eq(now.more == 1),
                above.eq(Mux(now.more == 1, now.end, words - 1)),
            ]

        # A burst is offered when its words fit. The sums stand side by side, so that one carry
        # chain is between registers; what is given counts a cycle later.
        left = Signal(range(self.room + 1), init=self.start)
        given = Signal()
        m.d.comb += [
            take.eq(valid & ~self.burst.valid & (left > above)),
            self.held.eq(waits | valid | self.burst.valid),
        ]
        m.d.sync += [
            given.eq(self.give),
            left.eq(Mux(take, left + given - above - 1, left + given)),
        ]
        with m.If(self.burst.ready):
            m.d.sync += self.burst.valid.eq(0)
        with m.If(take):
            m.d.sync += [
                self.burst.valid.eq(1),
                self.burst.payload.address.eq(
                    Cat(Const(0, in_word), now.place[:in_block], now.block)
                ),
                self.burst.payload.length.eq(above),
                self.burst.payload.last.eq(final),
                self.burst.payload.tail.eq(Mux(final, now.tail, (1 << in_word) - 1)),
            ]
        with m.If(self.stop):
            m.d.sync += [
                waits.eq(0),
                valid.eq(0),
                self.burst.valid.eq(0),
                given.eq(0),
                left.eq(left.init),
            ]
        return m
