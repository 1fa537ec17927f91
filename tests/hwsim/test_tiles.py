"""Buffer tiles: every one fits, errors name the memory that is too small, overlap where it can."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.config import load_config, replace
from hwsim.dataflows.stce import WS, gemm_jobs, tail_cycles
from hwsim.dataflows.stce_sim import timeline
from hwsim.engine import pattern_of, run_layer
from hwsim.errors import UserError
from hwsim.memory import geometry_array, input_bytes
from hwsim.models.work import ConvGeometry, Gemm

SMALL = ["buffers.input_bytes=32768", "buffers.weight_bytes=32768", "buffers.output_bytes=16384"]


def gemm(m, n, k):
    return Gemm(layer="g", op="Gemm", m=m, n=n, k=k)


@st.composite
def convs(draw):
    kernel, stride = draw(st.integers(1, 5)), draw(st.integers(1, 2))
    height, width = draw(st.integers(kernel, 60)), draw(st.integers(kernel, 60))
    pad, batch = draw(st.integers(0, 2)), draw(st.integers(1, 3))
    channels = draw(st.sampled_from([1, 3, 16, 64, 100]))
    out_h = (height + 2 * pad - kernel) // stride + 1
    out_w = (width + 2 * pad - kernel) // stride + 1
    geometry = ConvGeometry(
        batch=batch, height=height, width=width, channels=channels, kernel_h=kernel,
        kernel_w=kernel, stride_h=stride, stride_w=stride, pad_top=pad, pad_left=pad,
        pad_bottom=pad, pad_right=pad, out_h=out_h, out_w=out_w,
    )  # fmt: skip
    return Gemm(
        layer="c", op="Conv", m=batch * out_h * out_w, n=draw(st.integers(1, 80)),
        k=kernel * kernel * channels, conv=geometry,
    )  # fmt: skip


def assert_fits(work, config, run):
    """Every tile of A, B and Z by its own bytes, the slow way."""
    tm, tn, tk = run.tile
    size, halves = config.number.operand_bytes, config.buffers
    geometry = geometry_array(work)
    for m0 in range(0, work.m, tm):
        runs, amount = input_bytes(geometry, m0, min(work.m, m0 + tm), tk, work.k, size)
        assert runs * amount <= halves.input_bytes // 2, m0
    pattern = pattern_of(work, config)
    pairs = pattern.compact_length(tk) * tn
    indices = 0 if pattern.dense else -(-pairs * pattern.index_bits // 8)
    assert pairs * size + indices <= halves.weight_bytes // 2
    assert tm * tn * config.number.accumulator_bytes <= halves.output_bytes // 2
    # sums stay in the array while k is cut, so such a tile is one unit of outputs
    if tk < work.k:
        ws = run.dataflow == "ws"
        assert tm <= (config.psum_depth if ws else config.rows)
        assert tn <= (config.cols if ws else config.array.tile_cols)


@given(work=convs(), flow=st.sampled_from(["os", "ws", "auto"]))
def test_every_tile_fits_half_a_buffer(work, flow):
    config = load_config("sat", ["rows=8", "cols=8", f"dataflow={flow}", *SMALL])
    try:
        run = run_layer(work, config)
    except UserError:  # a unit tile of a wide map does not fit: said, and never run
        return
    assert_fits(work, config, run)


def test_tiles_that_start_inside_a_row_fit_too():
    """A tile of 32 outputs of a 56-wide map touches three to four rows of it, by its place."""
    geometry = ConvGeometry(
        batch=1, height=56, width=56, channels=64, kernel_h=3, kernel_w=3,
        pad_top=1, pad_left=1, pad_bottom=1, pad_right=1, out_h=56, out_w=56,
    )  # fmt: skip
    work = Gemm(layer="c", op="Conv", m=3136, n=64, k=576, conv=geometry)
    for size in (32768, 40960, 65536, 131072):
        config = load_config("sat", ["dataflow=os", f"buffers.input_bytes={size}"])
        assert_fits(work, config, run_layer(work, config))


@pytest.mark.parametrize("flow", ["os", "ws", "auto"])
@pytest.mark.parametrize("field", ["input_bytes", "weight_bytes", "output_bytes"])
def test_the_memory_named_is_the_one_that_is_too_small(flow, field):
    # elsewhere a unit tile fits and the largest does not, which must not be what is named
    sizes = {"input_bytes": 524288, "weight_bytes": 524288, "output_bytes": 524288} | {field: 64}
    config = load_config(
        "sat", [f"dataflow={flow}", *(f"buffers.{name}={size}" for name, size in sizes.items())]
    )
    with pytest.raises(UserError, match=rf"^buffers\.{field}: .* but got 64$"):
        run_layer(gemm(4096, 64, 4096), config)


def test_auto_takes_the_dataflow_that_fits():
    # 32 columns of 512 partial sums of 4 bytes are 65536 bytes; os needs 32 x 32 of them
    config = load_config(
        "sat", ["buffers.output_bytes=8192", "psum_depth=512", "cols=32", "interleave=1"]
    )
    work = gemm(4096, 64, 512)
    each = {f: run_layer(work, replace(config, {"dataflow": f})) for f in ("os", "ws")}
    best = run_layer(work, config)
    assert best.cycles == min(r.cycles for r in each.values())
    for run in each.values():
        assert_fits(work, config, run)


@given(m=st.integers(1, 200), n=st.integers(1, 30), k=st.integers(8, 60))
def test_a_short_weight_stationary_tile_steps_like_its_jobs(m, n, k):
    """A tile of fewer rows than there are partial sums is a job of that length."""
    config = load_config(
        "sat",
        ["rows=4", "cols=4", "psum_depth=64", "sparsity=2:4", "dataflow=ws",
         "buffers.input_bytes=16384", "buffers.output_bytes=512", "dram.bytes_per_cycle=null",
         "dram.latency_cycles=0"],
    )  # fmt: skip
    run = run_layer(gemm(m, n, k), config)
    tm, tn, tk = run.tile
    assert tk == k
    assert tm * tn <= 64  # sums of 4 bytes in 256 bytes: 16 rows of a whole column tile
    slots = -(-k // 4) * 2
    jobs = [
        (WS, *job, 4)
        for i in range(0, m, tm)
        for j in range(0, n, tn)
        for job in gemm_jobs(WS, min(tm, m - i), min(tn, n - j), slots, config.array)
    ]
    line = timeline(np.array(jobs), config.array)
    assert run.cycles - line.cycles == max(0, -tail_cycles(WS, jobs[-1][3], config.array))
    assert run.counters["sat.stce.job"] == len(jobs)


@pytest.mark.parametrize("flow", ["os", "ws", "is"])
@given(
    m=st.integers(1, 300), n=st.integers(1, 300), k=st.integers(1, 300), count=st.integers(1, 3),
    bandwidth=st.sampled_from([0.5, 3.0, 16.0, 400.0]),
)  # fmt: skip
def test_the_plain_array_overlaps_transfers_with_its_cycles(flow, m, n, k, count, bandwidth):
    """Its own cycles do not change with the memory, and what they cover is no stall."""
    work = Gemm(layer="g", op="Gemm", m=m, n=n, k=k, count=count)
    ideal = load_config("systolic", [f"dataflow={flow}", "rows=8", "cols=8"])
    small = replace(ideal, {f"buffers.{b}_bytes": 8192 for b in ("input", "weight", "output")})
    slow = replace(small, {"dram.bytes_per_cycle": bandwidth})
    free, bound = run_layer(work, ideal), run_layer(work, slow)
    assert free.cycles == free.issue + free.array_idle
    assert bound.issue + bound.array_idle == free.cycles
    moved = (bound.dram_read_bytes + bound.dram_write_bytes) / bandwidth
    assert bound.cycles >= moved
    # rounding up is at most a cycle a phase, and there are at most two transfers a unit tile
    parts = bound.fill + bound.stall_dram + bound.drain
    assert parts <= moved + 2 * count * -(-m // 8) * -(-n // 8) * -(-k // 8) + 2


def test_the_plain_array_hides_what_it_can():
    """1024^3 at 16 bytes a cycle: 1.1 M cycles of array and 0.7 M of DRAM take 1.2 M, not 1.8 M."""
    run = run_layer(gemm(1024, 1024, 1024), load_config("systolic", ["dram.bytes_per_cycle=16"]))
    assert run.issue + run.array_idle == 1_112_063
    moved = (run.dram_read_bytes + run.dram_write_bytes) / 16
    assert moved > 600_000
    assert run.stall_dram < 0.1 * moved
