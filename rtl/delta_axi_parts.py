"""Weights for a delta core: an on-chip memory, or columns fetched over the bus.

A core asks for words of weights by number and always asks for whole segments, words that follow
one another: a GRU or a linear layer for a column, a convolution for the words of a pixel's filters.
`WeightFetch` reads a segment with one command as soon as its first word is asked for;
`WeightStore` answers in the next cycle.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.config_base import BusConfig
from hwsim.models.bus_words import beats_per_word, slot_bytes
from hwsim.models.delta_jobs import DeltaFormat
from hwsim.models.delta_shape import DeltaShape
from hwsim.rtl.axi import command_layout
from hwsim.rtl.delta_streamer import ENTRY_QUEUE
from hwsim.rtl.rowwise_parts import Queue
from hwsim.rtl.width import COUNT_BITS, WordsToBeats

__all__ = ["SEGMENTS", "WeightCutter", "WeightFetch", "WeightStore", "link"]

SEGMENTS = 8
"""Segments that may be under way. Not given; chosen: the short segments of convolutions, a word or
two of the bus each, then keep eight reads outstanding, as many as `BusConfig` has by default."""


def link(m: Module, source: Any, sink: Any) -> None:
    """A stream from where it comes to where it goes; signals of instances have no direction."""
    m.d.comb += [
        Value.cast(sink.payload).eq(Value.cast(source.payload)),
        sink.valid.eq(source.valid),
        source.ready.eq(sink.ready),
    ]


class WeightStore(wiring.Component):
    """The on-chip weight memory of one engine, 2**address_bits words of `lanes` weights.

    Ports:
        load: words in the order of their numbers, from number 0 at `restart`; a word a cycle.
        restart: the next word loaded is number 0.
        request: numbers of words, always taken.
        w: the words in the same order; a word asked for in one cycle is offered in the next. All
            that a core can have under way have room.
    """

    def __init__(self, shape: DeltaShape) -> None:
        self.shape = shape
        self.width = shape.lanes * shape.weight_bits
        super().__init__(
            {
                "load": In(stream.Signature(self.width)),
                "restart": In(1),
                "request": In(stream.Signature(shape.address_bits)),
                "w": Out(stream.Signature(self.width)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self.shape.address_bits
        m.submodules.words = words = memory.Memory(shape=self.width, depth=1 << bits, init=[])
        # what the lanes have not taken yet: no more requests are under way than entries
        depth = self.shape.prefetch + ENTRY_QUEUE
        m.submodules.waiting = waiting = Queue(self.width, depth)
        write, read = words.write_port(), words.read_port()
        at, fresh = Signal(bits), Signal()  # fresh: the memory's output is a word not yet passed on
        m.d.comb += [
            self.load.ready.eq(1),
            write.en.eq(self.load.valid),
            write.addr.eq(at),
            write.data.eq(self.load.payload),
            self.request.ready.eq(1),
            read.en.eq(self.request.valid),
            read.addr.eq(self.request.payload),
        ]
        m.d.sync += fresh.eq(self.request.valid)
        with m.If(self.restart):
            m.d.sync += at.eq(0)
        with m.Elif(self.load.valid):
            m.d.sync += at.eq(at + 1)
        m.d.comb += [
            waiting.i.payload.eq(read.data),
            waiting.i.valid.eq(fresh & (waiting.o.valid | ~self.w.ready)),
            waiting.o.ready.eq(self.w.ready),
            self.w.payload.eq(Mux(waiting.o.valid, waiting.o.payload, read.data)),
            self.w.valid.eq(waiting.o.valid | fresh),
        ]
        return m


def segment_layout(bus_bits: int, beat_bits: int) -> data.StructLayout:
    """`beats` words of weights; `skip` stand in front of them in the first bus word."""
    skips = max(1, beats_per_word(beat_bits, bus_bits) - 1)
    return data.StructLayout({"skip": skips.bit_length(), "beats": COUNT_BITS})


class WeightCutter(wiring.Component):
    """Cuts bus words into the words of weights of segment after segment; two or more a bus word.

    Ports:
        segment: `segment_layout`, `beats` at least 1.
        i: bus words of each segment, from the one with its first word to the one with its last.
        o: words of weights, one a cycle, across the borders of segments too.

    Raises:
        ValueError: a bus word holds only one.
    """

    def __init__(self, bus_bits: int, beat_bits: int) -> None:
        self.bus_bits = bus_bits
        self.beat_bits = beat_bits
        self.each = beats_per_word(beat_bits, bus_bits)
        if self.each < 2:
            raise ValueError(
                f"a bus word of {bus_bits} bits must hold two words of weights or more, "
                f"but got {beat_bits} bits"
            )
        super().__init__(
            {
                "segment": In(stream.Signature(segment_layout(bus_bits, beat_bits))),
                "i": In(stream.Signature(bus_bits)),
                "o": Out(stream.Signature(beat_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        slot = self.bus_bits // self.each
        active, place = Signal(), Signal(range(self.each))
        left = Signal(COUNT_BITS)
        last, taken, load = Signal(), Signal(), Signal()
        m.d.comb += [
            self.o.valid.eq(active & self.i.valid),
            self.o.payload.eq(self.i.payload.word_select(place, slot)[: self.beat_bits]),
            taken.eq(self.o.valid & self.o.ready),
            last.eq(left == 1),
            self.i.ready.eq(active & self.o.ready & (last | (place == self.each - 1))),
            load.eq(~active | (taken & last)),
            self.segment.ready.eq(load),
        ]
        with m.If(load):
            m.d.sync += [
                active.eq(self.segment.valid),
                place.eq(self.segment.payload.skip),
                left.eq(self.segment.payload.beats),
            ]
        with m.Elif(taken):
            m.d.sync += [place.eq(place + 1), left.eq(left - 1)]
        return m


class WeightFetch(wiring.Component):
    """Fetches the segments that a core asks for.

    Ports:
        base: address of word 0, a multiple of the bus's bytes; constant while requests come.
        words: of a segment; constant as well.
        request: numbers of words. The first of a segment becomes a command two cycles later, the
            others are only taken.
        w: the words in the same order.
        read, read_data: a client of the read engine; `read_data` are its bus words, plain.
    """

    def __init__(self, form: DeltaFormat, bus: BusConfig) -> None:
        self.form = form
        self.bus = bus
        super().__init__(
            {
                "base": In(bus.address_bits),
                "words": In(form.shape.address_bits),
                "request": In(stream.Signature(form.shape.address_bits)),
                "w": Out(stream.Signature(form.weight_bits)),
                "read": Out(stream.Signature(command_layout(bus))),
                "read_data": In(stream.Signature(bus.data_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits, bus_bits = self.form.weight_bits, self.bus.data_bits
        slot, each = slot_bytes(bits, bus_bits), beats_per_word(bits, bus_bits)
        m.submodules.commands = commands = Queue(command_layout(self.bus), SEGMENTS)
        m.submodules.segments = segments = Queue(segment_layout(bus_bits, bits), SEGMENTS)
        place = Signal(self.form.shape.address_bits)
        number, asked = Signal(self.form.shape.address_bits), Signal()
        first, enters, moves = Signal(), Signal(), Signal()
        m.d.comb += [
            first.eq(place == 0),
            moves.eq(asked & commands.i.ready & segments.i.ready),
            self.request.ready.eq(~first | ~asked | moves),
            enters.eq(self.request.valid & self.request.ready),
        ]
        with m.If(moves):
            m.d.sync += asked.eq(0)
        with m.If(enters):
            m.d.sync += place.eq(Mux(place + 1 == self.words, 0, place + 1))
            with m.If(first):
                m.d.sync += [number.eq(self.request.payload), asked.eq(1)]
        skip = number[: each.bit_length() - 1] if each > 1 else 0
        whole = number - skip
        m.d.comb += [
            commands.i.valid.eq(moves),
            commands.i.payload.address.eq(self.base + whole * slot),
            commands.i.payload.bytes.eq((self.words + skip) * slot),
            segments.i.valid.eq(moves),
            segments.i.payload.skip.eq(skip),
            segments.i.payload.beats.eq(self.words),
        ]
        link(m, commands.o, self.read)
        self._cut(m, segments.o, each)
        return m

    def _cut(self, m: Module, segments: Any, each: int) -> None:
        """Bus words to words of weights."""
        bits = self.form.weight_bits
        if each == 1:
            m.d.comb += segments.ready.eq(1)  # nothing to skip or to count
            m.d.comb += [
                self.w.payload.eq(self.read_data.payload),
                self.w.valid.eq(self.read_data.valid),
                self.read_data.ready.eq(self.w.ready),
            ]
            return
        if each:
            m.submodules.cutter = cutter = WeightCutter(self.bus.data_bits, bits)
            link(m, segments, cutter.segment)
            m.d.comb += self.w.payload.eq(cutter.o.payload)
        else:
            m.submodules.cutter = cutter = WordsToBeats(self.bus.data_bits, bits)
            m.d.comb += [
                cutter.run.payload.eq(segments.payload.beats),
                cutter.run.valid.eq(segments.valid),
                segments.ready.eq(cutter.run.ready),
                self.w.payload.eq(cutter.o.payload.data),
            ]
        link(m, self.read_data, cutter.i)
        m.d.comb += [self.w.valid.eq(cutter.o.valid), cutter.o.ready.eq(self.w.ready)]
