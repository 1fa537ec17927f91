"""Stream width converters between bus words and beats of a core's stream.

`hwsim.models.bus_words` states how beats lie in bus words; these two units do it in hardware. Both
pass a beat or a word a cycle, whichever there are more of, across the borders of words and of runs.
"""

from __future__ import annotations

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

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
