"""Small components for proofs: helpers made into components, and lanes without arithmetic.

A proof about the order of words need not multiply: `DelayLane` has the ports of a lane and gives
back, as many steps later, bits of what went in. That the real lane holds its result while it does
not advance is the rule `lane holds`; that its latency is the assumed one is what every simulated
case checks, cycle for cycle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Assert, Cat, Fragment, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from hwsim.models.array import ArrayShape
from hwsim.rtl.pipeline import Pipeline
from hwsim.rtl.rowwise_parts import merge
from hwsim.rtl.sequencer import Sequencer, job_layout
from hwsim.rtl.sore import TopNLane
from hwsim.rtl.stream import Delay, lockstep
from hwsim.rtl.width import BeatsToWords, WordsToBeats, beat_layout

__all__ = [
    "BufferedQueue",
    "CutPipe",
    "DelayLane",
    "LaneHolds",
    "LockstepPipe",
    "MergeHarness",
    "SequencerHarness",
    "SorterStub",
    "WidthLoop",
]


class LockstepPipe(wiring.Component):
    """`hwsim.rtl.stream.lockstep` around `depth` registers."""

    def __init__(self, bits: int, depth: int) -> None:
        self.depth = depth
        super().__init__({"i": In(stream.Signature(bits)), "o": Out(stream.Signature(bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        en = lockstep(m, self.i, self.o, self.depth)
        late = Delay(m, en, reset=False)(self.i.payload, self.depth, "word")
        m.d.comb += self.o.payload.eq(late)
        return m


class CutPipe(wiring.Component):
    """`hwsim.rtl.pipeline.Pipeline` with registers at the given boundaries of three, and behind."""

    def __init__(self, bits: int, cuts: Sequence[int], last: int) -> None:
        self.cuts = tuple(cuts)
        self.last = last
        super().__init__({"i": In(stream.Signature(bits)), "o": Out(stream.Signature(bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        en = Signal()
        pipe = Pipeline(m, en, self.cuts, self.last)
        m.d.comb += en.eq(lockstep(m, self.i, self.o, pipe.latency))
        low, high = self.i.payload[:1], self.i.payload[1:]
        for _ in range(3):
            low, high = pipe.cut(low, high)
        m.d.comb += self.o.payload.eq(pipe.result(Cat(low, high)))
        return m


class DelayLane(wiring.Component):
    """A lane's ports, and at `o` the low bits of `given` as they were `depth` steps ago.

    Args:
        lane: the component whose ports it has.
        given, enable, o: names of the ports.
        depth: steps.
    """

    def __init__(self, lane: Any, *, given: str, enable: str, o: str, depth: int) -> None:
        self.lane = lane
        self.names = (given, enable, o)
        self.depth = depth
        super().__init__(dict(lane.signature.members.items()))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        Fragment.get(self.lane, None)  # else Amaranth warns that the lane was made and not used
        given, enable, o = (Value.cast(getattr(self, name)) for name in self.names)
        late = Delay(m, enable, reset=False)(given[: len(o)], self.depth, "word")
        m.d.comb += o.eq(late)
        return m


class SorterStub(wiring.Component):
    """The ports of `TopNLane`: holds its selector to what `SorterHarness` takes for granted.

    That is: places count up from 0 in every group, a group has 1 to M weights, it is moved out
    once, and only the next one's first weight may come in the cycle in which it is. `out` has the
    group's last weight in its low bits.
    """

    def __init__(self, n_max: int, m: int) -> None:
        self.lane = TopNLane(n_max=n_max, m=m)
        self.size = m
        super().__init__(dict(self.lane.signature.members.items()))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        Fragment.get(self.lane, None)  # as in `DelayLane`
        length = Signal(range(self.size + 1))
        last = Signal.like(self.weight)
        at = Mux(self.move, 0, length)
        m.d.comb += [
            Assert(~self.move | (length != 0)),
            Assert(~self.accept | self.move | (length != self.size)),
            Assert(~self.accept | ((self.index == at) & (self.first == (at == 0)))),
        ]
        with m.If(self.accept):
            m.d.sync += [length.eq(at + 1), last.eq(self.weight)]
        with m.Elif(self.move):
            m.d.sync += length.eq(0)
        with m.If(self.move):
            m.d.sync += self.out.eq(last)
        return m


class BufferedQueue(wiring.Component):
    """Amaranth's queue with a registered read, as the AXI engines and the UART use it."""

    def __init__(self, bits: int, depth: int) -> None:
        self.depth = depth
        super().__init__({"i": In(stream.Signature(bits)), "o": Out(stream.Signature(bits))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=len(self.i.payload), depth=self.depth)
        m.d.comb += [
            fifo.w_data.eq(self.i.payload),
            fifo.w_en.eq(self.i.valid),
            self.i.ready.eq(fifo.w_rdy),
            self.o.payload.eq(fifo.r_data),
            self.o.valid.eq(fifo.r_rdy),
            fifo.r_en.eq(self.o.ready),
        ]
        return m


class WidthLoop(wiring.Component):
    """Beats into bus words and back into beats: what comes out must be what went in.

    Args:
        beat_bits, bus_bits: widths.
        run_beats: beats of every run.
    """

    def __init__(self, beat_bits: int, bus_bits: int, run_beats: int) -> None:
        self.beat_bits = beat_bits
        self.bus_bits = bus_bits
        self.run_beats = run_beats
        beats = stream.Signature(beat_bits)
        super().__init__({"i": In(beats), "o": Out(stream.Signature(beat_layout(beat_bits)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.pack = pack = BeatsToWords(self.beat_bits, self.bus_bits)
        m.submodules.cut = cut = WordsToBeats(self.bus_bits, self.beat_bits)
        place = Signal(range(max(self.run_beats, 2)))
        last, taken = place == self.run_beats - 1, self.i.valid & self.i.ready
        with m.If(taken):
            m.d.sync += place.eq(Mux(last, 0, place + 1))
        m.d.comb += [
            pack.i.payload.data.eq(self.i.payload),
            pack.i.payload.last.eq(last),
            pack.i.valid.eq(self.i.valid),
            self.i.ready.eq(pack.i.ready),
            cut.run.valid.eq(1),
            cut.run.payload.eq(self.run_beats),
            cut.i.payload.eq(pack.o.payload.data),
            cut.i.valid.eq(pack.o.valid),
            pack.o.ready.eq(cut.i.ready),
        ]
        wiring.connect(m, wiring.flipped(self.o), cut.o)
        return m


class LaneHolds(wiring.Component):
    """A lane's outputs do not change over a cycle in which it does not advance; inputs are free.

    Args:
        lane: a lane with an enable and plain ports.
        enable: its enable's name.
    """

    def __init__(self, lane: Any, enable: str) -> None:
        self.lane = lane
        self.enable = enable
        names = lane.signature.members.items()
        super().__init__({name: member for name, member in names if member.flow is In})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = lane = self.lane
        for name in self.signature.members:
            m.d.comb += Value.cast(getattr(lane, name)).eq(Value.cast(getattr(self, name)))
        # data registers are not reset, so the cycle after a reset may hold anything
        stood = Signal()
        m.d.sync += stood.eq(~Value.cast(getattr(lane, self.enable)))
        for name, member in lane.signature.members.items():
            if member.flow is Out:
                now = Value.cast(getattr(lane, name))
                before = Signal(len(now), name=f"{name}_before")
                m.d.sync += before.eq(now)
                m.d.comb += Assert(~stood | (now == before))
        return m


class SequencerHarness(wiring.Component):
    """The array's sequencer, whatever descriptors and stalls come.

    steps     the flags stay over a cycle that is no step
    one job   after a descriptor was taken there is a cycle in which none is; one of the other mode
              than the last is taken only when the array has drained
    """

    def __init__(self, array: ArrayShape, rule: str) -> None:
        if rule not in ("steps", "one job"):
            raise ValueError(f"a rule must be 'steps' or 'one job', but got {rule!r}")
        self.array = array
        self.rule = rule
        super().__init__({"descriptor": In(job_layout()), "offered": In(1), "en": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.dut = dut = Sequencer(self.array)
        job = dut.job
        m.d.comb += [
            job.payload.eq(self.descriptor),
            job.valid.eq(self.offered),
            dut.en.eq(self.en),
        ]
        if self.rule == "steps":
            stood, before = Signal(), Signal(len(dut.flags.as_value()))
            m.d.sync += [stood.eq(~self.en), before.eq(dut.flags.as_value())]
            m.d.comb += Assert(~stood | (dut.flags.as_value() == before))
            return m
        taken, took, mode = Signal(), Signal(), Signal(1)
        m.d.comb += [
            taken.eq(job.valid & job.ready),
            Assert(~(took & job.ready)),
            Assert(~taken | dut.idle | (job.payload.mode.as_value() == mode)),
        ]
        m.d.sync += took.eq(taken)
        with m.If(taken):
            m.d.sync += mode.eq(job.payload.mode.as_value())
        return m


class MergeHarness(wiring.Component):
    """`merge`: a word passes only from the source that is told so, unchanged; all are served.

    one source   at most one source is ready, only if it offers; the word that passes is its own
    work goes on with `ready`, if any source offers, a word passes
    """

    def __init__(self, bits: int, count: int, rule: str) -> None:
        if rule not in ("one source", "work goes on"):
            raise ValueError(f"a rule must be 'one source' or 'work goes on', but got {rule!r}")
        self.count = count
        self.rule = rule
        super().__init__(
            {"sources": In(stream.Signature(bits)).array(count), "ready": In(1)},
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        passes, word = merge(m, "arbiter", self.sources, self.ready)
        served = [one.valid & one.ready for one in self.sources]
        if self.rule == "work goes on":
            m.d.comb += Assert(passes | ~self.ready | ~Cat(s.valid for s in self.sources).any())
            return m
        m.d.comb += Assert(passes == Cat(served).any())
        m.d.comb += Assert(self.ready | ~passes)
        for i, one in enumerate(self.sources):
            m.d.comb += [
                Assert(~one.ready | one.valid),
                Assert(~served[i] | (word == one.payload)),
                Assert(~(served[i] & Cat(served[:i]).any())),
            ]
        return m
