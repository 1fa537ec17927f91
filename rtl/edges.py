"""The edges of the sparse array: what skews operands on their way in and results on their way out.

Each is a module of its own with an enable register of its own, as a PE is: one enable for all of
their registers would reach across the part in a cycle.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hwsim.rtl.stream import Delay

__all__ = [
    "OperandFeed",
    "PartialSums",
    "ResultExit",
    "exit_signature",
    "feed_signature",
    "sums_signature",
]


def feed_signature(width: int) -> wiring.Signature:
    """Ports of an `OperandFeed` of words of `width` bits."""
    return wiring.Signature(
        {"step": In(1), "take": In(1), "stationary": In(1), "i": In(width), "o": Out(width)}
    )


class OperandFeed(wiring.Component):
    """Takes one row's or column's word of a beat, holds it until the next and skews it.

    Args:
        width: bits of a word.
        os_steps, ws_steps: steps from the beat to the output, output and weight stationary;
            os_steps <= ws_steps.

    Ports:
        step: the array advances in the next cycle.
        take: that step brings a beat; `i` was this beat's word in the cycle before.
        stationary: 1 weight stationary; constant while work is in flight.
        o: the word of `os_steps` or `ws_steps` steps before, in the array's step.
    """

    def __init__(self, width: int, os_steps: int, ws_steps: int) -> None:
        if not 0 <= os_steps <= ws_steps:
            raise ValueError(f"0 <= os_steps <= ws_steps must hold, got {os_steps} and {ws_steps}")
        self.width = width
        self.steps = (os_steps, ws_steps)
        super().__init__(feed_signature(width))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        en, fresh, stationary = Signal(), Signal(), Signal()
        # The port's word is caught in every cycle: whether it is a beat comes too late to steer
        # registers all over the edge.
        caught = Signal(self.width, reset_less=True)
        early = Signal(self.width, reset_less=True)
        held = Signal(self.width, reset_less=True)
        m.d.sync += [
            en.eq(self.step),
            fresh.eq(self.take),
            stationary.eq(self.stationary),
            early.eq(self.i),
            caught.eq(early),
        ]
        with m.If(fresh):
            m.d.sync += held.eq(caught)
        word = Mux(fresh, caught, held)
        os_steps, ws_steps = self.steps
        taps = Delay(m, en, reset=False).taps(word, 0, ws_steps + 1, "skew")
        if os_steps == ws_steps:
            m.d.comb += self.o.eq(taps[ws_steps])
        else:
            m.d.comb += self.o.eq(Mux(stationary, taps[ws_steps], taps[os_steps]))
        return m


def exit_signature(width: int) -> wiring.Signature:
    """Ports of a `ResultExit` of words of `width` bits."""
    return wiring.Signature({"step": In(1), "i": In(width), "o": Out(width)})


class ResultExit(wiring.Component):
    """Takes the skew out of a column's results.

    Args:
        width: bits of a result.
        steps: from `i` to `o`.

    Ports:
        step: the array advances in the next cycle.
        i, o: results.
    """

    def __init__(self, width: int, steps: int) -> None:
        self.steps = steps
        super().__init__(exit_signature(width))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        en = Signal()
        m.d.sync += en.eq(self.step)
        m.d.comb += self.o.eq(Delay(m, en, reset=False)(self.i, self.steps, "deskew"))
        return m


def sums_signature(width: int, depth: int) -> wiring.Signature:
    """Ports of `PartialSums` of `depth` words of `width` bits."""
    address = max(1, (depth - 1).bit_length())
    return wiring.Signature(
        {
            "step": In(1),
            "read_in": In(address),
            "use_in": In(1),
            "write_in": In(address),
            "keep_in": In(1),
            "read_out": Out(address),
            "use_out": Out(1),
            "write_out": Out(address),
            "keep_out": Out(1),
            "sum": In(width),
            "top": Out(width),
        }
    )


class PartialSums(wiring.Component):
    """A column's partial sums between weight-stationary folds, in block RAM.

    What steers it goes on to the next column a step later.

    Args:
        width: bits of a sum.
        depth: sums.

    Ports:
        step: the array advances in the next cycle.
        read_in, use_in: which sum enters the column two steps later; without `use_in`, zero. Block
            RAM answers late in a cycle, so a register stands right behind it.
        write_in, keep_in: where `sum`, which leaves the column in this step, goes.
        read_out, use_out, write_out, keep_out: the same for the next column.
        sum, top: what leaves the column below; what enters it above.
    """

    def __init__(self, width: int, depth: int) -> None:
        self.width = width
        self.depth = depth
        super().__init__(sums_signature(width, depth))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        en = Signal()
        m.d.sync += en.eq(self.step)
        # A sum is read a step after it was written at the earliest (`ArrayShape.fold_steps`), so
        # what a read beside a write of the same sum finds is never used: no bypass is wanted.
        m.submodules.memory = memory = Memory(
            shape=self.width, depth=self.depth, init=[], attrs={"no_rw_check": 1}
        )
        read, write = memory.read_port(), memory.write_port()
        m.d.comb += [
            read.addr.eq(self.read_in),
            read.en.eq(en),
            write.addr.eq(self.write_in),
            write.data.eq(self.sum),
            write.en.eq(self.keep_in & en),
        ]
        found = Signal(self.width, reset_less=True)
        used = Signal()
        m.d.comb += self.top.eq(Mux(used, found, 0))
        with m.If(en):
            m.d.sync += [
                found.eq(read.data),
                used.eq(self.use_out),
                self.read_out.eq(self.read_in),
                self.use_out.eq(self.use_in),
                self.write_out.eq(self.write_in),
                self.keep_out.eq(self.keep_in),
            ]
        return m
