"""The sparse array at three levels: one class of cases, each level overrides how a product runs.

golden: plain NumPy; simulator: the operand streams through the Numba kernels, values and cycles;
RTL: the same streams through the Verilog under cocotb, values and cycles.
"""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.config import SatConfig, load_config
from hwsim.dataflows.stce import OS, WS, gemm_cycles
from hwsim.dataflows.stce_sim import Gaps, timeline, values
from hwsim.models.formats import number_format
from hwsim.models.gemm import gemm, gemm_compact
from hwsim.models.nm import Compact, compress
from hwsim.verify import run_products
from hwsim.verify_cases import product

DEPTH = 4
PIPELINES = {"int8": (1, 1, 1), "fp16": (3, 4, 2)}
"""Interleave, adder and multiplier latency by format: one is the plain array."""


def sat(fmt: str) -> SatConfig:
    turns, adder, multiplier = PIPELINES[fmt]
    config = load_config(
        "sat",
        ["rows=3", "cols=2", "group=8", f"psum_depth={DEPTH}", f"format={fmt}",
         f"interleave={turns}", f"adder_latency={adder}", f"multiplier_latency={multiplier}"],
    )  # fmt: skip
    assert isinstance(config, SatConfig)
    return config


def operands(fmt: str, m: int, n: int, k: int, pattern: tuple[int, int] | None, seed: int = 0):
    rng = np.random.default_rng([seed, m, n, k])
    if fmt == "int8":
        a = rng.integers(-128, 128, (m, k)).astype(np.int8)
        b = rng.integers(-128, 128, (k, n)).astype(np.int8)
    else:
        a = rng.standard_normal((m, k)).astype(np.float16)
        b = rng.standard_normal((k, n)).astype(np.float16)
    return a, b if pattern is None else compress(b, *pattern)


@pytest.mark.parametrize("fmt", ["int8", "fp16"])
class TestGolden:
    """Cases; here they run in plain NumPy."""

    def run(self, fmt, mode, jobs, gaps=None):
        """Z of every product; the cycles, None where a level has none."""
        kind = number_format(fmt)
        return [self.golden(a, b, kind) for a, b in jobs], None

    @staticmethod
    def golden(a, b, kind):
        return (gemm_compact if isinstance(b, Compact) else gemm)(a, b, kind)

    def check(self, fmt, mode, jobs, gaps=None):
        kind = number_format(fmt)
        found, cycles = self.run(fmt, mode, jobs, gaps)
        for (a, b), z in zip(jobs, found, strict=True):
            assert (kind.bits(z) == kind.bits(self.golden(a, b, kind))).all()
        return cycles

    @pytest.mark.parametrize("mode", [OS, WS])
    def test_single_element(self, fmt, mode):
        cycles = self.check(fmt, mode, [operands(fmt, 1, 1, 1, None)])
        assert cycles in (None, gemm_cycles(mode, 1, 1, 1, sat(fmt).array))

    @pytest.mark.parametrize("mode", [OS, WS])
    @pytest.mark.parametrize("pattern", [None, (1, 2), (2, 4), (2, 8), (1, 8), (8, 8)])
    def test_patterns_over_several_tiles(self, fmt, mode, pattern):
        cycles = self.check(fmt, mode, [operands(fmt, 7, 5, 37, pattern)])
        slots = 37 if pattern in (None, (8, 8)) else -(-37 // pattern[1]) * pattern[0]
        assert cycles in (None, gemm_cycles(mode, 7, 5, slots, sat(fmt).array))

    @pytest.mark.parametrize("mode", [OS, WS])
    def test_k_shorter_than_the_array_is_tall(self, fmt, mode):
        cycles = self.check(fmt, mode, [operands(fmt, 9, 4, 2, None)])
        assert cycles in (None, gemm_cycles(mode, 9, 4, 2, sat(fmt).array))

    def test_2_8_is_four_times_as_fast_as_dense_on_a_long_tile(self, fmt):
        array = sat(fmt).array
        cycles = {
            (pattern, k): self.check(
                fmt, OS, [operands(fmt, array.rows, array.tile_cols, k, pattern)]
            )
            for pattern in (None, (2, 8))
            for k in (64, 256)
        }
        if None not in cycles.values():
            dense = cycles[None, 256] - cycles[None, 64]
            assert dense == 4 * (cycles[(2, 8), 256] - cycles[(2, 8), 64])
            assert dense == 192 * array.slot_steps

    def test_m_longer_than_the_partial_sum_memory(self, fmt):
        cycles = self.check(fmt, WS, [operands(fmt, 4 * DEPTH + 3, 3, 20, (2, 4))])
        assert cycles in (None, gemm_cycles(WS, 4 * DEPTH + 3, 3, 10, sat(fmt).array))

    def test_back_to_back_products_and_both_stalls(self, fmt):
        rng = np.random.default_rng(5)
        gaps = Gaps(
            job=rng.integers(0, 9, 7), a=rng.integers(0, 3, 31), b=rng.integers(0, 3, 37),
            z=rng.integers(0, 5, 29),
        )  # fmt: skip
        jobs = [operands(fmt, 5, 5, 17, (2, 8)), operands(fmt, 2, 3, 11, None)]
        self.check(fmt, OS, jobs, gaps)
        self.check(fmt, WS, jobs, gaps)

    def test_corner_values(self, fmt):
        if fmt == "int8":
            a = np.full((4, 300), -128, np.int8)
            b = np.full((300, 2), -128, np.int8)
        else:
            bits = np.array(
                [0x0001, 0x03FF, 0x0400, 0x7BFF, 0x7C00, 0x7E01, 0x8000, 0xFC00, 0x0000, 0x83FF],
                np.uint16,
            )
            a = np.resize(bits, (6, 13)).view(np.float16)
            b = np.resize(bits[::-1], (13, 5)).view(np.float16)
        self.check(fmt, OS, [(a, b)])
        self.check(fmt, WS, [(a, b)])


class TestSimulator(TestGolden):
    """The same cases through the streams and the Numba kernels."""

    def run(self, fmt, mode, jobs, gaps=None):
        design = sat(fmt)
        products = [product(design, a, b, mode) for a, b in jobs]
        z = [p.streams.gather(values(p.streams, design.number, design.array)) for p in products]
        line = timeline(np.concatenate([p.streams.jobs for p in products]), design.array, gaps)
        assert (
            line.steps + line.stall_a + line.stall_b + line.stall_z + line.wait_job == line.cycles
        )
        return z, line.cycles if gaps is None else None


@pytest.mark.xdist_group("rtl-small")
class TestRtl(TestGolden):
    """The same cases through the Verilog; `run_products` compares every beat's cycle."""

    def run(self, fmt, mode, jobs, gaps=None):
        design = sat(fmt)
        z, rtl, simulated = run_products(
            design, [product(design, a, b, mode) for a, b in jobs], gaps
        )
        assert rtl == simulated
        return z, rtl if gaps is None else None
