"""The plain systolic array: the published tool's table exactly, closed forms, values, counts."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.dataflows import systolic
from hwsim.models.formats import CANONICAL_NAN_BITS, FP16, INT8
from hwsim.models.gemm import gemm, gemm_compact
from hwsim.models.lowering import lower
from hwsim.models.nm import NMPattern, compress, nm_mask
from hwsim.models.zoo import build

TABLE = Path(__file__).parent.parent / "reference" / "scalesim_v3_cycles.csv"


def reference():
    lines = [line for line in TABLE.read_text().splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


@pytest.mark.parametrize("row", reference(), ids=lambda r: f"{r['workload']}-{r['layer']}")
def test_reference_table(row):
    v = {key: int(value) for key, value in row.items() if value.isdigit()}
    out_h = (v["ifmap_h"] - v["kernel_h"]) // v["stride"] + 1
    out_w = (v["ifmap_w"] - v["kernel_w"]) // v["stride"] + 1
    k = v["kernel_h"] * v["kernel_w"] * v["channels"]
    cycles = systolic.cycles("os", out_h * out_w, v["filters"], k, 32, 32)
    assert cycles == v["total_cycles"]


def test_reference_table_is_whole():
    assert len(reference()) == 23
    total = sum(int(r["total_cycles"]) for r in reference() if r["workload"] == "resnet18")
    assert total == 2_133_315  # peers.md: SCALE-Sim 3.0.0, ResNet-18 os


def test_zoo_resnet18_has_the_shapes_of_the_table():
    rows = [r for r in reference() if r["workload"] == "resnet18"]
    work = [w for w in lower(build("resnet18")) if hasattr(w, "macs")]
    # the table lists a block's downsample after its second convolution, as the zoo does
    assert [w.layer for w in work] == [r["layer"] for r in rows]
    for w, row in zip(work, rows, strict=True):
        assert systolic.cycles("os", w.m, w.n, w.k, 32, 32) == int(row["total_cycles"])


def test_weight_stationary_totals_of_the_published_tool():
    # peers.md, measured with SCALE-Sim 3.0.0
    assert systolic.cycles("ws", 1024, 1024, 1024, 32, 32) == 1_144_831
    assert systolic.cycles("ws", 256, 256, 256, 32, 32) == 22_399
    sparse = NMPattern(2, 4).compact_length(256)
    assert systolic.cycles("ws", 256, 256, sparse, 32, 32) == 11_199
    work = [w for w in lower(build("resnet18")) if hasattr(w, "macs")]
    assert sum(systolic.cycles("ws", w.m, w.n, w.k, 32, 32) for w in work) == 2_855_031


def test_drain_is_rows_a_fold():
    base = systolic.cycles("os", 64, 64, 100, 32, 32)
    assert systolic.cycles("os", 64, 64, 100, 32, 32, drain=True) == base + 4 * 32


shapes = st.integers(1, 30)
arrays = st.integers(1, 8)
patterns = st.integers(1, 16).flatmap(lambda m: st.tuples(st.integers(1, m), st.just(m)))


formats = st.sampled_from([FP16, INT8])


def any_bits(rng, shape, fmt):
    """Every bit pattern: infinities, NaNs, subnormals and -0.0 among them."""
    bits = rng.integers(0, 1 << fmt.operand_bits, shape)
    return bits.astype(f"u{fmt.operand_bytes}").view(fmt.operand_dtype)


def operands(seed, m, n, k, fmt, wild):
    rng = np.random.default_rng(seed)
    if wild or fmt is INT8:
        return any_bits(rng, (m, k), fmt), any_bits(rng, (k, n), fmt)
    return tuple(rng.standard_normal(shape).astype(np.float16) for shape in ((m, k), (k, n)))


@pytest.mark.parametrize("flow", systolic.DATAFLOWS)
@given(m=shapes, n=shapes, k=shapes, rows=arrays, cols=arrays, fmt=formats, wild=st.booleans(),
       drain=st.booleans(), seed=st.integers(0, 2**32 - 1))  # fmt: skip
def test_dense_walk_gives_golden_bits_and_closed_forms(
    flow, m, n, k, rows, cols, fmt, wild, drain, seed
):
    a, b = operands(seed, m, n, k, fmt, wild)
    z, counts = systolic.simulate(flow, a, b, fmt, rows, cols, drain=drain)
    assert (fmt.bits(z) == fmt.bits(gemm(a, b, fmt))).all()
    assert counts == systolic.counts(flow, m, n, k, rows, cols, drain=drain)
    assert counts.cycles == systolic.cycles(flow, m, n, k, rows, cols, drain=drain)


@pytest.mark.parametrize("flow", systolic.DATAFLOWS)
@given(m=shapes, n=shapes, k=shapes, rows=arrays, cols=arrays, pattern=patterns, fmt=formats,
       wild=st.booleans(), drain=st.booleans(), seed=st.integers(0, 2**32 - 1))  # fmt: skip
def test_sparse_walk_gives_golden_bits_and_closed_forms(
    flow, m, n, k, rows, cols, pattern, fmt, wild, drain, seed
):
    a, b = operands(seed, m, n, k, fmt, wild)
    rank = b.view(np.uint16) & 0x7FFF if fmt is FP16 else b
    compact = compress(b, *pattern, nm_mask(rank, *pattern, 0))
    z, counts = systolic.simulate(flow, a, compact, fmt, rows, cols, drain=drain)
    assert (fmt.bits(z) == fmt.bits(gemm_compact(a, compact, fmt))).all()
    slots = -(-k // pattern[1]) * pattern[0]
    assert counts == systolic.counts(flow, m, n, slots, rows, cols, drain=drain)


@pytest.mark.parametrize("flow", systolic.DATAFLOWS)
def test_walk_of_special_values(flow):
    a = np.array([[np.inf, 1, -0.0], [65504, 65504, 2.0**-24]], np.float16)
    b = np.array([[0, 1], [1, 65504], [5, -0.0]], np.float16)
    z, _ = systolic.simulate(flow, a, b, FP16, 2, 2)
    assert (FP16.bits(z) == FP16.bits(gemm(a, b, FP16))).all()
    assert FP16.bits(z)[0, 0] == CANONICAL_NAN_BITS  # infinity times zero


def test_bad_arguments():
    a, b = np.zeros((2, 3), np.float16), np.zeros((3, 2), np.float16)
    with pytest.raises(ValueError, match="dataflow must be one of os, ws, is, but got 'rs'"):
        systolic.simulate("rs", a, b, FP16, 2, 2)
    with pytest.raises(ValueError, match="dataflow must be one of os, ws, is, but got 'rs'"):
        systolic.cycles("rs", 1, 1, 1, 1, 1)
    with pytest.raises(ValueError, match="rows >= 1 and cols >= 1 must hold, but got 0 and 2"):
        systolic.simulate("os", a, b, FP16, 0, 2)
    with pytest.raises(ValueError, match=r"must share k, but got \(2, 3\) and k=2"):
        systolic.simulate("os", a, b[:2], FP16, 2, 2)
    with pytest.raises(ValueError, match=r"must not be empty, but got \(2, 0\) and \(0, 2\)"):
        systolic.simulate("ws", a[:, :0], b[:0], FP16, 2, 2)


@pytest.mark.parametrize("name", ["m", "n", "k_steps", "rows", "cols"])
@pytest.mark.parametrize("flow", systolic.DATAFLOWS)
def test_closed_forms_refuse_sizes_below_one(flow, name):
    sizes = {"m": 3, "n": 3, "k_steps": 3, "rows": 2, "cols": 2} | {name: 0}
    for form in (systolic.cycles, systolic.counts):
        with pytest.raises(ValueError, match=f"{name} >= 1 must hold, but got 0"):
            form(flow, **sizes)
