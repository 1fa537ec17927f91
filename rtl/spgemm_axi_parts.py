"""Address generators of the SpGEMM top: runs and pairs out of memory, results into it.

A run of elements may start at any element, so the reader asks for the bus words that it touches and
drops what stands before and behind it. Elements and bus words are powers of two of bytes, so an
element either lies in a word or is a few whole ones: cutting is a multiplexer.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.config_base import BusConfig
from hwsim.models.spgemm_jobs import POINTER_BYTES
from hwsim.rtl.axi import BYTES_BITS, Slice, block_words, command_layout
from hwsim.rtl.rowwise_parts import COUNT_BITS, PORT_QUEUE, Queue, pointers_layout, request_layout
from hwsim.rtl.width import BeatsToWords, beat_layout

__all__ = ["PairReader", "ResultStream", "ResultWriter", "RunReader", "link", "requests_ahead"]


def requests_ahead(bus: BusConfig) -> int:
    """Requests that a reader keeps the places of: those of all bursts under way, of two commands
    in its queue, two in the burst splitter and some whose words wait to be cut (not given; 4)."""
    return bus.outstanding_reads + 2 * PORT_QUEUE + 4


def link(m: Module, source: Any, sink: Any) -> None:
    """A stream from where it comes to where it goes."""
    m.d.comb += [
        Value.cast(sink.payload).eq(Value.cast(source.payload)),
        sink.valid.eq(source.valid),
        source.ready.eq(sink.ready),
    ]


class RunReader(wiring.Component):
    """Runs of consecutive elements.

    Args:
        bus: the bus.
        element_bytes: a power of two.

    Ports:
        base: address of element 0, a multiple of the bus's bytes; constant while requests come.
        request: {start, length}, a run of at least one element.
        o: the elements of run after run.
        read, read_data: a client of the read engine; its bus words without their marks.

    Throughput: an element a cycle, or as many as bus words give where an element is wider. Latency:
    a command one cycle after its request, an element one cycle after its word.
    """

    def __init__(self, bus: BusConfig, element_bytes: int) -> None:
        self.bus = bus
        self.element_bytes = element_bytes
        super().__init__(
            {
                "base": In(bus.address_bits),
                "request": In(stream.Signature(request_layout())),
                "o": Out(stream.Signature(element_bytes * 8)),
                "read": Out(stream.Signature(command_layout(bus))),
                "read_data": In(stream.Signature(bus.data_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bus_bytes = self.bus.data_bits // 8
        each = max(1, bus_bytes // self.element_bytes)  # elements of a word
        words = max(1, self.element_bytes // bus_bytes)  # words of an element
        run = self.request.payload
        skip = _place(run.start, each)
        places = data.StructLayout({"skip": len(skip), "length": COUNT_BITS})
        segments = _ask(m, self, places, run.start - skip, run.length + skip, self.element_bytes)
        m.d.comb += [
            segments.i.payload.skip.eq(skip),
            segments.i.payload.length.eq(run.length),
        ]

        m.submodules.out = out = Slice(self.element_bytes * 8)
        wiring.connect(m, wiring.flipped(self.o), out.o)
        active, final = Signal(), Signal()  # a run is cut; its last element is next
        left = Signal(COUNT_BITS)  # elements behind the next one
        place = Signal(range(max(each, words, 2)))
        taken, load = Signal(), Signal()
        m.d.comb += [
            taken.eq(out.i.valid & out.i.ready),
            load.eq(~active | (taken & final)),
            segments.o.ready.eq(load),
        ]
        if words == 1:
            given = self.read_data.payload.word_select(place, self.element_bytes * 8)
            m.d.comb += [
                out.i.payload.eq(given),
                out.i.valid.eq(active & self.read_data.valid),
                self.read_data.ready.eq(active & out.i.ready & (final | (place == each - 1))),
            ]
            with m.If(taken):
                m.d.sync += place.eq(Mux(place == each - 1, 0, place + 1))
            with m.If(load):
                m.d.sync += place.eq(segments.o.payload.skip)
        else:
            held = Signal(self.element_bytes * 8 - self.bus.data_bits)
            whole = place == words - 1
            m.d.comb += [
                out.i.payload.eq(Cat(held, self.read_data.payload)),
                out.i.valid.eq(active & self.read_data.valid & whole),
                self.read_data.ready.eq(active & (~whole | out.i.ready)),
            ]
            with m.If(self.read_data.valid & self.read_data.ready):
                m.d.sync += [
                    held.eq(Cat(held, self.read_data.payload)[self.bus.data_bits :]),
                    place.eq(Mux(whole, 0, place + 1)),
                ]
        with m.If(taken):
            m.d.sync += [left.eq(left - 1), final.eq(left == 1)]
        with m.If(load):
            m.d.sync += [
                active.eq(segments.o.valid),
                left.eq(segments.o.payload.length - 1),
                final.eq(segments.o.payload.length == 1),
            ]
        return m


class PairReader(wiring.Component):
    """Two row pointers that follow one another: where row k begins and ends.

    Ports:
        base: address of pointer 0, a multiple of the bus's bytes; constant while requests come.
        request: k.
        o: pointers k and k + 1, in the order of the requests.
        read, read_data: as of `RunReader`.

    Throughput: a pair for each of its bus words: one, or two where it straddles them.
    """

    def __init__(self, bus: BusConfig, index_bits: int) -> None:
        self.bus = bus
        super().__init__(
            {
                "base": In(bus.address_bits),
                "request": In(stream.Signature(index_bits)),
                "o": Out(stream.Signature(pointers_layout())),
                "read": Out(stream.Signature(command_layout(bus))),
                "read_data": In(stream.Signature(bus.data_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        each = self.bus.data_bits // 8 // POINTER_BYTES
        row = self.request.payload
        skip = _place(row, each)
        places = data.StructLayout({"skip": len(skip)})
        segments = _ask(m, self, places, row - skip, skip + 2, POINTER_BYTES)
        m.d.comb += segments.i.payload.skip.eq(skip)

        m.submodules.out = out = Slice(pointers_layout())
        wiring.connect(m, wiring.flipped(self.o), out.o)
        word, bits = self.read_data.payload, POINTER_BYTES * 8
        here = segments.o.payload.skip
        first, second = Signal(bits), Signal()  # the pointer of the word before; there is one
        split, step = Signal(), Signal()
        last = word[-bits:]
        straddles = here == each - 1
        m.d.comb += [
            split.eq(straddles & ~second),
            step.eq(segments.o.valid & self.read_data.valid & (split | out.i.ready)),
            out.i.valid.eq(segments.o.valid & self.read_data.valid & ~split),
            self.read_data.ready.eq(segments.o.valid & (split | out.i.ready)),
            segments.o.ready.eq(step & ~split),
        ]
        with m.If(second):
            m.d.comb += [out.i.payload.start.eq(first), out.i.payload.end.eq(word[:bits])]
        with m.Else():
            for at in range(each - 1):
                with m.If(here == at):
                    pair = word[at * bits : (at + 2) * bits]
                    m.d.comb += Value.cast(out.i.payload).eq(pair)
        with m.If(step):
            m.d.sync += [first.eq(last), second.eq(split)]
        return m


class ResultWriter(wiring.Component):
    """Records into a region of memory, in bursts as they come.

    Ports:
        base: address of the region, a multiple of the bus's bytes.
        size: of the region in bytes, a multiple of them as well. Both constant until `finished`.
        i: records; the one with `last` ends the region's use.
        write, write_data, written: a client of the write engine.
        finished: the last record is acknowledged by memory; until reset.
        full: a record does not fit; nothing is written beyond the region.
    """

    def __init__(self, bus: BusConfig, record_bits: int) -> None:
        self.bus = bus
        self.record_bits = record_bits
        super().__init__(
            {
                "base": In(bus.address_bits),
                "size": In(BYTES_BITS),
                "i": In(stream.Signature(beat_layout(record_bits))),
                "write": Out(stream.Signature(command_layout(bus))),
                "write_data": Out(stream.Signature(bus.data_bits)),
                "written": In(1),
                "finished": Out(1),
                "full": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        size = self.bus.data_bits // 8
        chunk = block_words(self.bus)  # words of a command: a burst, where the base is its multiple
        m.submodules.gather = gather = BeatsToWords(self.record_bits, self.bus.data_bits)
        m.submodules.commands = commands = Queue(command_layout(self.bus), PORT_QUEUE)
        wiring.connect(m, wiring.flipped(self.i), gather.i)
        wiring.connect(m, commands.o, wiring.flipped(self.write))
        word = gather.o
        begin = Signal(BYTES_BITS)  # of the command, from the base
        sent = Signal(BYTES_BITS)
        count = Signal(range(max(chunk, 2)))  # words of the command so far
        under_way = Signal(BYTES_BITS)
        closed, closes, room, moves, asks = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            closes.eq(word.payload.last | (count == chunk - 1)),
            room.eq((sent != self.size) & (commands.i.ready | ~closes)),
            moves.eq(word.valid & word.ready),
            asks.eq(moves & closes),
            word.ready.eq(room & self.write_data.ready),
            self.write_data.valid.eq(word.valid & room),
            self.write_data.payload.eq(word.payload.data),
            commands.i.valid.eq(asks),
            commands.i.payload.address.eq(self.base + begin),
            commands.i.payload.bytes.eq((count + 1) * size),
            self.finished.eq(closed & (under_way == 0)),
            self.full.eq(word.valid & (sent == self.size)),
        ]
        m.d.sync += under_way.eq(under_way + asks - self.written)
        with m.If(moves):
            m.d.sync += [sent.eq(sent + size), count.eq(count + 1)]
            with m.If(closes):
                m.d.sync += [count.eq(0), begin.eq(sent + size)]
            with m.If(word.payload.last):
                m.d.sync += closed.eq(1)
        return m


class ResultStream(wiring.Component):
    """Records to an AXI4-Stream; `last` becomes TLAST.

    Ports:
        i, finished, full: as of `ResultWriter`; `full` stays 0.
        o: to the port.
    """

    def __init__(self, record_bits: int) -> None:
        self.record_bits = record_bits
        super().__init__(
            {
                "i": In(stream.Signature(beat_layout(record_bits))),
                "o": Out(stream.Signature(beat_layout(record_bits))),
                "finished": Out(1),
                "full": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.out = out = Slice(beat_layout(self.record_bits))
        wiring.connect(m, wiring.flipped(self.i), out.i)
        wiring.connect(m, wiring.flipped(self.o), out.o)
        with m.If(self.o.valid & self.o.ready & self.o.payload.last):
            m.d.sync += self.finished.eq(1)
        return m


def _place(start: Value, each: int) -> Value:
    """Place of an element in its bus word, of one bit at least."""
    return start[: each.bit_length() - 1] if each > 1 else Const(0, 1)


def _ask(
    m: Module, unit: Any, places: data.StructLayout, whole: Value, count: Value, size: int
) -> Queue:
    """A command for each request of `unit`, and the queue of where to cut its words.

    Args:
        m: the module under construction.
        unit: with `base`, `request` and `read`.
        places: of a request; the caller gives the queue's payload.
        whole: element at which the first bus word begins.
        count: elements from there to the end.
        size: bytes of an element.
    """
    m.submodules.commands = commands = Queue(command_layout(unit.bus), PORT_QUEUE)
    m.submodules.places = segments = Queue(places, requests_ahead(unit.bus))
    wiring.connect(m, commands.o, wiring.flipped(unit.read))
    moves = Signal()
    m.d.comb += [
        unit.request.ready.eq(commands.i.ready & segments.i.ready),
        moves.eq(unit.request.valid & unit.request.ready),
        commands.i.valid.eq(moves),
        commands.i.payload.address.eq(unit.base + whole * size),
        commands.i.payload.bytes.eq(count * size),
        segments.i.valid.eq(moves),
    ]
    return segments
