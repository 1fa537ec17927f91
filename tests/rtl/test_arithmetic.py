"""The PE's FP16 multiplier and FP32 adder in RTL against NumPy, directed and random patterns."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.models.formats import CANONICAL_NAN_BITS, FP16
from hwsim.rtl.arithmetic import (
    adder_pipeline,
    fp16_multiply,
    fp32_add,
    multiplier_pipeline,
)
from hwsim.rtl.simulator import build
from hwsim.rtl.verilog import component_verilog

RANDOM = 20_000


class Pipelines(wiring.Component):
    """A function at every latency; each result is brought to the same step and all must agree."""

    def __init__(self, function, pipeline, bits, latencies):
        self.function = function
        self.pipeline = pipeline
        self.latencies = latencies
        super().__init__({"a": In(bits), "b": In(bits), "z": Out(32), "same": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        results = []
        for latency in self.latencies:
            m.submodules[f"latency{latency}"] = inner = Module()
            pipe = self.pipeline(inner, Const(1), FP16, latency)
            assert pipe.latency == latency
            value = self.function(inner, self.a, self.b, pipe)
            for _ in range(max(self.latencies) - latency):
                register = Signal(32)
                m.d.sync += register.eq(value)
                value = register
            results.append(value)
        m.d.comb += self.z.eq(results[0])
        filled = Signal(max(self.latencies) + 1)  # registers hold no results before that
        m.d.sync += filled.eq(Cat(Const(1, 1), filled))
        with m.If(filled[-1] & ~Cat(value == results[0] for value in results).all()):
            m.d.sync += self.same.eq(0)
        return m


def run(function, pipeline, bits, latencies, cases, tmp_path, name):
    verilog = component_verilog({name: Pipelines(function, pipeline, bits, latencies)})
    np.save(tmp_path / "cases.npy", cases)
    build(verilog, name).run(
        "hwsim.rtl.bench_function",
        {
            "HWSIM_CASES": str(tmp_path / "cases.npy"),
            "HWSIM_RESULTS": str(tmp_path / "results.npy"),
            "HWSIM_LATENCY": str(max(latencies)),
        },
    )
    return np.load(tmp_path / "results.npy")


def canonical(z):
    return np.where(np.isnan(z), np.uint32(CANONICAL_NAN_BITS), z.view(np.uint32))


HALF = [0x0000, 0x0001, 0x0200, 0x03FF, 0x0400, 0x3C00, 0x3C01, 0x7BFF, 0x7C00, 0x7E00, 0x7D55]
SINGLE = [
    0x00000000, 0x00000001, 0x007FFFFF, 0x00800000, 0x00800001, 0x3F800000, 0x3F7FFFFF, 0x3F800001,
    0x33800000, 0x33800001, 0x33000000, 0x4B800000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000, 0x7FA00001,
]  # fmt: skip


@pytest.mark.xdist_group("rtl-arithmetic")
def test_fp16_multiply(tmp_path):
    signed = HALF + [v | 0x8000 for v in HALF]
    rng = np.random.default_rng(1)
    cases = np.concatenate(
        [
            np.array(list(itertools.product(signed, signed))),
            rng.integers(0, 1 << 16, (RANDOM, 2)),
            # subnormals and small normals, where normalising works hardest
            rng.integers(0, 0x0C00, (RANDOM // 4, 2))
            | (rng.integers(0, 2, (RANDOM // 4, 2)) << 15),
        ]
    )
    found = run(
        fp16_multiply, multiplier_pipeline, 16, range(1, 6), cases, tmp_path, "fp16_multiply"
    )
    a, b = (cases[:, i].astype(np.uint16).view(np.float16).astype(np.float32) for i in (0, 1))
    with np.errstate(all="ignore"):
        want = canonical(a * b)
    assert (found == want).all(), cases[found != want][:5]
    # the product is exact: FP32 holds what float64 gives
    with np.errstate(all="ignore"):
        exact = a.astype(np.float64) * b.astype(np.float64)
    finite = np.isfinite(exact)
    assert (exact[finite] == found.view(np.float32)[finite].astype(np.float64)).all()


@pytest.mark.xdist_group("rtl-arithmetic")
def test_fp32_add(tmp_path):
    signed = SINGLE + [v | 0x80000000 for v in SINGLE]
    rng = np.random.default_rng(2)
    base = rng.integers(0, 1 << 32, (RANDOM, 2))
    # neighbours: exponents a few apart, so that alignment, cancellation and rounding happen
    near = base.copy()
    step = (rng.integers(-30, 31, RANDOM) << 23) + rng.integers(-4, 5, RANDOM)
    near[:, 1] = ((near[:, 0] & 0x7FFFFFFF) + step).clip(0, 0x7FFFFFFF) | (
        rng.integers(0, 2, RANDOM) << 31
    )
    small = rng.integers(0, 0x01800000, (RANDOM // 4, 2)) | (
        rng.integers(0, 2, (RANDOM // 4, 2)) << 31
    )
    cases = np.concatenate([np.array(list(itertools.product(signed, signed))), base, near, small])
    found = run(fp32_add, adder_pipeline, 32, range(1, 9), cases, tmp_path, "fp32_add")
    a, b = (cases[:, i].astype(np.uint32).view(np.float32) for i in (0, 1))
    with np.errstate(all="ignore"):
        want = canonical(a + b)
    assert (found == want).all(), [hex(v) for v in cases[found != want][0]]


def test_the_golden_format_makes_nans_canonical():
    z = np.array([np.nan, 1.0], np.float32)
    z.view(np.uint32)[0] = 0xFFC12345
    assert FP16.bits(FP16.finish(z)).tolist() == [CANONICAL_NAN_BITS, 0x3F800000]
