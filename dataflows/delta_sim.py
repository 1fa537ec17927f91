"""Cycle-exact simulation of the delta engines and of chains of them, under gaps on every port.

Which words leave follows from the events alone, in whatever cycle they come, so the simulation has
two halves: `hwsim.dataflows.delta_layer` and `hwsim.models.delta_gru` give the values and events,
and this module steps the machine of `hwsim.rtl.delta_engine` cycle by cycle to say when. An engine
is described by what happens in each frame (`EngineWork`); engines in a chain hand each word of
results to the next one's encoder.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.dataflows.stream import gap_list
from hwsim.models.delta_shape import DeltaShape

__all__ = [
    "GATE_BEATS",
    "GATE_DEPTH",
    "OUTPUT_DEPTH",
    "DeltaGaps",
    "DeltaTimeline",
    "EngineWork",
    "MemoryGaps",
    "delta_timeline",
]

OUTPUT_DEPTH = 4
GATE_DEPTH = 8
GATE_BEATS = 5
"""Steps through the output pass and the gate unit, words of a group: as in `hwsim.rtl`."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class EngineWork:
    """What an engine does, frame after frame.

    Attributes:
        counts: int64 [frames, words], events that leave each word of the scan; a GRU's words of x
            come before those of h.
        beats: int64 [events], cycles that each takes of the streamer, at least 1.
        reads: bool [events], whether these are words of weights; without, one cycle passes.
        input_words: words of a frame that come from outside: all but a GRU's words of h.
        set_words: words of sums that are set from reset.
        walk: words of sums that are read at a frame's end.
        window: how many of them make one word of results.
    """

    counts: Ints
    beats: Ints
    reads: NDArray[np.bool_]
    input_words: int
    set_words: int
    walk: int
    window: int

    def __post_init__(self) -> None:
        events = int(self.counts.sum())
        if self.counts.ndim != 2 or not self.counts.size or not self.counts[:, -1].all():
            raise ValueError(
                "counts must be [frames, words] with an event in every frame's last word, but got "
                f"shape {self.counts.shape}"
            )
        if self.beats.shape != (events,) or self.reads.shape != (events,):
            raise ValueError(
                f"beats and reads must have {events} events, but got {self.beats.shape} and "
                f"{self.reads.shape}"
            )
        if (events and self.beats.min() < 1) or self.walk % self.window:
            raise ValueError(
                "every event must take a cycle and walk be whole windows, but got "
                f"beats >= {self.beats.min()}, walk={self.walk}, window={self.window}"
            )

    @property
    def results(self) -> int:
        """Words of results of all frames."""
        return len(self.counts) * (self.walk // self.window)


@dataclass(frozen=True, kw_only=True)
class MemoryGaps:
    """A memory's behaviour: idle cycles before it takes a request and before it gives a word.

    Attributes:
        request: idle cycles before each request is taken, used round and round.
        latency: cycles from a request to the first in which its word may be offered, at least 1.
        response: idle cycles before each word, after the one before was taken.
    """

    request: Sequence[int] = ()
    latency: int = 1
    response: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True)
class DeltaGaps:
    """Back-pressure on all ports, lists used round and round.

    Attributes:
        x, o: input of the first engine and results of the last.
        start: a GRU's first sums.
        memory: of each engine; one for all, or none for ideal ones.
    """

    x: Sequence[int] = ()
    o: Sequence[int] = ()
    start: Sequence[int] = ()
    memory: Sequence[MemoryGaps] = ()


@dataclass(frozen=True, kw_only=True)
class DeltaTimeline:
    """What happened in which cycle; cycle 0 is the first after reset.

    Attributes:
        x_cycles: int64, when each word of the input was taken.
        o_cycles: int64, when each word of results was taken.
        busy: int64 [engines], cycles in which products were added or an event passed without any.
        walk: int64 [engines], cycles of the walks over the sums.
        waits: int64 [engines], cycles in which an entry waited for its word of weights.
        blocked: int64 [engines], cycles in which an event found the FIFO full.
    """

    x_cycles: Ints
    o_cycles: Ints
    busy: Ints
    walk: Ints
    waits: Ints
    blocked: Ints

    @property
    def cycles(self) -> int:
        """Cycles until the last result was taken, inclusive."""
        return int(self.o_cycles[-1]) + 1


def delta_timeline(
    works: Sequence[EngineWork], shapes: Sequence[DeltaShape], gaps: DeltaGaps | None = None
) -> DeltaTimeline:
    """When each word enters and leaves a chain of engines.

    Args:
        works: of each engine, all with as many frames.
        shapes: of each engine.
        gaps: back-pressure; none is none.

    Raises:
        ValueError: engines that do not fit one another, a latency below 1, a negative gap.
    """
    gaps = gaps or DeltaGaps()
    memory = list(gaps.memory) or [MemoryGaps()]
    memory = memory * len(works) if len(memory) == 1 else memory
    if not len(works) == len(shapes) == len(memory):
        raise ValueError(
            f"works, shapes and memories must be as many, but got {len(works)}, {len(shapes)} "
            f"and {len(memory)}"
        )
    for work, after in itertools.pairwise(works):
        if work.results != len(after.counts) * after.input_words:
            raise ValueError(
                f"an engine must take what the one before gives, but got {work.results} words for "
                f"{len(after.counts)} frames of {after.input_words}"
            )
    if min(m.latency for m in memory) < 1:
        raise ValueError(f"latency >= 1 must hold, but got {min(m.latency for m in memory)}")
    sizes = np.array(
        [
            (
                shape.gru, shape.capacity, shape.prefetch, len(work.counts), work.counts.shape[1],
                work.input_words, work.set_words, work.walk, work.window,
                GATE_DEPTH if shape.gru else OUTPUT_DEPTH, m.latency,
            )
            for work, shape, m in zip(works, shapes, memory, strict=True)
        ],
        np.int64,
    )  # fmt: skip
    first, last = works[0], works[-1]
    x_cycles = np.zeros(len(first.counts) * first.input_words, np.int64)
    o_cycles = np.zeros(last.results, np.int64)
    tallies = np.zeros((len(works), 4), np.int64)
    request, request_at = _ragged([gap_list("request", m.request) for m in memory])
    response, response_at = _ragged([gap_list("response", m.response) for m in memory])
    counts, counts_at = _ragged([work.counts.ravel() for work in works])
    beats, beats_at = _ragged([work.beats for work in works])
    reads, _ = _ragged([work.reads for work in works])
    limit = _limit(works, gaps, memory)
    end = _simulate(
        sizes, counts, counts_at, beats, reads, beats_at,
        gap_list("x", gaps.x), gap_list("o", gaps.o), gap_list("start", gaps.start),
        request, request_at, response, response_at, x_cycles, o_cycles, tallies, limit,
    )  # fmt: skip
    if end >= limit:
        raise RuntimeError(f"the simulated engines stand still after {limit} cycles")
    busy, walk, waits, blocked = tallies.T.copy()
    return DeltaTimeline(
        x_cycles=x_cycles, o_cycles=o_cycles, busy=busy, walk=walk, waits=waits, blocked=blocked
    )


def _limit(works: Sequence[EngineWork], gaps: DeltaGaps, memory: Sequence[MemoryGaps]) -> int:
    """More cycles than any run can take."""
    words = sum(w.counts.size + int(w.beats.sum()) + w.set_words for w in works)
    words += sum(len(w.counts) * w.walk for w in works)
    slow = sum(max(g, default=0) for g in (gaps.x, gaps.o, gaps.start))
    slow += sum(max(m.request, default=0) + max(m.response, default=0) + m.latency for m in memory)
    return (words + 100) * (slow + 20)


def _ragged(rows: Sequence[NDArray]) -> tuple[Ints, Ints]:
    """Rows one after the other, and where each begins; one more for the end."""
    at = np.concatenate([[0], np.cumsum([row.size for row in rows])]).astype(np.int64)
    return np.concatenate(rows).astype(np.int64), at


# columns of an engine's registers
_WORDS, _EVENTS = 0, 1  # words taken by the scanner, events pushed
_VALID1, _VALID2, _LEFT, _AHEAD = 2, 3, 4, 5  # its stages; events of the second; of the first
_PHASE, _AT = 6, 7  # 0: x, 1: gap, 2: h, 3: wait; word in the frame
_LEVEL, _HEAD, _BEAT = 8, 9, 10  # of the event FIFO; the event at its head, its beat
_REQUESTS, _FLIGHT, _ENTRIES = 11, 12, 13  # of the queues
_MODE, _SET, _EVENT, _DONE, _FRAME_EVENTS = 14, 15, 16, 17, 18  # 0: set, 1: add, 2: read
_HELD, _WALKED, _READ = 19, 20, 21
_WINDOW, _CHAIN, _OUT = 22, 23, 24
_ASKED, _GIVEN, _WORD_VALID, _REQUEST_READY = 25, 26, 27, 28  # memory
_STARTED, _FRAME = 29, 30
_REGISTERS = 31


@njit(cache=True)
def _simulate(
    sizes, counts, counts_at, beats, reads, beats_at, gap_x, gap_o, gap_start, gap_request,
    request_at, gap_response, response_at, x_cycles, o_cycles, tallies, limit,
):  # fmt: skip  # pragma: no cover - compiled
    engines = sizes.shape[0]
    s = np.zeros((engines, _REGISTERS), np.int64)
    ring = 8 + sizes[:, 2].max()
    asked_at = np.zeros((engines, ring), np.int64)
    can = np.zeros(engines, np.bool_)
    fire = np.zeros(engines, np.bool_)
    last_beat = np.zeros(engines, np.bool_)
    step = np.zeros(engines, np.bool_)
    x_ready = np.zeros(engines, np.bool_)
    o_valid = np.zeros(engines, np.bool_)
    o_ready = np.zeros(engines, np.bool_)
    for e in range(engines):
        s[e, _FRAME_EVENTS] = _frame_events(counts, counts_at[e], sizes[e, 4], 0)
        s[e, _REQUEST_READY] = gap_request[request_at[e]]
        s[e, _WORD_VALID] = gap_response[response_at[e]]
    x_taken = o_taken = 0
    valid_x, ready_o, valid_start = gap_x[0], gap_o[0], gap_start[0]
    t = 0
    while o_taken < o_cycles.size and t < limit:
        # what every unit offers, from registers alone
        for e in range(engines):
            r = s[e]
            fire[e] = r[_LEVEL] > 0 and r[_REQUESTS] < 2 and r[_FLIGHT] < sizes[e, 2]
            last_beat[e] = fire[e] and r[_BEAT] + 1 == beats[beats_at[e] + r[_HEAD]]
            can[e] = r[_LEVEL] < sizes[e, 1] or last_beat[e]
            step[e] = not r[_VALID2] or r[_LEFT] == 0 or (r[_LEFT] == 1 and can[e])
            ready = r[_PHASE] == 0 if sizes[e, 0] else r[_STARTED] == 1
            x_ready[e] = step[e] and ready
            o_valid[e] = (r[_CHAIN] >> (sizes[e, 9] - 1)) & 1
        for e in range(engines - 1):
            o_ready[e] = x_ready[e + 1]
        o_ready[engines - 1] = t >= ready_o
        # a cycle of each
        for e in range(engines):
            r = s[e]
            gru = sizes[e, 0] == 1
            if e == 0:
                offered = x_taken < x_cycles.size and t >= valid_x
            else:
                offered = o_valid[e - 1]
            taken = offered and x_ready[e]
            if taken and e == 0:
                x_cycles[x_taken] = t
                x_taken += 1
                valid_x = t + 1 + gap_x[x_taken % gap_x.size]
            take = taken or (gru and r[_PHASE] == 2 and step[e])
            out_step = o_ready[e] or not o_valid[e]
            result = o_valid[e] and o_ready[e]
            if result and e == engines - 1:
                o_cycles[o_taken] = t
                o_taken += 1
                ready_o = t + 1 + gap_o[o_taken % gap_o.size]

            # memory and queues, as they stand at the beginning of the cycle
            entry_move = r[_FLIGHT] > 0 and r[_ENTRIES] < 2
            asks = r[_REQUESTS] > 0 and t >= r[_REQUEST_READY]
            word = (
                r[_GIVEN] < r[_ASKED]
                and t >= r[_WORD_VALID]
                and t >= asked_at[e, r[_GIVEN] % ring] + sizes[e, 10]
            )
            event = beats_at[e] + r[_EVENT]
            wanted = r[_MODE] == 1 and r[_ENTRIES] > 0
            reading = wanted and reads[event] == 1
            added = wanted and (word or not reading)
            held, walked = r[_HELD] == 1, r[_WALKED] == 1
            passes = r[_MODE] == 2 and held and out_step
            walks = r[_MODE] == 2 and not walked and (not held or out_step)
            if added:
                tallies[e, 0] += 1
            if reading and not word:
                tallies[e, 2] += 1
            if r[_MODE] == 2:
                tallies[e, 1] += 1
            if r[_VALID2] and r[_LEFT] > 0 and not can[e]:
                tallies[e, 3] += 1

            # results
            if out_step:
                r[_CHAIN] = (r[_CHAIN] << 1) & ((1 << sizes[e, 9]) - 1)
                if passes:
                    r[_WINDOW] += 1
                    if r[_WINDOW] == sizes[e, 8]:
                        r[_WINDOW] = 0
                        r[_CHAIN] |= 1
            done = False
            if result:
                r[_OUT] += 1
                if r[_OUT] == sizes[e, 7] // sizes[e, 8]:
                    r[_OUT] = 0
                    done = True
            # lanes
            if r[_MODE] == 0:
                sets = True
                if gru:
                    sets = t >= valid_start
                    if sets:
                        valid_start = t + 1 + gap_start[(r[_SET] + 1) % gap_start.size]
                if sets:
                    r[_SET] += 1
                    if r[_SET] == sizes[e, 6]:
                        r[_MODE] = 1
            elif r[_MODE] == 1:
                if added:
                    r[_ENTRIES] -= 1
                    if reading:
                        r[_GIVEN] += 1
                        gaps = response_at[e + 1] - response_at[e]
                        r[_WORD_VALID] = t + 1 + gap_response[response_at[e] + r[_GIVEN] % gaps]
                    r[_DONE] += 1
                    if r[_DONE] == beats[event]:
                        r[_DONE] = 0
                        r[_EVENT] += 1
                        if r[_EVENT] == r[_FRAME_EVENTS]:
                            r[_MODE] = 2
                            r[_FRAME] += 1
                            if r[_FRAME] < sizes[e, 3]:
                                r[_FRAME_EVENTS] += _frame_events(
                                    counts, counts_at[e], sizes[e, 4], r[_FRAME]
                                )
            else:
                if out_step:
                    r[_HELD] = 0
                if walks:
                    r[_HELD] = 1
                    r[_READ] += 1
                    if r[_READ] == sizes[e, 7]:
                        r[_READ] = 0
                        r[_WALKED] = 1
                if passes and walked:
                    r[_WALKED] = 0
                    r[_MODE] = 1
            # requests and entries
            if entry_move:
                r[_FLIGHT] -= 1
                r[_ENTRIES] += 1
            if asks:
                r[_REQUESTS] -= 1
                asked_at[e, r[_ASKED] % ring] = t
                r[_ASKED] += 1
                gaps = request_at[e + 1] - request_at[e]
                r[_REQUEST_READY] = t + 1 + gap_request[request_at[e] + r[_ASKED] % gaps]
            if fire[e]:
                r[_FLIGHT] += 1
                if reads[beats_at[e] + r[_HEAD]]:
                    r[_REQUESTS] += 1
                if last_beat[e]:
                    r[_BEAT] = 0
                    r[_HEAD] += 1
                    r[_LEVEL] -= 1
                else:
                    r[_BEAT] += 1
            # scanner
            if r[_VALID2] and r[_LEFT] > 0 and can[e]:
                r[_LEVEL] += 1
                r[_LEFT] -= 1
            if step[e]:
                r[_VALID2] = r[_VALID1]
                r[_LEFT] = r[_AHEAD]
                r[_VALID1] = take
                r[_AHEAD] = 0
                if r[_PHASE] == 1:
                    r[_PHASE] = 2
            if take:
                r[_AHEAD] = counts[counts_at[e] + r[_WORDS]]
                r[_WORDS] += 1
                r[_AT] += 1
                if r[_AT] == sizes[e, 5] and gru:
                    r[_PHASE] = 1
                if r[_AT] == sizes[e, 4]:
                    r[_AT] = 0
                    if gru:
                        r[_PHASE] = 3
            if done and gru:
                r[_PHASE] = 0
            r[_STARTED] = 1
        t += 1
    return t


@njit(cache=True)
def _frame_events(counts, at, words, frame):  # pragma: no cover - compiled
    """Events of one frame."""
    return counts[at + frame * words : at + (frame + 1) * words].sum()
