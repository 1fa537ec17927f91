"""Operand supply of the sparse array's AXI top: fetch runs of beats from memory, hold, replay.

An operand is `segments` runs of `beats` beats, each played to the array `repeats` times before the
next. A run that fits the on-chip memory is fetched once and replayed from there; a longer one is
fetched again every time it is played. The memory is a ring: a beat's place is free when it has been
played for the last time, so the next run comes in behind the one that plays, and a run of at most
half of the memory never makes the next one wait.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from hwsim.config_base import BusConfig
from hwsim.models.bus_words import beats_per_word, words_per_beat
from hwsim.models.sat_jobs import SPREAD_BITS, TAIL_BITS, buffer_beats
from hwsim.rtl.axi import BYTES_BITS, command_layout
from hwsim.rtl.ring_memory import RingMemory
from hwsim.rtl.rowwise_parts import Queue
from hwsim.rtl.width import COUNT_BITS, WordsToBeats

__all__ = [
    "OperandFetch",
    "ReplayBuffer",
    "Spread",
    "operand_layout",
    "play_layout",
    "played_layout",
]

_OUTPUT_WORDS = 4
"""Beats that the output of a replay buffer holds: a read takes two cycles to the port, so three
keep it busy; a power of two is free."""


def operand_layout(bus: BusConfig) -> data.StructLayout:
    """Where an operand's beats are and how often they are played.

    Fields: `base`, address of the first run; `stride`, bytes from a run to the next; `beats` of a
    run; `segments`, runs; `repeats` of each; `spread` and `tail` as in
    `hwsim.models.sat_jobs.Operand`. All counts are at least 1.
    """
    return data.StructLayout(
        {
            "base": bus.address_bits,
            "stride": BYTES_BITS,
            "beats": COUNT_BITS,
            "segments": COUNT_BITS,
            "repeats": COUNT_BITS,
            "spread": SPREAD_BITS,
            "tail": TAIL_BITS,
        }
    )


def play_layout() -> data.StructLayout:
    """A run of `beats` beats to be played `repeats` times, both at least 1; `spread`, `tail`."""
    return data.StructLayout(
        {"beats": COUNT_BITS, "repeats": COUNT_BITS, "spread": SPREAD_BITS, "tail": TAIL_BITS}
    )


def played_layout(width: int) -> data.StructLayout:
    """A stored beat as it is played: it holds `count` beats of the array, `spread` as its run."""
    return data.StructLayout({"data": width, "spread": SPREAD_BITS, "count": TAIL_BITS})


class ReplayBuffer(wiring.Component):
    """A ring memory that plays runs of beats, each a number of times.

    Args:
        width: bits of a beat.
        depth: beats held, a power of two, at least 2.

    Ports:
        play: runs in the order of their beats; `beats` <= depth where `repeats` > 1.
        i: the beats, each once.
        o: the beats as played, `played_layout(width)`.

    Throughput: a beat a cycle in and out, across the borders of runs. Latency: four cycles from `i`
    to `o`.

    Raises:
        ValueError: depth is no power of two of at least 2.
    """

    def __init__(self, width: int, depth: int) -> None:
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two >= 2, but got {depth}")
        self.width = width
        self.depth = depth
        super().__init__(
            {
                "play": In(stream.Signature(play_layout())),
                "i": In(stream.Signature(width)),
                "o": Out(stream.Signature(played_layout(width))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = RingMemory(self.width, self.depth)
        m.submodules.output = output = SyncFIFO(
            width=played_layout(self.width).size, depth=_OUTPUT_WORDS
        )

        stored = Signal(range(self.depth + 1))  # beats whose place is not free
        fresh = Signal(range(self.depth + 1))  # of these, never played
        take = Signal()
        write_at = Signal.like(memory.write_addr)
        m.d.comb += [
            memory.write_addr.eq(write_at),
            self.i.ready.eq(stored != self.depth),
            take.eq(self.i.valid & self.i.ready),
            memory.write_en.eq(take),
            memory.write_data.eq(self.i.payload),
        ]
        with m.If(take):
            m.d.sync += write_at.eq(write_at + 1)

        active = Signal()
        beats = Signal(COUNT_BITS)  # of the run
        spread, tail = Signal(SPREAD_BITS), Signal(TAIL_BITS)
        left = Signal(COUNT_BITS)  # beats of this pass that are not played, this one included
        passes = Signal(COUNT_BITS)  # passes that have not ended, this one included
        single = Signal()  # the run has one beat
        start, here = Signal.like(memory.read_addr), Signal.like(memory.read_addr)
        first, last = Signal(), Signal()  # this pass is
        end = Signal()  # this beat is the last of its pass
        issue, free, load = Signal(), Signal(), Signal()
        credit = Signal(range(_OUTPUT_WORDS + 1), init=_OUTPUT_WORDS)
        ahead = (here + 1)[: len(here)]
        m.d.comb += [
            issue.eq(active & (credit != 0) & (~first | (fresh != 0))),
            free.eq(issue & last),
            memory.read_addr.eq(here),
            memory.read_en.eq(issue),
            load.eq(self.play.valid & (~active | (issue & end & last))),
            self.play.ready.eq(~active | (issue & end & last)),
        ]
        m.d.sync += [
            stored.eq(stored + take - free),
            fresh.eq(fresh + take - (issue & first)),
            credit.eq(credit - issue + (output.r_rdy & self.o.ready)),
        ]
        with m.If(issue):
            m.d.sync += [here.eq(ahead), left.eq(left - 1), end.eq(left == 2)]
            with m.If(end):
                m.d.sync += [left.eq(beats), end.eq(single), first.eq(0)]
                with m.If(last):
                    m.d.sync += active.eq(0)
                with m.Else():
                    m.d.sync += [
                        here.eq(start),
                        passes.eq(passes - 1),
                        last.eq(passes == 2),
                    ]
        with m.If(load):
            m.d.sync += [
                active.eq(1),
                beats.eq(self.play.payload.beats),
                spread.eq(self.play.payload.spread),
                tail.eq(self.play.payload.tail),
                start.eq(Mux(active, ahead, here)),
                left.eq(self.play.payload.beats),
                single.eq(self.play.payload.beats == 1),
                end.eq(self.play.payload.beats == 1),
                passes.eq(self.play.payload.repeats),
                first.eq(1),
                last.eq(self.play.payload.repeats == 1),
            ]

        arrived = Signal()
        tag = Signal(SPREAD_BITS + TAIL_BITS)
        m.d.sync += [
            arrived.eq(issue),
            tag.eq(Cat(spread, Mux(end, tail, Const(1) << spread))),
        ]
        m.d.comb += [
            output.w_en.eq(arrived),
            output.w_data.eq(Cat(memory.read_data, tag)),
            self.o.payload.eq(output.r_data),
            self.o.valid.eq(output.r_rdy),
            output.r_en.eq(self.o.ready),
        ]
        return m


class Spread(wiring.Component):
    """Turns a stored beat into the beats of the array that it holds.

    With `spread` s a stored beat holds 2**s beats, each rows / 2**s groups, and row r of one takes
    group r >> s of it.

    Args:
        rows: groups of a beat.
        group_bits: width of a group.

    Ports:
        i: `played_layout(rows * group_bits)`; `spread` at most log2 of the power of two in `rows`.
        o: beats of `rows` groups, one a cycle, in the cycle in which `i` is there.
    """

    def __init__(self, rows: int, group_bits: int) -> None:
        self.rows = rows
        self.group_bits = group_bits
        width = rows * group_bits
        super().__init__(
            {
                "i": In(stream.Signature(played_layout(width))),
                "o": Out(stream.Signature(width)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        at = Signal(TAIL_BITS)  # beats that are gone of the present stored one
        stored = self.i.payload.data
        most = min((self.rows & -self.rows).bit_length() - 1, (1 << SPREAD_BITS) - 1)
        with m.Switch(self.i.payload.spread):
            for spread in range(most + 1):
                with m.Case(spread):
                    part = stored.word_select(at[:spread], (self.rows >> spread) * self.group_bits)
                    m.d.comb += self.o.payload.eq(
                        Cat(
                            part.word_select(row >> spread, self.group_bits)
                            for row in range(self.rows)
                        )
                    )
        last = at + 1 == self.i.payload.count
        moves = self.i.valid & self.o.ready
        m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready & last)]
        with m.If(moves):
            m.d.sync += at.eq(Mux(last, 0, at + 1))
        return m


class OperandFetch(wiring.Component):
    """Turns operands into reads of memory and the reads' words into the array's beats.

    Args:
        bus: the AXI master's.
        beat_bits: width of a beat.
        groups: of a beat, what `spread` may divide.
        memory_bytes: of the on-chip memory; `hwsim.models.sat_jobs.buffer_beats` beats of it are
            used.

    Ports:
        i: operands, `operand_layout(bus)`; the next one is taken when all reads of the one before
            have been handed on, long before its last beat is played.
        command: reads for a `ReadEngine`.
        words: the bus words read.
        o: beats.
    """

    def __init__(self, bus: BusConfig, beat_bits: int, groups: int, memory_bytes: int) -> None:
        self.bus = bus
        self.beat_bits = beat_bits
        self.groups = groups
        self.depth = buffer_beats(memory_bytes, beat_bits)
        super().__init__(
            {
                "i": In(stream.Signature(operand_layout(bus))),
                "command": Out(stream.Signature(command_layout(bus))),
                "words": In(stream.Signature(bus.data_bits)),
                "o": Out(stream.Signature(beat_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ahead = max(4, 2 * self.bus.outstanding_reads)  # runs of one burst keep the bus busy too
        m.submodules.commands = commands = Queue(command_layout(self.bus), 2)
        m.submodules.runs = runs = Queue(COUNT_BITS, ahead)
        m.submodules.plays = plays = Queue(play_layout(), ahead)
        m.submodules.cut = cut = WordsToBeats(self.bus.data_bits, self.beat_bits)
        m.submodules.buffer = buffer = ReplayBuffer(self.beat_bits, self.depth)
        m.submodules.spread = spread = Spread(self.groups, self.beat_bits // self.groups)
        m.d.comb += [
            buffer.i.payload.eq(cut.o.payload.data),
            buffer.i.valid.eq(cut.o.valid),
            cut.o.ready.eq(buffer.i.ready),
        ]
        wiring.connect(m, wiring.flipped(self.words), cut.i)
        wiring.connect(m, runs.o, cut.run)
        wiring.connect(m, plays.o, buffer.play)
        wiring.connect(m, buffer.o, spread.i)
        wiring.connect(m, spread.o, wiring.flipped(self.o))
        wiring.connect(m, commands.o, wiring.flipped(self.command))

        held = Signal(operand_layout(self.bus))
        size = Signal(BYTES_BITS)  # of a run, bytes
        fits = Signal()
        segments, plays_left = Signal(COUNT_BITS), Signal(COUNT_BITS)  # after the present ones
        room = commands.i.ready & runs.i.ready & plays.i.ready
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [held.eq(self.i.payload), segments.eq(self.i.payload.segments - 1)]
                with m.If(self.i.valid):
                    m.next = "SIZE"
            with m.State("SIZE"):
                m.d.sync += [
                    size.eq(self._run_bytes(held.beats)),
                    fits.eq(held.beats <= self.depth),
                ]
                m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.sync += plays_left.eq(Mux(fits, 0, held.repeats - 1))
                m.next = "ISSUE"
            with m.State("ISSUE"):
                issue = Signal()
                m.d.comb += [
                    issue.eq(room),
                    commands.i.valid.eq(issue),
                    commands.i.payload.address.eq(held.base),
                    commands.i.payload.bytes.eq(size),
                    runs.i.valid.eq(issue),
                    runs.i.payload.eq(held.beats),
                    plays.i.valid.eq(issue),
                    plays.i.payload.beats.eq(held.beats),
                    plays.i.payload.repeats.eq(Mux(fits, held.repeats, 1)),
                    plays.i.payload.spread.eq(held.spread),
                    plays.i.payload.tail.eq(held.tail),
                ]
                with m.If(issue):
                    m.d.sync += plays_left.eq(plays_left - 1)
                    with m.If(plays_left == 0):
                        m.d.sync += [
                            plays_left.eq(Mux(fits, 0, held.repeats - 1)),
                            held.base.eq(held.base + held.stride),
                            segments.eq(segments - 1),
                        ]
                        with m.If(segments == 0):
                            m.next = "IDLE"
        return m

    def _run_bytes(self, beats: Value) -> Value:
        """Bytes of a run in whole bus words, as `hwsim.models.bus_words.run_bytes`."""
        word_bytes = self.bus.data_bits // 8
        in_word = beats_per_word(self.beat_bits, self.bus.data_bits)
        if in_word > 1:
            return ((beats + (in_word - 1)) >> (in_word.bit_length() - 1)) * Const(word_bytes)
        return beats * Const(words_per_beat(self.beat_bits, self.bus.data_bits) * word_bytes)
