"""The FP32 multiplier and the FP32 to FP16 cast in RTL against NumPy, directed and random."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hwsim.models.formats import CANONICAL_NAN_BITS
from hwsim.models.update import fp16_copy
from hwsim.rtl.float32 import fp32_multiplier_pipeline, fp32_multiply, fp32_to_fp16
from hwsim.rtl.simulator import build
from hwsim.rtl.verilog import component_verilog

RANDOM = 20_000
LATENCIES = range(1, 7)
DELAY = max(LATENCIES)
CAST = 1 << 32


class Float32(wiring.Component):
    """The product at every latency, which must agree, or the cast of `a` where b[32] is set."""

    def __init__(self):
        super().__init__({"a": In(32), "b": In(33), "z": Out(32), "same": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        results = []
        for latency in LATENCIES:
            m.submodules[f"latency{latency}"] = inner = Module()
            pipe = fp32_multiplier_pipeline(inner, Const(1), latency)
            assert pipe.latency == latency
            product = fp32_multiply(inner, self.a, self.b[:32], pipe)
            results.append(self.delay(m, product, DELAY - latency))
        cast = self.delay(m, fp32_to_fp16(m, self.a), DELAY)
        m.d.comb += self.z.eq(Mux(self.delay(m, self.b[32], DELAY), cast, results[0]))
        filled = Signal(DELAY + 1)  # registers hold no results before that
        m.d.sync += filled.eq(Cat(Const(1, 1), filled))
        with m.If(filled[-1] & ~Cat(value == results[0] for value in results).all()):
            m.d.sync += self.same.eq(0)
        return m

    @staticmethod
    def delay(m, value, steps):
        for _ in range(steps):
            register = Signal(len(value))
            m.d.sync += register.eq(value)
            value = register
        return value


def run(cases, tmp_path):
    np.save(tmp_path / "cases.npy", cases)
    build(component_verilog({"float32": Float32()}), "float32").run(
        "hwsim.rtl.bench_function",
        {
            "HWSIM_CASES": str(tmp_path / "cases.npy"),
            "HWSIM_RESULTS": str(tmp_path / "results.npy"),
            "HWSIM_LATENCY": str(DELAY),
        },
    )
    return np.load(tmp_path / "results.npy")


def floats(bits):
    return bits.astype(np.uint32).view(np.float32)


SINGLE = [
    0x00000000, 0x00000001, 0x00000003, 0x00400000, 0x007FFFFF, 0x00800000, 0x00800001, 0x00FFFFFF,
    0x1FFFFFFF, 0x20000000, 0x20000001, 0x3F000000, 0x3F000001, 0x3F7FFFFF, 0x3F800000, 0x3F800001,
    0x3FFFFFFF, 0x40000000, 0x5F7FFFFF, 0x5F800000, 0x7F000000, 0x7F7FFFFF, 0x7F800000, 0x7F800001,
    0x7FC00000, 0x7FA00001,
]  # fmt: skip


@pytest.mark.xdist_group("rtl-float32")
def test_fp32_multiply(tmp_path):
    signed = SINGLE + [v | 0x80000000 for v in SINGLE]
    rng = np.random.default_rng(3)
    wide = rng.integers(0, 1 << 32, (RANDOM, 2))
    # results around the least normal number and below: subnormal, rounded to zero or to normal
    small = wide[: RANDOM // 2].copy()
    low = rng.integers(1, 0x80000000, len(small)) & 0x7FFFFF | (
        rng.integers(0, 200, len(small)) << 23
    )
    scale = 127 + rng.integers(-30, 4, len(small)) - (low >> 23)
    small[:, 0] = low
    small[:, 1] = (small[:, 1] & 0x807FFFFF) | (scale.clip(0, 254) << 23)
    # around the largest number, and few bits, so that exact ties occur
    large = (wide[: RANDOM // 4] & 0x807FFFFF) | (rng.integers(189, 193, (RANDOM // 4, 2)) << 23)
    ties = (wide[: RANDOM // 4] & 0xFFFFF800) & ~np.int64(0x40000000) | 0x30000000
    cases = np.concatenate(
        [np.array(list(itertools.product(signed, signed))), wide, small, large, ties]
    )
    found = run(cases, tmp_path)
    with np.errstate(all="ignore"):
        z = floats(cases[:, 0]) * floats(cases[:, 1])
    want = np.where(np.isnan(z), np.uint32(CANONICAL_NAN_BITS), z.view(np.uint32))
    assert (found == want).all(), [hex(v) for v in cases[found != want][0]]
    subnormal = (z != 0) & (np.abs(z) < np.finfo(np.float32).tiny)
    assert subnormal.sum() > 1000  # the cases reach what they are for


@pytest.mark.xdist_group("rtl-float32")
def test_fp32_to_fp16(tmp_path):
    rng = np.random.default_rng(4)
    half = np.arange(0, 0x7C01, dtype=np.uint16).view(np.float16).astype(np.float32)
    middle = half[:-2] / 2 + half[1:-1] / 2  # exact ties between neighbours
    exact = np.concatenate([half, middle]).view(np.uint32)[::5]
    directed = np.concatenate([exact, exact + 1, exact - 1, np.array(SINGLE, np.uint32)])
    inside = rng.integers(85 << 23, 145 << 23, RANDOM)
    a = np.concatenate([directed, directed | 0x80000000, inside]).astype(np.int64)
    a = np.concatenate([a, rng.integers(0, 1 << 32, RANDOM // 4)])
    found = run(np.stack([a, np.full(len(a), CAST)], axis=1), tmp_path)
    want = fp16_copy(floats(a)).view(np.uint16)
    assert (found == want).all(), [hex(v) for v in a[found != want][:3]]
