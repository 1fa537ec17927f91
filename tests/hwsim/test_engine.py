"""The engine: parts that sum, exact small layers, the published tool's table, traffic bounds."""

from __future__ import annotations

import csv
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hwsim.config import load_config, replace
from hwsim.dataflows.stce import OS, WS, gemm_cycles, gemm_jobs, tail_cycles
from hwsim.dataflows.stce_feed import gemm_streams
from hwsim.dataflows.stce_sim import timeline
from hwsim.engine import pattern_of, run, run_layer
from hwsim.errors import UserError
from hwsim.memory import dram_cycles, geometry_array, input_bytes
from hwsim.models.counters import COUNTERS, counter
from hwsim.models.formats import FP16
from hwsim.models.lowering import lower
from hwsim.models.nm import compress
from hwsim.models.work import ConvGeometry, Gemm, Vector
from hwsim.models.zoo import build
from hwsim.result import Result

PARTS = ("issue", "array_idle", "stall_dram", "fill", "drain")
SMALL = ["buffers.input_bytes=4096", "buffers.weight_bytes=4096", "buffers.output_bytes=2048"]


PIPELINES = [
    (),  # an adder and a multiplier of one step
    ("adder_latency=4", "interleave=4", "multiplier_latency=2"),
    ("adder_latency=3", "interleave=2"),
]


def sat(*overrides):
    one_step = ["adder_latency=1", "multiplier_latency=1", "interleave=1"]
    return load_config("sat", ["rows=4", "cols=4", "psum_depth=8", *one_step, *overrides])


gemms = st.builds(
    Gemm,
    layer=st.just("g"),
    op=st.just("Gemm"),
    m=st.integers(1, 200),
    n=st.integers(1, 100),
    k=st.integers(1, 400),
    count=st.integers(1, 3),
    weights=st.booleans(),
    shared=st.booleans(),
)


@st.composite
def convs(draw):
    kernel, stride = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    pad, channels = draw(st.integers(0, 2)), draw(st.integers(1, 24))
    size = draw(st.integers(kernel, 20))
    out = (size + 2 * pad - kernel) // stride + 1
    batch = draw(st.integers(1, 3))
    geometry = ConvGeometry(
        batch=batch, height=size, width=size, channels=channels, kernel_h=kernel, kernel_w=kernel,
        stride_h=stride, stride_w=stride, pad_top=pad, pad_left=pad, pad_bottom=pad, pad_right=pad,
        out_h=out, out_w=out,
    )  # fmt: skip
    return Gemm(
        layer="c", op="Conv", m=batch * out * out, n=draw(st.integers(1, 40)),
        k=kernel * kernel * channels, conv=geometry,
    )  # fmt: skip


configs = st.sampled_from(
    [
        sat(),
        sat("sparsity=dense", "format=int8", "dataflow=os"),
        sat("sparsity=4:16", "dataflow=ws", "dram.bytes_per_cycle=3.0", *SMALL),
        sat("sparsity=2:4", "dram.bytes_per_cycle=0.5", "dram.latency_cycles=7", *SMALL),
        sat("sparsity=1:3", "dram.bytes_per_cycle=null", *SMALL),
        load_config("systolic", ["rows=5", "cols=3"]),
        load_config("systolic", ["dataflow=ws", "sparsity=2:4", "rows=5"]),
        load_config("systolic", ["dataflow=is", "drain=true", "sparsity=1:2"]),
    ]
)


@given(work=st.one_of(gemms, convs()), config=configs)
def test_cycles_sum_to_their_parts_and_no_utilisation_passes_its_peak(work, config):
    r = run_layer(work, config)
    assert r.cycles == sum(getattr(r, part) for part in PARTS)
    assert min(getattr(r, part) for part in PARTS) >= 0
    assert r.macs_dense == work.m * work.n * work.k * work.count
    assert 0 < r.macs_effective <= r.macs_dense
    result = Result(workload="w", config=config, phase="inference", batch=1, seed=0, runs=(r,))
    row = result.rows[0]
    assert 0 < row["utilization"] <= 1
    assert 0 < row["utilization_dense"] <= 1
    assert 0 < result.summary["utilization_dense"] <= 1
    assert r.energy_pj == pytest.approx(energy(r, config), rel=1e-12)


def energy(r, config):
    """Counters times energies, written out again."""
    e, c = config.energy, r.counters
    macs = c.get("sat.stce.mac", c.get("systolic.array.mac", 0))
    reads = c.get("buffer.input_read", 0) + c.get("buffer.weight_read", 0) + c.get("dram.write", 0)
    writes = c.get("buffer.output_write", 0) + c.get("dram.read", 0)
    moved = c.get("dram.read", 0) + c.get("dram.write", 0)
    assert moved == c.get("buffer.dma", 0)
    return (
        macs * e.mac_pj
        + c.get("engine.vector_op", 0) * e.vector_pj
        + reads * e.buffer_read_pj
        + writes * e.buffer_write_pj
        + moved * e.dram_pj
    )


@given(work=st.one_of(gemms, convs()), config=configs)
def test_traffic_is_at_least_compulsory(work, config):
    r = run_layer(work, config)
    size = config.number.operand_bytes
    pattern = pattern_of(work, config)
    weights = pattern.compact_length(work.k) * work.n * size
    assert r.dram_write_bytes >= work.m * work.n * work.count * size
    assert r.dram_read_bytes >= weights
    if work.conv is None:
        assert r.dram_read_bytes >= weights + work.m * work.k * work.count * size


@given(work=gemms, config=configs)
def test_more_bandwidth_or_less_latency_is_never_slower(work, config):
    if config.kind != "sat":
        return
    fixed = replace(config, {"dram.bytes_per_cycle": 1.0, "dram.latency_cycles": 9})
    wide = replace(fixed, {"dram.bytes_per_cycle": None, "dram.latency_cycles": 0})
    assert run_layer(work, wide).cycles <= run_layer(work, fixed).cycles


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("mode", [OS, WS])
@given(m=st.integers(1, 40), n=st.integers(1, 20), k=st.integers(1, 60))
def test_a_layer_that_fits_takes_the_array_s_own_cycles(pipeline, mode, m, n, k):
    """With memory out of the way the engine says what the stepped array does."""
    config = sat(
        f"dataflow={'os' if mode == OS else 'ws'}", "dram.bytes_per_cycle=null",
        "dram.latency_cycles=0", "sparsity=2:4", *pipeline,
    )  # fmt: skip
    work = Gemm(layer="g", op="Gemm", m=m, n=n, k=k)
    r = run_layer(work, config)
    slots = k if k < 4 else ceil(k / 4) * 2
    law = gemm_cycles(mode, m, n, slots, config.array)
    if r.tile[0] >= m and r.tile[1] >= n:
        assert r.cycles == max(law, r.issue + r.array_idle)
    else:  # tiles are jobs of their own: one descriptor, and for ws one first load, each
        assert r.cycles >= law
    rng = np.random.default_rng(0)
    b = rng.standard_normal((k, n)).astype(np.float16)
    streams = gemm_streams(
        rng.standard_normal((m, k)).astype(np.float16),
        compress(b, 2, 4) if k >= 4 else b,
        FP16, mode=mode, array=config.array,
    )  # fmt: skip
    assert timeline(streams.jobs, config.array).cycles == law


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("mode", [OS, WS])
@given(m=st.integers(1, 120), n=st.integers(1, 40), k=st.integers(1, 60))
def test_a_tiled_layer_takes_the_cycles_of_its_jobs_on_the_stepped_array(pipeline, mode, m, n, k):
    """Every buffer tile is one or two jobs; the sequencer is stepped through all of them."""
    config = sat(
        f"dataflow={'os' if mode == OS else 'ws'}", "dram.bytes_per_cycle=null",
        "dram.latency_cycles=0", "sparsity=2:4", "buffers.input_bytes=4096",
        "buffers.weight_bytes=1024", "buffers.output_bytes=1024", *pipeline,
    )  # fmt: skip
    r = run_layer(Gemm(layer="g", op="Gemm", m=m, n=n, k=k), config)
    tm, tn, tk = r.tile
    assume(tk == k)  # a chunked k is part of one job and steps like a whole one
    slots = k if k < 4 else ceil(k / 4) * 2
    heights = [min(tm, m - i) for i in range(0, m, tm)]
    widths = [min(tn, n - j) for j in range(0, n, tn)]
    # the loop order moves jobs, and the last tile of either order is the same
    jobs = [
        (mode, *job, 4)
        for height in heights
        for width in widths
        for job in gemm_jobs(mode, height, width, slots, config.array)
    ]
    line = timeline(np.array(jobs), config.array)
    idle_after_the_last = r.cycles - line.cycles  # results of a short ws fold leave early
    assert idle_after_the_last == max(0, -tail_cycles(mode, jobs[-1][3], config.array))
    assert r.counters["sat.stce.job"] == len(jobs)


def test_small_layer_by_hand():
    """m=8, n=4, k=16 dense int8 on 4 x 4 os, memory of 8 bytes a cycle and 10 cycles of latency.

    Two unit tiles of max(16, 4) steps and one descriptor: 33 cycles of array, 32 of them with
    operands. A is 128 bytes, B 64, both in one tile: (128 + 64) / 8 + 10 = 34 cycles to fill. The
    tail is 2 * 4 + 4 + 4 = 16 and the store of 32 bytes, one burst of 64: 64 / 8 + 10 = 18.
    """
    config = sat(
        "sparsity=dense", "format=int8", "dataflow=os", "dram.bytes_per_cycle=8.0",
        "dram.channels=1", "dram.latency_cycles=10", "dram.burst_bytes=64",
    )  # fmt: skip
    r = run_layer(Gemm(layer="g", op="Gemm", m=8, n=4, k=16), config)
    assert (r.issue, r.array_idle, r.stall_dram, r.fill, r.drain) == (32, 1, 0, 34, 16 + 18)
    assert r.cycles == 101
    assert (r.dram_read_bytes, r.dram_write_bytes) == (192, 64)
    assert r.counters["sat.stce.mac"] == 8 * 4 * 16
    assert r.counters["sat.stce.job"] == 1


def test_auto_takes_the_better_dataflow():
    for m, n, k in ((4, 200, 300), (300, 4, 300), (100, 100, 8), (1, 64, 512)):
        work = Gemm(layer="g", op="Gemm", m=m, n=n, k=k)
        each = [run_layer(work, sat(f"dataflow={d}")).cycles for d in ("os", "ws")]
        best = run_layer(work, sat("dataflow=auto"))
        assert best.cycles == min(each)


def test_systolic_equals_the_published_table_layer_by_layer():
    table = Path(__file__).parent.parent / "reference" / "scalesim_v3_cycles.csv"
    lines = [line for line in table.read_text().splitlines() if not line.startswith("#")]
    for workload in ("resnet18", "gemm1024", "gemm256"):
        rows = [r for r in csv.DictReader(lines) if r["workload"] == workload]
        runs = [r for r in run(lower(build(workload)), load_config("systolic")) if r.macs_dense]
        assert [r.cycles for r in runs] == [int(r["total_cycles"]) for r in rows]


def test_first_layer_and_activations_stay_dense():
    config = sat()
    base = {"layer": "g", "op": "Gemm", "m": 4, "n": 4, "k": 64}
    assert str(pattern_of(Gemm(**base), config)) == "2:8"
    assert pattern_of(Gemm(**base, first=True), config).dense
    assert str(pattern_of(Gemm(**base, first=True), sat("first_layer_dense=false"))) == "2:8"
    assert pattern_of(Gemm(**base, weights=False), config).dense
    assert pattern_of(Gemm(**(base | {"k": 7})), config).dense


def test_vector_work():
    work = Vector(layer="v", op="Add", elements_in=2000, elements_out=1000, operations=1000)
    r = run_layer(work, sat("vector_lanes=10", "dram.bytes_per_cycle=null"))
    assert (r.cycles, r.issue, r.dataflow) == (140 if r.stall_dram else 100, 100, "vector")
    slow = run_layer(work, sat("vector_lanes=10", "dram.bytes_per_cycle=1.0", "dram.channels=1"))
    assert slow.stall_dram == slow.cycles - 100
    assert slow.dram_read_bytes == 4032  # 63 bursts of 64
    fused = Vector(layer="v", op="Relu", elements_in=9, elements_out=9, operations=9, fused=True)
    assert run_layer(fused, sat()).cycles == 0
    assert run_layer(work, load_config("systolic")).dataflow == "host"


def test_a_product_that_fits_nowhere_names_the_memory():
    for field in ("input_bytes", "weight_bytes", "output_bytes"):
        config = load_config("sat", [f"buffers.{field}=64"])
        with pytest.raises(UserError, match=rf"^buffers\.{field}: half of it must hold"):
            run_layer(Gemm(layer="g", op="Gemm", m=64, n=64, k=4096), config)


def test_dram_cycles():
    # 3 bursts of 64 over 2 channels: 2 bursts on one of them, at 4 bytes a cycle each
    assert dram_cycles(192, 8.0, 2, 5, 64) == 5 + 32
    assert dram_cycles(0, 8.0, 2, 5, 64) == 0
    assert dram_cycles(192, np.inf, 2, 5, 64) == 5


@given(convs(), st.data())
def test_input_bytes_are_the_union_of_windows_in_whole_rows(work, data):
    g = work.conv
    m0 = data.draw(st.integers(0, work.m - 1))
    m1 = data.draw(st.integers(m0 + 1, work.m))
    runs, amount = input_bytes(geometry_array(work), m0, m1, work.k, work.k, 2)
    touched = set()
    for p in range(m0, m1):
        image, rest = divmod(p, g.out_h * g.out_w)
        y, x = divmod(rest, g.out_w)
        for i in range(g.kernel_h):
            for j in range(g.kernel_w):
                r, c = y * g.stride_h - g.pad_top + i, x * g.stride_w - g.pad_left + j
                if 0 <= r < g.height and 0 <= c < g.width:
                    touched.add((image, r, c))
    union = len(touched) * g.channels * 2
    patch = (m1 - m0) * work.k * 2
    assert runs == 1
    assert amount <= patch
    assert amount >= min(union, patch)
    whole_map = (m1 - 1) // (g.out_h * g.out_w) - m0 // (g.out_h * g.out_w) + 1
    assert amount <= whole_map * g.height * g.width * g.channels * 2


def test_counters_are_registered_once():
    assert len(COUNTERS) == len({c.name for c in COUNTERS.values()})
    for c in COUNTERS.values():
        assert c.unit
        assert c.description
        assert c.name.count(".") >= 1
    with pytest.raises(ValueError, match=r"there is no counter 'x\.y'"):
        counter("x.y")
