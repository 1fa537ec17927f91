"""The sequencer of the sparse array: turns job descriptors into one set of flags a step.

The law is `hwsim.dataflows.stce`'s; this is the machine that follows it. A step happens in every
cycle in which the beats that the step needs are there and the result queue has room.
"""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.models.array import ArrayShape

__all__ = [
    "FOLD_BITS",
    "LENGTH_BITS",
    "TILE_BITS",
    "Mode",
    "Sequencer",
    "flags_layout",
    "job_layout",
]

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


def flags_layout(array: ArrayShape) -> data.StructLayout:
    """What happens in a step.

    Fields:
        need_a, need_b: it takes a beat of activations, of weights.
        stationary: the running job's mode.
        act: a row of A enters (ws) with `act_index`; `accumulate` it adds to the sum of the fold
            before; `final` its sum leaves the array.
        first, last: a pair enters (os), in the first, the last slot of its tile.
        end: the very last pair of a tile enters.
        load, load_index: the load_index-th row of weights enters (ws).
        swap: the loaded weights become the held ones.
    """
    return data.StructLayout(
        {
            "need_a": 1,
            "need_b": 1,
            "stationary": 1,
            "act": 1,
            "act_index": LENGTH_BITS,
            "accumulate": 1,
            "final": 1,
            "first": 1,
            "last": 1,
            "end": 1,
            "load": 1,
            "load_index": range(max(array.rows, 2)),
            "swap": 1,
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
        flags: of the present step, `flags_layout()`, from registers: what follows from the state
            is known a step before.
        idle: no job is held and the array has drained.
        held: a job is held.
    """

    def __init__(self, array: ArrayShape) -> None:
        self.array = array
        super().__init__(
            {
                "job": In(stream.Signature(job_layout())),
                "en": In(1),
                "flags": Out(flags_layout(array)),
                "idle": Out(1),
                "held": Out(1),
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
        flags = Signal(flags_layout(self.array))  # of the step after the present one
        # of the same step, apart from `flags` because others of its fields follow from them
        pair = Signal()  # a pair enters (os)
        act, load = Signal(), Signal()
        last_step = Signal()
        last_fold = Signal()
        last_tile = Signal()
        m.d.comb += [
            last_step.eq(step == steps),
            last_fold.eq(fold == job.folds - 1),
            last_tile.eq(tile == job.tiles - 1),
            flags.stationary.eq(job.mode == Mode.WEIGHT_STATIONARY),
            flags.act.eq(act),
            flags.load.eq(load),
            flags.need_a.eq(act | (pair & (word == 0) & (turn == 0))),
            flags.need_b.eq(pair | load),
        ]

        with m.If(self.en):
            m.d.sync += self.flags.eq(flags)
        m.d.comb += self.held.eq(1)  # but in IDLE

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
                    self.held.eq(0),
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
                    pair.eq((step >= idle_slots) & (turn < turns)),
                    flags.first.eq(step == idle_slots),
                    flags.last.eq(last_step & pair),
                    flags.end.eq(last_step & (turn == turns - 1)),
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
                    load.eq(step != rows),
                    flags.load_index.eq(step[: len(flags.load_index)]),
                ]
                with m.If(self.en):
                    m.d.sync += step.eq(step + 1)
                    with m.If(step == rows):
                        m.d.sync += step.eq(0)
                        m.next = "WS"

            with m.State("WS"):
                begun = step >= load_delay if load_delay else Const(1)
                m.d.comb += [
                    act.eq(step < job.length),
                    flags.act_index.eq(step),
                    flags.accumulate.eq(fold != 0),
                    flags.final.eq(last_fold),
                    flags.swap.eq(step == 0),
                    load.eq(begun & (step < load_delay + rows) & ~(last_fold & last_tile)),
                    flags.load_index.eq(step - load_delay),
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
