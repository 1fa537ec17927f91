"""How long the delta top takes for a list of descriptors: a law of the core and its DMA.

The core is the max-plus recurrence of `hwsim.dataflows.delta_layer.frame_cycles`, extended by what
the bus does; for a chain it is the stepped simulator with the gaps that the bus makes. The bus is a
pipelined memory of constant latency that gives a word a cycle:

- A command's first word is there `READ` + latency cycles later, then a word a cycle. With k bursts
  of b words under way, a burst comes no earlier than latency + b + `READ_LOOP` cycles after the one
  k before it (`hwsim.models.axi_law`).
- Weights are read a segment at a time. The command goes out when the streamer asks for the
  segment's first word, which it does as far ahead of the lanes as FIFO and `prefetch` let it.
- Frames are read ahead from the FRAMES descriptor on. Results leave behind the core; the last burst
  of a frame goes out when it is whole. A FRAMES descriptor ends when all are acknowledged.
- The rest of the list is a sequence: each descriptor waits for its words, then for the next.

Left out: frames and weights share the channel, and segments are taken as if they began a block of
bursts. The constants are registers on the way, counted in RTL on the least lists (one engine, one
output, one word of results); no layer was used to choose them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.config_base import BusConfig
from hwsim.dataflows.delta_sim import (
    GATE_DEPTH,
    OUTPUT_DEPTH,
    DeltaGaps,
    EngineWork,
    MemoryGaps,
    delta_timeline,
)
from hwsim.models.axi_law import READ_LOOP, block_bytes
from hwsim.models.bus_words import beats_per_word, run_bytes, words_per_beat
from hwsim.models.delta_jobs import RECORD_BYTES, DeltaProgram, delta_records, record_names
from hwsim.models.delta_shape import DeltaShape

__all__ = ["BusMemory", "core_ends", "list_cycles"]

READ = 10
"""From a command to its first word at the client, without the memory's latency: queue 1, splitter
3, arbiter and address 2, the memory's answer 1, register 1, queue 2."""

WEIGHT = READ + 1
"""The same from a request of weights: one register more in front."""

START = 10
"""From the write that starts a list to the fetcher's command."""

RECORD = 4
"""From a descriptor's last word until it is offered: whole, checked, judged, held."""

CUT = 2
"""From the last bus word of a beat to the beat."""

STORE = 13
"""From the last result to the control that sees its frame acknowledged, without the memory's
latency: gathered 2, queue 2, burst and its credit 3, arbiter, address and word 3, the memory's
answer 1, response and count 2."""

END = 5
"""From there to the interrupt."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class BusMemory:
    """The memory behind the top, in cycles of the top.

    Attributes:
        latency: from the cycle in which an address is taken to the one before its first word.
        write_latency: the same from a burst's last word to its response.
    """

    latency: int
    write_latency: int


def list_cycles(
    shape: DeltaShape,
    bus: BusConfig,
    program: DeltaProgram,
    works: Sequence[EngineWork],
    memory: BusMemory,
    *,
    on_chip: bool,
) -> int:
    """Cycles from the write that starts a program to its interrupt.

    Args:
        shape, bus, on_chip: of the top.
        program: its descriptors are read from its image.
        works: of each engine, for all frames from a reset on; after each RESET they come again.
        memory: behind the top.
    """
    law = _Law(shape, bus, program, works, memory, on_chip)
    return law.run()


def core_ends(
    work: EngineWork,
    shape: DeltaShape,
    x_arrival: Ints,
    set_end: int,
    weights: tuple[int, int, int, int, int, int],
    result_cycles: int = 1,
) -> Ints:
    """When each frame's last result is taken, int64 [frames], from the release of the core's reset.

    Args:
        work: of one engine.
        shape: of it.
        x_arrival: int64 [words of all frames], when each can be taken at the earliest.
        set_end: when a GRU's last first sum is taken; of a layer without meaning.
        weights: (words of a segment or 0 for an on-chip memory, bus words of one of its words times
            1024, cycles from a request to its word, bus words of a burst, bursts under way, cycles
            from a burst to the one as many later).
        result_cycles: that a word of results takes at least.
    """
    ends = np.zeros(len(work.counts), np.int64)
    results = work.walk // work.window
    _recurrence(
        np.ascontiguousarray(work.counts), work.beats, work.reads, x_arrival, work.input_words,
        set_end + 1 if shape.gru else work.set_words, max(work.walk, results * result_cycles),
        shape.capacity, shape.prefetch, GATE_DEPTH if shape.gru else OUTPUT_DEPTH, shape.gru,
        np.array(weights, np.int64), ends,
    )  # fmt: skip
    return ends


class _Law:
    """A walk through the list; times are cycles from the write that starts it."""

    def __init__(
        self,
        shape: DeltaShape,
        bus: BusConfig,
        program: DeltaProgram,
        works: Sequence[EngineWork],
        memory: BusMemory,
        on_chip: bool,
    ) -> None:
        self.shape, self.bus, self.works = shape, bus, works
        self.form = program.format
        self.memory, self.on_chip = memory, on_chip
        self.steps = _descriptors(program)
        self.burst = block_bytes(bus.data_bits, bus.burst_beats) * 8 // bus.data_bits
        self.origin = 0  # when the core's reset was released
        self.set_end = 0
        self.x: list[Ints] = []  # arrivals of the session's frames, from the origin

    def run(self) -> int:
        """When the interrupt rises."""
        word = self.bus.data_bits // 8
        record = RECORD_BYTES // word
        list_words = len(self.steps) * record
        begin = START + READ - 1 + self.memory.latency
        # the list's words, as many as its queue holds, come before what the first one asks for
        self.busy = begin + min(list_words, 2 * self.burst)
        taken, idle = begin - 2 * record - RECORD, 0
        for name, fields in self.steps:
            taken = max(idle, taken + record + RECORD)
            idle = getattr(self, f"_{name}")(taken + 1, fields)
        return idle - 2 + END

    def _layer(self, check: int, fields: dict[str, int]) -> int:
        names = len(record_names(self.shape))
        last = self._read(check + 1, names, 32)
        return self._set(last + 2, fields["beats"])

    def _weights(self, check: int, fields: dict[str, int]) -> int:
        return self._read(check + 1, fields["beats"], self.form.weight_bits) + 2

    def _reset(self, check: int, fields: dict[str, int]) -> int:
        if self.shape.gru:
            return self._set(check + 1, self.works[0].set_words)
        self.origin, self.x = check + 2, []
        return check + 2

    def _set(self, ask: int, beats: int) -> int:
        """Parameters or first sums; the core's reset ends."""
        last = self._read(ask, beats, self.form.parameter_bits)
        self.origin, self.x = ask + 1, []
        self.set_end = last - self.origin
        return last + 2

    def _frames(self, go: int, fields: dict[str, int]) -> int:
        count = fields["count"]
        self.x.append(self._x_arrivals(go, count) - self.origin)
        before = len(np.concatenate(self.x)) // self.works[0].input_words
        last = self.origin + int(self._ends(before)[-1])
        size = run_bytes(fields["o_stride"], 8, self.bus.data_bits) * 8 // self.bus.data_bits
        return last + STORE + min(size, self.burst) - 1 + self.memory.write_latency + 2

    def _ends(self, frames: int) -> Ints:
        """When each of the session's frames so far ends, from the origin."""
        x = np.concatenate(self.x)
        works = [_part(work, frames) for work in self.works]
        wide = words_per_beat(self.form.o_bits, self.bus.data_bits)
        if len(works) == 1:
            weights = self._weight_law(works[0])
            return core_ends(works[0], self.shape, x, self.set_end, weights, wide)
        late = 1 if self.on_chip else WEIGHT + self.memory.latency
        gaps = DeltaGaps(x=np.diff(x, prepend=0).clip(0).tolist(), o=[wide - 1],
                         memory=[MemoryGaps(latency=late)])  # fmt: skip
        line = delta_timeline(works, [self.shape] * len(works), gaps)
        return line.o_cycles.reshape(frames, -1)[:, -1]

    def _weight_law(self, work: EngineWork) -> tuple[int, int, int, int, int, int]:
        """What `core_ends` takes as `weights`."""
        if self.on_chip:
            return (0, 0, 1, 1, 1, 1)
        bits, bus = self.form.weight_bits, self.bus.data_bits
        reads = work.beats[work.reads]
        segment = int(np.gcd.reduce(reads)) if len(reads) else 1
        each, wide = beats_per_word(bits, bus), words_per_beat(bits, bus)
        words = ceil(segment / each) if each else segment * wide
        share = ceil(1024 / each) if each else 1024 * wide
        late = WEIGHT + self.memory.latency + (wide + 1 if wide > 1 else 0)
        b = min(self.burst, words)
        return (segment, share, late, b, self.bus.outstanding_reads,
                self.memory.latency + b + READ_LOOP)  # fmt: skip

    def _read(self, ask: int, beats: int, bits: int) -> int:
        """When the last beat of a run is there that is asked for in cycle `ask`."""
        bus = self.bus.data_bits
        first = max(ask + READ + self.memory.latency, self.busy)
        words = run_bytes(beats, bits, bus) * 8 // bus
        return first + max(beats, ceil(words * self._period(words))) - 1 + CUT

    def _period(self, words: int) -> float:
        """Cycles of a word of runs of as many words."""
        b = min(self.burst, words)
        queue = self.bus.outstanding_reads * self.burst
        k = min(self.bus.outstanding_reads, queue // b)
        return max(1.0, (self.memory.latency + b + READ_LOOP) / (k * b))

    def _x_arrivals(self, go: int, frames: int) -> Ints:
        """When each word of a FRAMES descriptor's frames can be taken."""
        bits, bus = self.form.x_bits, self.bus.data_bits
        beats = self.works[0].input_words
        words = run_bytes(beats, bits, bus) * 8 // bus
        first = go + 1 + READ + self.memory.latency + CUT
        wide = words_per_beat(bits, bus)
        each = beats_per_word(bits, bus)
        place = np.arange(beats)
        word = place // each if each else place * wide + wide - 1
        at = np.arange(frames)[:, None] * words + word
        arrival = np.maximum(np.arange(frames)[:, None] * beats + place, at * self._period(words))
        return (first + arrival.reshape(-1)).astype(np.int64)


def _descriptors(program: DeltaProgram) -> list[tuple[str, dict[str, int]]]:
    """Opcode and fields of each descriptor of a program's image."""
    layouts = {code: (name, layout) for name, (code, layout) in delta_records().items()}
    start = program.list_address - program.base
    found = []
    for n in range(program.count):
        raw = program.image[start + n * RECORD_BYTES :][:RECORD_BYTES].tobytes()
        name, layout = layouts[raw[2]]
        found.append((name, layout.unpack(raw)))
    return found


def _part(work: EngineWork, frames: int) -> EngineWork:
    """The first frames of a work."""
    if frames == len(work.counts):
        return work
    events = int(work.counts[:frames].sum())
    return EngineWork(
        counts=work.counts[:frames], beats=work.beats[:events], reads=work.reads[:events],
        input_words=work.input_words, set_words=work.set_words, walk=work.walk, window=work.window,
    )  # fmt: skip


@njit(cache=True)
def _recurrence(
    counts, beats, reads, x_arrival, input_words, set_end, walk, capacity, prefetch, depth, gru,
    weights, ends,
):  # fmt: skip  # pragma: no cover - compiled
    # as hwsim.dataflows.delta_layer's, with arrivals of frames' words and of weights
    segment, share, late, burst, under_way, loop = weights
    popped = np.full(capacity, -1, np.int64)
    moved = np.full(prefetch, -1, np.int64)
    bursts = np.full(max(under_way, 1), -1_000_000_000, np.int64)  # first words of the last ones
    taken1 = taken2 = -1
    stage = 2 if gru else 3  # cycle in which a word comes to the detector
    fired = move = -1
    resume = set_end
    event = beat = x = 0
    place = came = number = 0  # in the segment: beats asked for, bus words come; bursts so far
    asked = free = arrived = begun = -1
    for frame in range(counts.shape[0]):
        for word in range(counts.shape[1]):
            if word < input_words:
                stage = max(stage, x_arrival[x] + 2)
                x += 1
            elif word == input_words:
                stage += 1
            for _ in range(counts[frame, word]):
                pushed = max(stage, popped[event % capacity])
                ready = pushed + 1
                for _ in range(beats[event]):
                    fired = max(fired + 1, ready, moved[beat % prefetch] + 1)
                    move = max(fired + 1, move + 1, taken2 + 1)
                    moved[beat % prefetch] = move
                    take = max(move + 1, taken1 + 1, resume)
                    if reads[event]:
                        if segment == 0:
                            take = max(take, fired + 1 + late)
                        else:
                            if place == 0:
                                asked, came = fired + 1 + late, 0
                            need = -(-(place + 1) * share // 1024)
                            while came < need:
                                if came % burst == 0:
                                    first = max(asked, bursts[number % under_way] + loop)
                                    # a client's bursts are granted every second cycle at most
                                    free = max(free + 1, first, begun + 2)
                                    begun = free
                                    bursts[number % under_way] = free
                                    number += 1
                                else:
                                    free += 1
                                came += 1
                            arrived = max(arrived + 1, free)
                            take = max(take, arrived)
                            place = 0 if place + 1 == segment else place + 1
                    taken2, taken1 = taken1, take
                    beat += 1
                popped[event % capacity] = fired
                event += 1
                stage = pushed + 1
            if counts[frame, word] == 0:
                stage += 1
        ends[frame] = taken1 + walk + 1 + depth
        resume = taken1 + walk + 2
        if gru:
            stage = ends[frame] + 3
