"""The sequencer of the sparse array: turns job descriptors into one set of flags a step.

The law is `hwsim.dataflows.stce`'s; this is the machine that follows it. A step happens in every
cycle in which the beats that the step needs are there and the result queue has room. Whether it
does is known late in the cycle, so the counters do not wait for it: when a step does not happen
they go on once more, into a place beside the flags, and stand still from the next cycle on.
"""

from __future__ import annotations

from amaranth.hdl import Const, Module, Mux, Signal, Value
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
        held: it belongs to a job.
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
            "held": 1,
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
            is known a step before, and a step more when the array stood still.
        stationary: the mode of the job that is held, or was held last, from a register.
        idle: no job is held and the array has drained.
    """

    def __init__(self, array: ArrayShape) -> None:
        self.array = array
        super().__init__(
            {
                "job": In(stream.Signature(job_layout())),
                "en": In(1),
                "flags": Out(flags_layout(array)),
                "stationary": Out(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows, turns, slot_steps = self.array.rows, self.array.interleave, self.array.slot_steps
        drain_slots, fold_steps = self.array.drain_slots, self.array.fold_steps
        load_delay, flush = self.array.load_delay, self.array.flush_steps

        mode = Signal(Mode)
        step = Signal(LENGTH_BITS)  # position in the interval: slots (os) or steps
        turn = Signal(range(max(slot_steps, 2)))  # step in a slot
        # Whether a count is at its end is known from a register, so that no comparison of wide
        # counters stands in front of a decision.
        steps = _Countdown(m, LENGTH_BITS, "steps")
        folds = _Countdown(m, FOLD_BITS, "folds")
        tiles = _Countdown(m, TILE_BITS, "tiles")
        words = _Countdown(m, WORD_BITS, "words")
        first_fold, first_word = Signal(), Signal()
        no_idle = Signal()  # no slot is idle before the first pair of an os interval
        idle_end = Signal(LENGTH_BITS)  # else the last of them
        begun, first_slot = Signal(), Signal()  # of an os interval: pairs enter; the first does
        acting = Signal()  # rows of A enter (ws)
        length_end = Signal(LENGTH_BITS)  # the length less one
        drained = Signal(range(flush + 1), init=flush)
        empty = Signal(init=1)  # the array has drained
        waiting = Signal(init=1)  # no job is held: the FSM's IDLE, as a register of its own
        flags = Signal(flags_layout(self.array))  # of the step that the counters are at
        kept = Signal(flags_layout(self.array))  # the same, when the array stood still
        ahead = Signal()  # it did in the last cycle, so these come next and the counters wait
        go = Signal()
        # of the same step, apart from `flags` because others of its fields follow from them
        pair = Signal()  # a pair enters (os)
        act, load = Signal(), Signal()
        m.d.comb += [
            self.stationary.eq(mode == Mode.WEIGHT_STATIONARY),
            go.eq(~ahead),
            flags.held.eq(~waiting),
            flags.stationary.eq(self.stationary),
            flags.act.eq(act),
            flags.load.eq(load),
            flags.need_a.eq(act | (pair & first_word & (turn == 0))),
            flags.need_b.eq(pair | load),
        ]

        m.d.sync += ahead.eq(~self.en)
        with m.If(self.en):
            m.d.sync += self.flags.eq(Mux(ahead, kept, flags))
        with m.If(go):
            m.d.sync += kept.eq(flags)
        new = self.job.payload
        taken = Signal()
        m.d.comb += [
            # the mode reaches the array beside the flags, so the flags that are kept count
            self.idle.eq(waiting & empty & ~ahead),
            self.job.ready.eq(waiting & ((empty & ~ahead) | (new.mode == mode))),
            taken.eq(self.job.valid & self.job.ready),
        ]
        with m.FSM():
            with m.State("IDLE"):
                with m.If(go & ~empty):
                    m.d.sync += [drained.eq(drained + 1), empty.eq(drained == flush - 1)]
                with m.If(taken):
                    with m.If(new.mode == Mode.OUTPUT_STATIONARY):
                        m.next = "OS"
                    with m.Else():
                        m.next = "LOAD"

            with m.State("OS"):
                last_turn = turn == slot_steps - 1
                m.d.comb += [
                    pair.eq(begun & (turn < turns)),
                    flags.first.eq(first_slot),
                    flags.last.eq(steps.last & pair),
                    flags.end.eq(steps.last & (turn == turns - 1)),
                ]
                with m.If(go):
                    m.d.sync += turn.eq(Mux(last_turn, 0, turn + 1))
                    with m.If(last_turn):
                        m.d.sync += [step.eq(step + 1), first_slot.eq(0)]
                        steps.count()
                        with m.If(begun):
                            m.d.sync += first_word.eq(words.last)
                            with m.If(words.last):
                                words.restart()
                            with m.Else():
                                words.count()
                        with m.Elif(step == idle_end):
                            m.d.sync += [begun.eq(1), first_slot.eq(1)]
                        with m.If(steps.last):
                            m.d.sync += [
                                step.eq(0),
                                first_word.eq(1),
                                begun.eq(no_idle),
                                first_slot.eq(no_idle),
                            ]
                            steps.restart()
                            words.restart()
                            tiles.count()
                            with m.If(tiles.last):
                                m.next = "IDLE"
                                m.d.sync += waiting.eq(1)

            with m.State("LOAD"):
                # rows beats of weights and one step for the last of them to arrive
                m.d.comb += [
                    load.eq(step != rows),
                    flags.load_index.eq(step[: len(flags.load_index)]),
                ]
                with m.If(go):
                    m.d.sync += step.eq(step + 1)
                    with m.If(step == rows):
                        m.d.sync += step.eq(0)
                        m.next = "WS"

            with m.State("WS"):
                arrived = step >= load_delay if load_delay else Const(1)
                m.d.comb += [
                    act.eq(acting),
                    flags.act_index.eq(step),
                    flags.accumulate.eq(~first_fold),
                    flags.final.eq(folds.last),
                    flags.swap.eq(step == 0),
                    load.eq(arrived & (step < load_delay + rows) & ~(folds.last & tiles.last)),
                    flags.load_index.eq(step - load_delay),
                ]
                with m.If(go):
                    m.d.sync += step.eq(step + 1)
                    steps.count()
                    with m.If(step == length_end):
                        m.d.sync += acting.eq(0)
                    with m.If(steps.last):
                        m.d.sync += [step.eq(0), acting.eq(1), first_fold.eq(0)]
                        steps.restart()
                        folds.count()
                        with m.If(folds.last):
                            m.d.sync += first_fold.eq(1)
                            folds.restart()
                            tiles.count()
                            with m.If(tiles.last):
                                m.next = "IDLE"
                                m.d.sync += waiting.eq(1)

        # The counters follow the offered job until it is taken: whether it is, is known too late to
        # steer all their bits.
        with m.If(waiting):
            m.d.sync += [
                step.eq(0),
                turn.eq(0),
                first_fold.eq(1),
                first_word.eq(1),
                acting.eq(1),
                length_end.eq(new.length - 1),
            ]
            tiles.load(new.tiles)
            folds.load(new.folds)
            words.load(new.word_steps)
            with m.If(new.mode == Mode.OUTPUT_STATIONARY):
                short = new.length < drain_slots
                steps.load(new.length, drain_slots)
                m.d.sync += [
                    no_idle.eq(~short),
                    begun.eq(~short),
                    first_slot.eq(~short),
                    idle_end.eq(drain_slots - new.length - 1),
                ]
            with m.Else():
                steps.load(new.length, fold_steps)
        with m.If(taken):
            m.d.sync += [waiting.eq(0), mode.eq(new.mode), drained.eq(0), empty.eq(0)]
        return m


class _Countdown:
    """A counter that knows from a register whether it is at its last item.

    Its methods add statements where they are called: `load` starts it with a number of items, at
    least `least` of them; `count` goes on; `restart` starts it with the number loaded last.
    """

    def __init__(self, m: Module, bits: int, name: str) -> None:
        self._m = m
        self._whole = Signal(bits, name=f"{name}_whole")  # less one
        self._left = Signal(bits, name=f"{name}_left")  # after the present item
        self._single = Signal(name=f"{name}_single")
        self.last = Signal(name=f"{name}_last")

    def load(self, items: Value, least: int = 1) -> None:
        # compared and counted down side by side
        less = Mux(items < least, least - 1, (items - 1)[: len(self._left)])
        single = (items == 1) if least == 1 else Const(0)
        self._m.d.sync += [
            self._whole.eq(less),
            self._left.eq(less),
            self._single.eq(single),
            self.last.eq(single),
        ]

    def count(self) -> None:
        self._m.d.sync += [self._left.eq(self._left - 1), self.last.eq(self._left == 1)]

    def restart(self) -> None:
        self._m.d.sync += [self._left.eq(self._whole), self.last.eq(self._single)]
