"""How long a list of descriptors takes on the SpGEMM top: the core's simulator on a modelled bus.

The core is `hwsim.dataflows.rowwise_sim`, cycle by cycle, its reads through the one channel of
`hwsim.dataflows.rowwise_bus` and its results at the rate at which records become bus words. Around
it stand the fetch of the descriptor and the last bursts of results. Nothing is fitted: constants
are the registers that a word passes through, counted in `hwsim.rtl`.

What the law leaves out: pauses of the memory, the reads of the table of windows on the channel, and
results that wait in the core because those of other streams take the write channel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.config_base import BusConfig
from hwsim.config_spgemm import SpgemmConfig
from hwsim.dataflows.rowwise_bus import BusMemory
from hwsim.dataflows.rowwise_sim import RowwiseGaps, RowwiseRun, simulate
from hwsim.models.bus_words import run_bytes, words_per_beat
from hwsim.models.rowwise import RowwiseShape
from hwsim.models.spgemm_jobs import (
    COUNT_FIELDS,
    ELEMENT_BYTES,
    RECORD_BYTES,
    SpgemmFormat,
    SpgemmJob,
    reader_words,
)

__all__ = ["bus_memory", "list_cycles"]

_AHEAD = 4
"""From a request at the core's port to the grant of its first burst: the reader's commands, two
stages and the offer of `BurstSplitter`."""

_SPACING = 2
"""Cycles from a burst's offer to the next one of the same client."""

_ADDRESS = 3
"""From the grant to the first word of a memory of no latency: a register, `Slice` of the address
channel, the bus."""

_BEHIND = 4
"""From a word on the bus to the port: its register, two of `SyncFIFOBuffered`, the `Slice` of the
reader."""

_DONE = 2
"""From a burst's last word on the bus to the grant that it makes room for: its register, the queue
of the order."""

_FETCH = 13
"""From the list's start to the core's cycle 0 beside latency and words: 5 to the address, 4 from a
word to the queue, 4 from the last word to the core's reset."""

_TO_WORD = 9
"""From a record at the core's port to the first word of its burst on the bus, beside the words that
the record has: one to the last word, one to the queue of commands, three of `BurstSplitter`, four
through the arbiter, the order of words and `Slice`."""

_ANSWER = 5
"""From a burst's last word to the end of the list, beside the latency: 1 on the bus, 3 registers, 1
for the cycle itself."""

_BOUNDARY_BYTES = 4096


def bus_memory(shape: RowwiseShape, bus: BusConfig, latency: int) -> BusMemory:
    """The read channel of a top.

    Args:
        shape, bus: its configuration.
        latency: of the memory: a burst asked for in cycle t gets its first word in t + 1 + latency.
    """
    word = bus.data_bits // 8
    block = min(bus.burst_beats * word, _BOUNDARY_BYTES)
    return BusMemory(
        word_bytes=word,
        block_bytes=block,
        outstanding=bus.outstanding_reads,
        latency=latency,
        ahead=_AHEAD,
        spacing=_SPACING,
        address=_ADDRESS,
        behind=_BEHIND,
        done=_DONE,
        queue_words=reader_words(shape.lanes, block // word, bus.outstanding_reads)[1:],
    )


def list_cycles(
    config: SpgemmConfig, jobs: Sequence[SpgemmJob], *, latency: int, write_latency: int
) -> int:
    """Cycles in which a list of `jobs` runs, counter `bus.cycle`.

    Args:
        config: of the top.
        jobs: a descriptor each.
        latency: of the memory, as of `bus_memory`.
        write_latency: cycles from a burst's last word to its response, less 1.
    """
    total = 0
    for job in jobs:
        run = _core(config, job, latency)
        total += _start(config, latency) + run.cycles + _store(config, run, write_latency)
    return total


def _start(config: SpgemmConfig, latency: int) -> int:
    return _FETCH + latency + RECORD_BYTES * 8 // config.bus.data_bits


def _core(config: SpgemmConfig, job: SpgemmJob, latency: int) -> RowwiseRun:
    form = SpgemmFormat(config.shape, config.bus.data_bits)
    windows = len(job.starts) - 1
    first = np.zeros(windows, np.int64)
    first[0] = _AHEAD + _ADDRESS + latency + _BEHIND
    each = words_per_beat(ELEMENT_BYTES * 8, config.bus.data_bits)
    first[1:] = each - 1
    record = words_per_beat(form.result_bits, config.bus.data_bits)
    gaps = RowwiseGaps(job=first, z=[record - 1])
    bus = bus_memory(config.shape, config.bus, latency)
    return simulate(config.shape, job.a, job.b, job.starts, gaps=gaps, bus=bus)


def _store(config: SpgemmConfig, run: RowwiseRun, write_latency: int) -> int:
    """From the core's last word to the end of the list: bursts of results through one channel.

    A command's words go out, a word a cycle, when the last of them has become a bus word; commands
    in the order in which they become whole.
    """
    form, bus = SpgemmFormat(config.shape, config.bus.data_bits), config.bus
    chunk = min(bus.burst_beats, _BOUNDARY_BYTES * 8 // bus.data_bits)
    bits = form.result_bits
    ends = np.append(run.spill_cycle, run.cycles + 1)  # its closing record
    streams = [(run.cycle[run.output == o], bits) for o in range(config.outputs)]
    streams += [(ends, bits), (run.done_cycles, 32 * len(COUNT_FIELDS))]
    bursts: list[tuple[int, int]] = []
    for passes, width in streams:
        each = words_per_beat(width, bus.data_bits)
        words = run_bytes(1, width, bus.data_bits) * passes.size * 8 // bus.data_bits
        if each == 1:
            words = run_bytes(passes.size, width, bus.data_bits) * 8 // bus.data_bits
        for begin in range(0, words, chunk):
            end = min(begin + chunk, words)
            record = -(-end * passes.size // words) - 1  # that fills the last of the words
            bursts.append((int(passes[record]) + _TO_WORD + each, end - begin))
    free = 0
    for ready, words in sorted(bursts):
        free = max(free, ready) + words
    return free - 1 + write_latency + _ANSWER - run.cycles
