"""How long the sparse array's AXI top takes: the phase law of `hwsim.phases` with its own DMA.

A *pass* is one play of a run of A: a unit tile (output stationary) or all folds of a column tile
(weight stationary). As in `hwsim.phases`, loads run behind the compute and a pass ends with the
later of the two. What differs is what this DMA does, in a law of its own:

- Reads and writes have channels of their own, each moves a bus word a cycle. Read bursts are asked
  for ahead, so their latency is paid where a load could not be asked for before; how many words a
  cycle they bring is `hwsim.models.axi_law.read_rate`, of bursts of the list's mean length.
- A and B share the read channel fairly: half each while both may load, all while one may.
- An operand is loaded as far ahead as its ring memory and its queue have room; a run's room is free
  when its last pass begins (beats leave one by one). A run that does not fit is loaded for every
  pass.
- A pass begins with its first beats, and ends no earlier than its last beats come.
- Descriptors come one after the other, `_RECORD` cycles and their words apart; one that waits for
  those before it starts when their results are acknowledged.
- Results leave behind their pass; the last burst goes out when all its words are there.

The constants are the registers on the way, counted in RTL on the least list (one product of one
element); no layer was used to choose them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hwsim.config import SatConfig
from hwsim.dataflows.stce import OS, interval, tail_cycles
from hwsim.models.axi_law import block_bytes, bursts, read_rate
from hwsim.models.bus_words import beats_per_word, run_bytes, words_per_beat
from hwsim.models.sat_jobs import (
    GemmJob,
    Operand,
    a_beat_bits,
    b_beat_bits,
    buffer_beats,
    fetches,
    gemm_record,
    stored_bytes,
    z_beat_bits,
)

__all__ = ["Port", "list_cycles"]

_START = 5
"""From the start to the request of the first descriptor."""
_DISPATCH = 17
"""From a descriptor's last word to the request of its operands."""
_RECORD = 4
"""Between the last word of a descriptor and the first of the next."""
_OPERAND = 9
"""From a word of an operand to the step that takes its beat."""
_STORE = 11
"""From the last word of results to its burst, and from the response to the end of the list."""
_EPSILON = 1e-6


@dataclass(frozen=True, kw_only=True)
class Port:
    """The memory behind the top, in the top's cycles.

    Attributes:
        latency: from a read burst's request to its first word.
        write_latency: from a write burst's last word to its response.
    """

    latency: int
    write_latency: int


def list_cycles(config: SatConfig, jobs: Sequence[GemmJob], port: Port) -> int:
    """Cycles from the start of a list to its last acknowledged result.

    Raises:
        ValueError: no job, or one whose operands are streams.
    """
    if not jobs or any(job.a is None for job in jobs):
        raise ValueError("jobs must hold at least one, with operands in memory")
    record = gemm_record(streams=False).size_bytes * 8 // config.bus.data_bits
    total = _START + port.latency + record
    first = 0
    for i in range(1, len(jobs) + 1):
        if i == len(jobs) or jobs[i].wait:
            total += _together(config, jobs[first:i], port)
            first = i
    return total


def _together(config: SatConfig, jobs: Sequence[GemmJob], port: Port) -> int:
    """Cycles from the first descriptor's last word until all are completed."""
    array, bus = config.array, config.bus.data_bits
    burst = block_bytes(bus, config.bus.burst_beats) * 8 // bus
    record = gemm_record(streams=False).size_bytes * 8 // bus
    z_slot = stored_bytes(1, z_beat_bits(config.number, array), bus) * 8 / bus
    late = _OPERAND + port.latency  # from a request to the step
    period = _RECORD + record
    loads = [_Loads(config, jobs, name, float(_DISPATCH), period) for name in ("a", "b")]
    mean = max(1, round(sum(load.total for load in loads) / sum(load.bursts for load in loads)))
    rate = read_rate(port.latency, burst_words=mean, outstanding=config.bus.outstanding_reads)
    channel = _Channel(loads, float(_DISPATCH), rate)

    core, out = 0.0, 0.0
    for i, job in enumerate(jobs):
        assert job.a is not None
        passes = job.a.segments * job.a.repeats
        steps = interval(job.mode, job.length, array) * job.folds
        beats = job.z_beats / passes
        tail = tail_cycles(job.mode, job.length, array)
        core = max(core, _DISPATCH + period * i + late) + (1 if job.mode == OS else array.rows + 2)
        for _ in range(passes):
            for load in loads:
                load.begin_pass(core)
            core = max(core + steps, channel.loaded() + late)
            out = max(out, core + tail - beats) + beats * z_slot
            out = max(out, core + tail)
    closing = min(burst, jobs[-1].z_beats * z_slot)  # words that go out after the last result
    return round(out + closing + _STORE + port.write_latency)


class _Loads:
    """An operand of all jobs: words that each pass waits for, and how far ahead they may come."""

    def __init__(
        self, config: SatConfig, jobs: Sequence[GemmJob], name: str, start: float, period: int
    ) -> None:
        fmt, array, bus = config.number, config.array, config.bus.data_bits
        bits = (a_beat_bits if name == "a" else b_beat_bits)(fmt, array)
        memory = config.buffers.input_bytes if name == "a" else config.buffers.weight_bytes
        in_word = beats_per_word(bits, bus)
        word_beats = in_word if in_word else 1 / words_per_beat(bits, bus)
        block = block_bytes(bus, config.bus.burst_beats)
        queue = config.bus.outstanding_reads * block * 8 // bus
        self.room = buffer_beats(memory, bits) / word_beats + queue  # words
        self.bursts = 0
        self.targets: list[float] = []  # words loaded by the end of each pass
        self.freed: list[float] = []  # of these, whose room is free when the pass begins
        self.given: list[tuple[float, float]] = []  # (time, words of the descriptors there by then)
        total = 0.0
        for i, job in enumerate(jobs):
            operand = getattr(job, name)
            assert job.a is not None and isinstance(operand, Operand)
            size = run_bytes(operand.beats, bits, bus)
            words = size * 8 / bus
            held = fetches(operand, memory, bits) == 1
            each = bursts(operand.base, size, data_bits=bus, burst_beats=config.bus.burst_beats)
            self.bursts += len(each) * operand.segments * fetches(operand, memory, bits)
            parts = job.a.repeats if name == "b" else 1  # passes that a play of the run lasts
            for play in range(operand.segments * operand.repeats):
                again = play % operand.repeats
                last = again == operand.repeats - 1
                for part in range(parts):
                    if not (held and again):
                        total += words / parts
                    self.targets.append(total)
                    left = 0.0 if last or not held else words * (part + 1) / parts
                    if held and again:
                        left = 0.0 if last else words
                    self.freed.append(total - left)
            self.given.append((start + period * i, total))
        self.total = total
        self.done = 0.0
        self.at = -1  # the present pass
        self.opens: list[tuple[float, float]] = []  # (time, words that may be loaded from then on)

    def begin_pass(self, time: float) -> None:
        """The next pass begins: what it plays for the last time makes room."""
        self.at += 1
        self.opens.append((time, self.freed[self.at] + self.room))

    @property
    def target(self) -> float:
        """Words that the present pass waits for."""
        return self.targets[self.at]


class _Channel:
    """The read channel, shared fairly by the operands that may load."""

    def __init__(self, loads: Sequence[_Loads], start: float, rate: float) -> None:
        self.loads = loads
        self.now = start
        self.rate = rate

    def loaded(self) -> float:
        """Time at which all words that the present pass waits for have been asked for."""
        while any(load.done < load.target - _EPSILON for load in self.loads):
            limits = [self._limit(load) for load in self.loads]
            active = [i for i, load in enumerate(self.loads) if load.done < limits[i] - _EPSILON]
            coming = [t for load in self.loads for t, _ in load.opens + load.given if t > self.now]
            if not active:
                self.now = min(coming)
                continue
            share = self.rate / len(active)
            spans = [(limits[i] - self.loads[i].done) / share for i in active]
            spans += [
                (load.target - load.done) / share
                for i, load in enumerate(self.loads)
                if i in active and load.done < load.target - _EPSILON
            ]
            span = min(spans)
            if coming and min(coming) - self.now < span:
                span = min(coming) - self.now
            for i in active:
                self.loads[i].done += share * span
            self.now += span
        return self.now

    def _limit(self, load: _Loads) -> float:
        """Words that may have been loaded by now; the ring is empty before the first pass."""
        while len(load.opens) > 1 and load.opens[1][0] <= self.now:
            load.opens.pop(0)
        while len(load.given) > 1 and load.given[1][0] <= self.now:
            load.given.pop(0)
        ring = load.opens[0][1] if load.opens[0][0] <= self.now else load.room
        return min(ring, load.given[0][1])
