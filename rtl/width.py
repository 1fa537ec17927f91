"""Stream width converters between bus words and beats of a core's stream.

`hwsim.models.bus_words` states how beats lie in bus words; these two units do it in hardware. Both
pass a beat or a word a cycle, whichever there are more of, across the borders of words and of runs.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.models.bus_words import beats_per_word, slot_bytes, words_per_beat
from hwsim.rtl.axi import Slice

__all__ = ["COUNT_BITS", "BeatsToWords", "WordsToBeats", "beat_layout"]

COUNT_BITS = 32
"""Width of a run's number of beats."""


def beat_layout(beat_bits: int) -> data.StructLayout:
    """A beat, and whether it is the last of its run."""
    return data.StructLayout({"data": beat_bits, "last": 1})


class WordsToBeats(wiring.Component):
    """Cuts runs of bus words into beats.

    Args:
        bus_bits: width of a word.
        beat_bits: width of a beat.

    Ports:
        run: number of beats of each run, at least 1; the run starts with a new word, and what its
            last word holds beyond is dropped.
        i: bus words (plain bits), `run_bytes(...) / bus bytes` for every run.
        o: {data, last}, `beat_layout(beat_bits)`.
    """

    def __init__(self, bus_bits: int, beat_bits: int) -> None:
        self.bus_bits = bus_bits
        self.beat_bits = beat_bits
        super().__init__(
            {
                "run": In(stream.Signature(COUNT_BITS)),
                "i": In(stream.Signature(bus_bits)),
                "o": Out(stream.Signature(beat_layout(beat_bits))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        active = Signal()  # a run is held
        left = Signal(COUNT_BITS)  # beats of it behind the next one
        final = Signal()  # the next one is its last
        beat_leaves = Signal()
        m.d.comb += self.run.ready.eq(~active | (beat_leaves & final))
        with m.If(beat_leaves):
            m.d.sync += [left.eq(left - 1), final.eq(left == 1)]
        with m.If(self.run.ready):
            m.d.sync += [
                active.eq(self.run.valid),
                left.eq(self.run.payload - 1),
                final.eq(self.run.payload == 1),
            ]
        if words_per_beat(self.beat_bits, self.bus_bits) > 1:
            self._wide(m, active, final, beat_leaves)
        else:
            self._narrow(m, active, final, beat_leaves)
        return m

    def _narrow(self, m: Module, active: Signal, final: Signal, beat_leaves: Signal) -> None:
        """A word is held while its beats leave one by one."""
        beats = beats_per_word(self.beat_bits, self.bus_bits)
        word, full = Signal(self.bus_bits), Signal()
        place = Signal(range(max(beats, 2)))
        m.submodules.out = out = Slice(beat_layout(self.beat_bits))
        wiring.connect(m, wiring.flipped(self.o), out.o)
        word_done = Signal()
        m.d.comb += [
            out.i.valid.eq(full & active),
            out.i.payload.data.eq(word.word_select(place, self.bus_bits // beats)),
            out.i.payload.last.eq(final),
            beat_leaves.eq(out.i.valid & out.i.ready),
            word_done.eq(beat_leaves & (final | (place == beats - 1))),
            self.i.ready.eq(~full | word_done),
        ]
        with m.If(word_done):
            m.d.sync += place.eq(0)
        with m.Elif(beat_leaves):
            m.d.sync += place.eq(place + 1)
        with m.If(self.i.ready):
            m.d.sync += [full.eq(self.i.valid), word.eq(self.i.payload)]

    def _wide(self, m: Module, active: Signal, final: Signal, beat_leaves: Signal) -> None:
        """Words are gathered until the beat is whole."""
        words = words_per_beat(self.beat_bits, self.bus_bits)
        m.submodules.come = come = Slice(self.bus_bits)
        wiring.connect(m, wiring.flipped(self.i), come.i)
        held = Signal(self.bus_bits * (words - 1))
        count = Signal(range(words))
        whole, valid = Signal(beat_layout(self.beat_bits)), Signal()
        m.d.comb += [
            come.o.ready.eq(active & ((count != words - 1) | ~valid | self.o.ready)),
            beat_leaves.eq(come.o.valid & come.o.ready & (count == words - 1)),
            self.o.valid.eq(valid),
            self.o.payload.eq(whole),
        ]
        with m.If(self.o.ready):
            m.d.sync += valid.eq(0)
        with m.If(come.o.valid & come.o.ready):
            m.d.sync += [
                held.eq(Cat(held, come.o.payload)[self.bus_bits :]),
                count.eq(Mux(count == words - 1, 0, count + 1)),
            ]
        with m.If(beat_leaves):
            m.d.sync += [
                valid.eq(1),
                whole.data.eq(Cat(held, come.o.payload)),
                whole.last.eq(final),
            ]


class BeatsToWords(wiring.Component):
    """Gathers beats into bus words.

    Args:
        beat_bits: width of a beat.
        bus_bits: width of a word.

    Ports:
        i: {data, last}, `beat_layout(beat_bits)`; `last` closes the run: its word goes out filled
            up with zeros and the next beat starts a new one.
        o: {data, last}: bus words, and whether it is the last of its run.
    """

    def __init__(self, beat_bits: int, bus_bits: int) -> None:
        self.beat_bits = beat_bits
        self.bus_bits = bus_bits
        super().__init__(
            {
                "i": In(stream.Signature(beat_layout(beat_bits))),
                "o": Out(stream.Signature(beat_layout(bus_bits))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if words_per_beat(self.beat_bits, self.bus_bits) > 1:
            self._wide(m)
        else:
            self._narrow(m)
        return m

    def _narrow(self, m: Module) -> None:
        """Beats are gathered until the word is full or the run ends."""
        beats = beats_per_word(self.beat_bits, self.bus_bits)
        slot = slot_bytes(self.beat_bits, self.bus_bits) * 8
        m.submodules.come = come = Slice(beat_layout(self.beat_bits))
        wiring.connect(m, wiring.flipped(self.i), come.i)
        held = Signal(self.bus_bits)  # beats of a word that is not whole; zeros behind them
        place = Signal(range(max(beats, 2)))
        word, valid, last = Signal(self.bus_bits), Signal(), Signal()
        gathered = Signal(self.bus_bits)
        whole = Signal()
        m.d.comb += [
            whole.eq(come.o.payload.last | (place == beats - 1)),
            come.o.ready.eq(~whole | ~valid | self.o.ready),
            gathered.eq(held | (come.o.payload.data << (place * slot))),
            self.o.valid.eq(valid),
            self.o.payload.data.eq(word),
            self.o.payload.last.eq(last),
        ]
        with m.If(self.o.ready):
            m.d.sync += valid.eq(0)
        with m.If(come.o.valid & come.o.ready):
            with m.If(whole):
                m.d.sync += [
                    valid.eq(1),
                    word.eq(gathered),
                    last.eq(come.o.payload.last),
                    held.eq(0),
                    place.eq(0),
                ]
            with m.Else():
                m.d.sync += [held.eq(gathered), place.eq(place + 1)]

    def _wide(self, m: Module) -> None:
        """A beat is held while its words leave one by one."""
        words = words_per_beat(self.beat_bits, self.bus_bits)
        held, last, full = Signal(self.bus_bits * words), Signal(), Signal()
        count = Signal(range(words))
        m.submodules.out = out = Slice(beat_layout(self.bus_bits))
        wiring.connect(m, wiring.flipped(self.o), out.o)
        done = Signal()
        m.d.comb += [
            out.i.valid.eq(full),
            out.i.payload.data.eq(held[: self.bus_bits]),
            out.i.payload.last.eq(last & (count == words - 1)),
            done.eq(full & out.i.ready & (count == words - 1)),
            self.i.ready.eq(~full | done),
        ]
        with m.If(full & out.i.ready):
            m.d.sync += [
                held.eq(held >> self.bus_bits),
                count.eq(Mux(count == words - 1, 0, count + 1)),
            ]
        with m.If(self.i.ready):
            m.d.sync += full.eq(self.i.valid)
            with m.If(self.i.valid):
                m.d.sync += [held.eq(self.i.payload.data), last.eq(self.i.payload.last)]
