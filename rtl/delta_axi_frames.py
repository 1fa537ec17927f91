"""Frames into a delta core and results out of it: by DMA from and to memory, or by AXI4-Streams.

`FrameReader` and `FrameWriter` are the DMA's side, `FrameGate` and `FrameMarker` the streams'. All
are told by `go` how many frames come, and by constant inputs where they are and how many beats each
has.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Member, Out

from hwsim.config_base import BusConfig
from hwsim.models.bus_words import slot_bytes
from hwsim.rtl.axi import BYTES_BITS, command_layout
from hwsim.rtl.delta_axi_parts import link
from hwsim.rtl.rowwise_parts import Queue
from hwsim.rtl.width import COUNT_BITS, BeatsToWords, WordsToBeats, beat_layout

__all__ = ["STRIDE_BITS", "FrameGate", "FrameMarker", "FrameReader", "FrameWriter"]

STRIDE_BITS = 32
"""Of the bytes from a frame to the next."""


class FrameReader(wiring.Component):
    """Reads frames: a command for each, its words cut into beats.

    Args:
        bus: the buses.
        beat_bits: of a beat.

    Ports:
        go: the constants hold from this cycle on.
        count, address, stride, beats: frames; where the first is; bytes from one to the next; beats
            of each.
        o: beats, the last of each frame marked.
        read, read_data: a client of the read engine; `read_data` are its bus words, plain.
    """

    def __init__(self, bus: BusConfig, beat_bits: int) -> None:
        self.bus = bus
        self.beat_bits = beat_bits
        super().__init__(
            {
                **_job_members(bus),
                "o": Out(stream.Signature(beat_layout(beat_bits))),
                "read": Out(stream.Signature(command_layout(bus))),
                "read_data": In(stream.Signature(bus.data_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.cutter = cutter = WordsToBeats(self.bus.data_bits, self.beat_bits)
        m.submodules.runs = runs = Queue(COUNT_BITS, 2)
        link(m, runs.o, cutter.run)
        link(m, self.read_data, cutter.i)
        link(m, cutter.o, self.o)
        fire = _commands(m, self, self.read, self.beat_bits, runs.i.ready)
        m.d.comb += [runs.i.valid.eq(fire), runs.i.payload.eq(self.beats)]
        return m


class FrameWriter(wiring.Component):
    """Writes results: a command for each frame, its beats gathered into words.

    Ports:
        go, count, address, stride, beats: as of `FrameReader`.
        i: beats.
        write, write_data, written: a client of the write engine.
        done: the results of all frames are acknowledged; not in the cycle after `go`.
    """

    def __init__(self, bus: BusConfig, beat_bits: int) -> None:
        self.bus = bus
        self.beat_bits = beat_bits
        super().__init__(
            {
                **_job_members(bus),
                "i": In(stream.Signature(beat_bits)),
                "write": Out(stream.Signature(command_layout(bus))),
                "write_data": Out(stream.Signature(bus.data_bits)),
                "written": In(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.gather = gather = BeatsToWords(self.beat_bits, self.bus.data_bits)
        last = _last(m, self.i, self.beats)
        m.d.comb += [
            gather.i.payload.data.eq(self.i.payload),
            gather.i.payload.last.eq(last),
            gather.i.valid.eq(self.i.valid),
            self.i.ready.eq(gather.i.ready),
            self.write_data.payload.eq(gather.o.payload.data),
            self.write_data.valid.eq(gather.o.valid),
            gather.o.ready.eq(self.write_data.ready),
        ]
        _commands(m, self, self.write, self.beat_bits, 1)
        _await(m, self, self.written)
        return m


class FrameGate(wiring.Component):
    """Frames from a stream, as many as `go` told of; what follows waits.

    Ports:
        go, count, beats: as of `FrameReader`.
        i: beats, plain.
        o: beats, the last of each frame marked.
    """

    def __init__(self, beat_bits: int) -> None:
        super().__init__(
            {
                "go": In(1),
                "count": In(32),
                "beats": In(COUNT_BITS),
                "i": In(stream.Signature(beat_bits)),
                "o": Out(stream.Signature(beat_layout(beat_bits))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left, some = Signal(32), Signal()
        m.d.comb += some.eq(left != 0)
        last = _last(m, self.i, self.beats)
        m.d.comb += [
            self.o.payload.data.eq(self.i.payload),
            self.o.payload.last.eq(last),
            self.o.valid.eq(self.i.valid & some),
            self.i.ready.eq(self.o.ready & some),
        ]
        with m.If(self.go):
            m.d.sync += left.eq(self.count)
        with m.Elif(self.i.valid & self.i.ready & last):
            m.d.sync += left.eq(left - 1)
        return m


class FrameMarker(wiring.Component):
    """Results to a stream, the last beat of each frame marked.

    Ports:
        go, count, beats: as of `FrameReader`.
        i: beats, plain.
        o: beats with marks.
        done: all results were taken; not in the cycle after `go`.
    """

    def __init__(self, beat_bits: int) -> None:
        super().__init__(
            {
                "go": In(1),
                "count": In(32),
                "beats": In(COUNT_BITS),
                "i": In(stream.Signature(beat_bits)),
                "o": Out(stream.Signature(beat_layout(beat_bits))),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.queue = queue = Queue(beat_layout(len(self.i.payload)), 2)
        last = _last(m, self.i, self.beats)
        m.d.comb += [
            queue.i.payload.data.eq(self.i.payload),
            queue.i.payload.last.eq(last),
            queue.i.valid.eq(self.i.valid),
            self.i.ready.eq(queue.i.ready),
        ]
        link(m, queue.o, self.o)
        _await(m, self, self.o.valid & self.o.ready & self.o.payload.last)
        return m


def _job_members(bus: BusConfig) -> dict[str, Member]:
    """What frames a descriptor runs."""
    return {
        "go": In(1),
        "count": In(32),
        "address": In(bus.address_bits),
        "stride": In(STRIDE_BITS),
        "beats": In(COUNT_BITS),
    }


def _commands(m: Module, unit: Any, command: Any, beat_bits: int, ready: Any) -> Signal:
    """A command for each frame; returns in which cycles one is made, at most when `ready`."""
    at, left = Signal(unit.bus.address_bits), Signal(32)
    size, fire = Signal(BYTES_BITS), Signal(name="asks")
    m.submodules.commands = queue = Queue(command_layout(unit.bus), 2)
    link(m, queue.o, command)
    m.d.sync += size.eq(unit.beats * slot_bytes(beat_bits, unit.bus.data_bits))
    m.d.comb += [
        fire.eq((left != 0) & queue.i.ready & ready),
        queue.i.valid.eq(fire),
        queue.i.payload.address.eq(at),
        queue.i.payload.bytes.eq(size),
    ]
    with m.If(unit.go):
        m.d.sync += [at.eq(unit.address), left.eq(unit.count)]
    with m.Elif(fire):
        m.d.sync += [at.eq(at + unit.stride), left.eq(left - 1)]
    return fire


def _last(m: Module, i: Any, beats: Any) -> Signal:
    """Whether the beat at `i` is the last of its frame."""
    at, last = Signal(COUNT_BITS, name="beat"), Signal(name="beat_last")
    m.d.comb += last.eq(at + 1 == beats)
    with m.If(i.valid & i.ready):
        m.d.sync += at.eq(Mux(last, 0, at + 1))
    return last


def _await(m: Module, unit: Any, event: Any) -> None:
    """`done` when the event came for every frame."""
    left = Signal(32, name="results_left")
    with m.If(unit.go):
        m.d.sync += left.eq(unit.count)
    with m.Elif(event):
        m.d.sync += left.eq(left - 1)
    m.d.comb += unit.done.eq(left == 0)
