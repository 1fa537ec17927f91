"""The sequencer of the sparse array: turns job descriptors into one set of flags a step.

The law is `hwsim.dataflows.stce`'s; this is the machine that follows it. A step happens in every
cycle in which the beats that the step needs are there and the result register has room.
"""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.models.array import ArrayShape

__all__ = ["FOLD_BITS", "LENGTH_BITS", "TILE_BITS", "Mode", "Sequencer", "job_layout"]

TILE_BITS, FOLD_BITS, LENGTH_BITS, WORD_BITS = 24, 16, 17, 6


class Mode(enum.Enum, shape=1):  # type: ignore[call-arg] # the shape is for Amaranth's metaclass
    """Which operand stays in the array."""

    OUTPUT_STATIONARY = 0
    WEIGHT_STATIONARY = 1


def job_layout() -> data.StructLayout:
    """A job descriptor.

    Fields: `mode`; `tiles` unit tiles; `folds` of k a tile (weight stationary, else 1); `length`,
    slots (os) or rows of A (ws) a tile; `word_steps`, slots that one group of activations serves
    (os). All counts are at least 1.
    """
    return data.StructLayout(
        {
            "mode": Mode,
            "tiles": TILE_BITS,
            "folds": FOLD_BITS,
            "length": LENGTH_BITS,
            "word_steps": WORD_BITS,
        }
    )


class Sequencer(wiring.Component):
    """Counts tiles, folds and steps.

    Args:
        array: the array's shape.

    Ports:
        job: descriptors; one is taken when the array is idle, and after a change of mode only when
            it has drained.
        en: the present cycle is a step.
        need_a, need_b: the present step takes a beat of activations, of weights.
        stationary: the running job's mode.
        act: a row of A enters (ws) with `act_index`; `accumulate` it adds to the sum of the fold
            before; `final` its sum leaves the array.
        pair, first, last: a pair enters (os), in the first, the last slot of its tile.
        end: the very last pair of a tile enters.
        load, load_index: the load_index-th row of weights enters (ws).
        swap: the loaded weights become the held ones.
        idle: no job is held and the array has drained.
    """

    def __init__(self, array: ArrayShape) -> None:
        self.array = array
        super().__init__(
            {
                "job": In(stream.Signature(job_layout())),
                "en": In(1),
                "need_a": Out(1),
                "need_b": Out(1),
                "stationary": Out(1),
                "act": Out(1),
                "act_index": Out(LENGTH_BITS),
                "accumulate": Out(1),
                "final": Out(1),
                "pair": Out(1),
                "first": Out(1),
                "last": Out(1),
                "end": Out(1),
                "load": Out(1),
                "load_index": Out(range(max(array.rows, 2))),
                "swap": Out(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows, turns, slot_steps = self.array.rows, self.array.interleave, self.array.slot_steps
        drain_slots, fold_steps = self.array.drain_slots, self.array.fold_steps
        load_delay, flush = self.array.load_delay, self.array.flush_steps

        job = Signal(job_layout())
        step = Signal(LENGTH_BITS)  # position in the interval: slots (os) or steps
        turn = Signal(range(max(slot_steps, 2)))  # step in a slot
        idle_slots = Signal(LENGTH_BITS)  # slots before the first pair of an os interval
        steps = Signal(LENGTH_BITS)  # the interval less one
        fold = Signal(FOLD_BITS)
        tile = Signal(TILE_BITS)
        word = Signal(WORD_BITS)
        drained = Signal(range(flush + 1), init=flush)
        last_step = Signal()
        last_fold = Signal()
        last_tile = Signal()
        m.d.comb += [
            last_step.eq(step == steps),
            last_fold.eq(fold == job.folds - 1),
            last_tile.eq(tile == job.tiles - 1),
            self.stationary.eq(job.mode == Mode.WEIGHT_STATIONARY),
        ]

        length = self.job.payload.length
        with m.FSM():
            with m.State("IDLE"):
                ready = Signal()
                empty = Signal()
                m.d.comb += [
                    empty.eq(drained == flush),
                    ready.eq(empty | (self.job.payload.mode == job.mode)),
                    self.job.ready.eq(ready),
                    self.idle.eq(empty),
                ]
                with m.If(self.en & ~empty):
                    m.d.sync += drained.eq(drained + 1)
                with m.If(self.job.valid & ready):
                    m.d.sync += [
                        job.eq(self.job.payload),
                        step.eq(0),
                        turn.eq(0),
                        fold.eq(0),
                        tile.eq(0),
                        word.eq(0),
                        drained.eq(0),
                    ]
                    with m.If(self.job.payload.mode == Mode.OUTPUT_STATIONARY):
                        short = length < drain_slots
                        m.d.sync += [
                            steps.eq(Mux(short, drain_slots, length) - 1),
                            idle_slots.eq(Mux(short, drain_slots - length, 0)),
                        ]
                        m.next = "OS"
                    with m.Else():
                        m.d.sync += steps.eq(Mux(length < fold_steps, fold_steps, length) - 1)
                        m.next = "LOAD"

            with m.State("OS"):
                last_turn = turn == slot_steps - 1
                m.d.comb += [
                    self.pair.eq((step >= idle_slots) & (turn < turns)),
                    self.first.eq(step == idle_slots),
                    self.last.eq(last_step & self.pair),
                    self.end.eq(last_step & (turn == turns - 1)),
                    self.need_a.eq(self.pair & (word == 0) & (turn == 0)),
                    self.need_b.eq(self.pair),
                ]
                with m.If(self.en):
                    m.d.sync += turn.eq(Mux(last_turn, 0, turn + 1))
                    with m.If(last_turn):
                        m.d.sync += step.eq(step + 1)
                        with m.If(step >= idle_slots):
                            m.d.sync += word.eq(Mux(word == job.word_steps - 1, 0, word + 1))
                        with m.If(last_step):
                            m.d.sync += [step.eq(0), word.eq(0), tile.eq(tile + 1)]
                            with m.If(last_tile):
                                m.next = "IDLE"

            with m.State("LOAD"):
                # rows beats of weights and one step for the last of them to arrive
                m.d.comb += [
                    self.load.eq(step != rows),
                    self.load_index.eq(step[: len(self.load_index)]),
                    self.need_b.eq(self.load),
                ]
                with m.If(self.en):
                    m.d.sync += step.eq(step + 1)
                    with m.If(step == rows):
                        m.d.sync += step.eq(0)
                        m.next = "WS"

            with m.State("WS"):
                begun = step >= load_delay if load_delay else Const(1)
                m.d.comb += [
                    self.act.eq(step < job.length),
                    self.act_index.eq(step),
                    self.accumulate.eq(fold != 0),
                    self.final.eq(last_fold),
                    self.swap.eq(step == 0),
                    self.load.eq(begun & (step < load_delay + rows) & ~(last_fold & last_tile)),
                    self.load_index.eq(step - load_delay),
                    self.need_a.eq(self.act),
                    self.need_b.eq(self.load),
                ]
                with m.If(self.en):
                    m.d.sync += step.eq(step + 1)
                    with m.If(last_step):
                        m.d.sync += [step.eq(0), fold.eq(fold + 1)]
                        with m.If(last_fold):
                            m.d.sync += [fold.eq(0), tile.eq(tile + 1)]
                            with m.If(last_tile):
                                m.next = "IDLE"
        return m
