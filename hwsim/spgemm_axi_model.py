"""How long a list of descriptors takes on the SpGEMM top: the core's simulator on a modelled bus.

The core is `hwsim.dataflows.rowwise_sim`, cycle by cycle, its reads through the one channel of
`hwsim.dataflows.rowwise_bus` and its results at the rate at which records become bus words. Around
it stand the fetch of the descriptor and the last bursts of results. Nothing is fitted: constants
are the registers that a word passes through, counted in `hwsim.rtl`.

What the law leaves out, beside what `rowwise_bus` says: pauses of the memory, and results of one
stream that wait for those of another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hwsim.config_base import BusConfig
from hwsim.config_spgemm import SpgemmConfig
from hwsim.dataflows.rowwise_bus import BusMemory
from hwsim.dataflows.rowwise_sim import RowwiseGaps, RowwiseRun, simulate
from hwsim.models.bus_words import words_per_beat
from hwsim.models.spgemm_jobs import ELEMENT_BYTES, RECORD_BYTES, SpgemmFormat, SpgemmJob

__all__ = ["bus_memory", "list_cycles"]

_AHEAD = 5
"""From a request at the core's port to its address on the bus: the reader's queue of commands, two
stages and the offer of `BurstSplitter`, `Slice` of the address channel."""

_BEHIND = 4
"""From a word on the bus to the port: its register, two of `SyncFIFOBuffered`, the `Slice` of the
reader."""

_FETCH = 12
"""From the list's start to the core's cycle 0 beside latency and words: 4 to the address, 4 from a
word to the queue, 4 from the last word to the core's reset."""

_BOUNDARY_BYTES = 4096


def bus_memory(bus: BusConfig, latency: int) -> BusMemory:
    """The read channel of a top.

    Args:
        bus: its configuration.
        latency: of the memory: a burst asked for in cycle t gets its first word in t + 1 + latency.
    """
    word = bus.data_bits // 8
    return BusMemory(
        word_bytes=word,
        block_bytes=min(bus.burst_beats * word, _BOUNDARY_BYTES),
        outstanding=bus.outstanding_reads,
        latency=latency,
        ahead=_AHEAD,
        behind=_BEHIND,
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
    first[0] = _AHEAD + 1 + latency + _BEHIND
    each = words_per_beat(ELEMENT_BYTES * 8, config.bus.data_bits)
    first[1:] = each - 1
    record = words_per_beat(form.result_bits, config.bus.data_bits)
    gaps = RowwiseGaps(job=first, z=[record - 1])
    return simulate(
        config.shape, job.a, job.b, job.starts, gaps=gaps, bus=bus_memory(config.bus, latency)
    )


def _store(config: SpgemmConfig, run: RowwiseRun, write_latency: int) -> int:
    return 20 + write_latency
