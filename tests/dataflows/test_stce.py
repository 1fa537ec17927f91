"""The sparse array's streams, cycle law and stepped simulator against each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.dataflows.stce import OS, WS, gemm_cycles, gemm_jobs
from hwsim.dataflows.stce_feed import gemm_streams
from hwsim.dataflows.stce_sim import Gaps, result_beats, timeline, values
from hwsim.models.array import ArrayShape
from hwsim.models.formats import FP16, INT8
from hwsim.models.gemm import gemm_compact
from hwsim.models.nm import NMPattern, compress

shape = st.integers(1, 30)
size = st.integers(1, 6)
seeds = st.integers(0, 2**32 - 1)
groups = st.sampled_from([1, 2, 4, 8, 16])


@st.composite
def cases(draw):
    group = draw(groups)
    block = draw(st.sampled_from([m for m in (1, 2, 4, 8, 16) if group % m == 0]))
    keep = draw(st.integers(1, block))
    depth = draw(st.sampled_from([2, 4, 16]))
    array = ArrayShape(
        rows=draw(size),
        cols=draw(size),
        group=group,
        psum_depth=depth,
        interleave=draw(st.integers(1, 5)),
        adder_latency=draw(st.integers(1, 6)),
        multiplier_latency=draw(st.integers(1, 3)),
    )
    return array, keep, block, draw(shape), draw(shape), draw(shape)


@pytest.mark.parametrize("mode", [OS, WS])
@given(case=cases(), seed=seeds)
def test_streams_give_golden_bits_in_the_law_s_cycles(mode, case, seed):
    array, keep, block, m, n, k = case
    rng = np.random.default_rng(seed)
    fmt = (FP16, INT8)[seed % 2]
    if fmt is FP16:
        a = rng.standard_normal((m, k)).astype(np.float16)
        b = rng.standard_normal((k, n)).astype(np.float16)
    else:
        a = rng.integers(-128, 128, (m, k)).astype(np.int8)
        b = rng.integers(-128, 128, (k, n)).astype(np.int8)
    compact = compress(b, keep, block)
    streams = gemm_streams(a, compact, fmt, mode=mode, array=array)
    beats = values(streams, fmt, array)
    assert (fmt.bits(streams.gather(beats)) == fmt.bits(gemm_compact(a, compact, fmt))).all()
    slots = NMPattern(keep, block).compact_length(k)
    line = timeline(streams.jobs, array)
    assert line.cycles == gemm_cycles(mode, m, n, slots, array)
    assert len(line.z_cycles) == len(streams.z_rows) == result_beats(streams.jobs, array)
    assert (np.diff(line.z_cycles) > 0).all()
    stalled = timeline(
        streams.jobs,
        array,
        Gaps(a=rng.integers(0, 4, 9), b=rng.integers(0, 4, 11), z=rng.integers(0, 4, 7)),
    )
    assert stalled.steps == line.steps
    assert (stalled.z_cycles >= line.z_cycles).all()
    parts = stalled.steps + stalled.stall_a + stalled.stall_b + stalled.stall_z + stalled.wait_job
    assert parts == stalled.cycles


SAT = ArrayShape(rows=32, cols=32, group=8, psum_depth=512)


@pytest.mark.parametrize("turns, latency", [(1, 1), (4, 4), (2, 4)])
def test_sparse_throughput_is_m_over_n_on_a_long_tile(turns, latency):
    array = replace(SAT, interleave=turns, adder_latency=latency)
    dense = gemm_cycles(OS, 32, 32, 8192, array) - gemm_cycles(OS, 32, 32, 4096, array)
    slots = [NMPattern(2, 8).compact_length(k) for k in (8192, 4096)]
    sparse = gemm_cycles(OS, 32, 32, slots[0], array) - gemm_cycles(OS, 32, 32, slots[1], array)
    assert dense == 4 * sparse


@pytest.mark.parametrize("turns", [1, 2, 3, 4, 5, 8])
def test_interleaving_uses_min_of_1_and_i_over_l(turns):
    array = replace(SAT, interleave=turns, adder_latency=4)
    n = 32 * turns  # one unit tile
    steps = gemm_cycles(OS, 32, n, 2000, array) - gemm_cycles(OS, 32, n, 1000, array)
    assert turns * 1000 / steps == min(1, turns / 4)


def test_jobs_cut_m_by_the_partial_sum_memory():
    array = ArrayShape(rows=4, cols=2, psum_depth=4, interleave=2)
    assert gemm_jobs(WS, 11, 5, 20, array) == [(6, 5, 4), (3, 5, 3)]
    assert gemm_jobs(OS, 11, 5, 20, array) == [(6, 1, 20)]


def test_bad_arguments():
    a, b = np.zeros((2, 8), np.float16), np.zeros((8, 2), np.float16)
    with pytest.raises(
        ValueError, match="M of the pattern must divide group, but got M=4, group=6"
    ):
        gemm_streams(a, compress(b, 1, 4), FP16, mode=OS, array=ArrayShape(rows=2, cols=2, group=6))
    with pytest.raises(ValueError, match="must be at least 1, but got m=0, n=2, k=8"):
        gemm_streams(a[:0], b, FP16, mode=OS, array=ArrayShape(rows=2, cols=2, group=4))
    small = ArrayShape(rows=2, cols=2)
    with pytest.raises(ValueError, match=r"jobs must be \[jobs, 5\]"):
        timeline(np.zeros((0, 5), np.int64), small)
    with pytest.raises(ValueError, match="mode 0 or 1 and counts of at least 1"):
        timeline(np.array([[2, 1, 1, 1, 1]]), small)
    with pytest.raises(ValueError, match="gaps of a must not be negative, but got -1"):
        timeline(np.array([[0, 1, 1, 1, 1]]), small, Gaps(a=[-1]))
    with pytest.raises(ValueError, match="interleave >= 1 must hold, but got 0"):
        ArrayShape(rows=2, cols=2, interleave=0)
