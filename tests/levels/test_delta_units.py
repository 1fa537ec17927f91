"""The delta engine's units: golden values, their timelines, and the Verilog under cocotb."""

from __future__ import annotations

import pickle
from functools import lru_cache

import numpy as np
import pytest

from hwsim.block_cases import StreamGaps
from hwsim.config import load_config
from hwsim.dataflows import delta_units
from hwsim.dataflows.delta_layer import LayerGeometry
from hwsim.dataflows.delta_units import scanner_timeline, window_timeline
from hwsim.dataflows.stream import pipeline_timeline
from hwsim.delta_random import designs
from hwsim.delta_unit_cases import gate_unit_case, output_unit_case, scanner_unit_case
from hwsim.models.delta import Conv, DeltaEncoder, Output
from hwsim.models.delta_gru import gates, sigmoid_table, tanh_table
from hwsim.rtl.delta_engine import DELTA_MODULES, delta_parts
from hwsim.rtl.simulator import build
from hwsim.rtl.verilog import component_verilog

DESIGNS = designs(load_config("delta"))
LAYER, GRU = DESIGNS[0].shape, DESIGNS[2].shape
GAPS = (
    StreamGaps(),
    StreamGaps(i=[0, 3, 0, 0, 1, 2, 0], o=[0, 2, 0, 5, 0]),
    StreamGaps(o=[9, 0, 0, 4]),
)


@lru_cache
def verilog(shape, block):
    parts, modules = delta_parts(shape), DELTA_MODULES[block]
    return component_verilog({name: parts[name]() for name in modules}), modules[-1]


def run(shape, block, cases, tmp_path):
    """Words and cycles of cases on one unit."""
    made = build(*verilog(shape, block))
    source, target = tmp_path / "cases", tmp_path / "results"
    source.write_bytes(pickle.dumps([case.packed() for case in cases]))
    made.run("hwsim.rtl.bench_stream", {"HWSIM_CASES": str(source), "HWSIM_RESULTS": str(target)})
    return [result["o"] for result in pickle.loads(target.read_bytes())]


def check(cases, results):
    for case, got in zip(cases, results, strict=True):
        assert got["words"] == case.expected
        assert got["cycles"] == case.timeline.o_cycles.tolist()
        assert got["extra"] == 0


def image_frames(rng, count, shape):
    frames = rng.integers(0, 256, (count, *shape))
    for t in range(1, count):
        keep = rng.random(shape) < 0.7
        frames[t][keep] = frames[t - 1][keep]
    return frames


def geometry(shape, stride, pad):
    layer = Conv(
        np.zeros((1, shape[0], 2, 2), np.int64),
        Output(bias=np.zeros(1, np.int64), multiplier=np.zeros(1, np.int64), shift=0),
        stride=stride,
        pad=pad,
    )
    return LayerGeometry.of(layer, shape)


@pytest.mark.xdist_group("rtl-delta-units")
class TestRtl:
    def test_scanner(self, tmp_path):
        rng = np.random.default_rng(2)
        encoders = [
            DeltaEncoder(multiplier=40503, shift=17, bits=8, signed=False),
            DeltaEncoder(theta=60, bits=8, signed=False),
            DeltaEncoder(theta=0, bits=8, signed=False),
        ]
        cases = [
            scanner_unit_case(
                LAYER, encoder, image_frames(rng, 3, shape), geometry(shape, stride, pad), gaps
            )
            for encoder, shape, stride, pad, gaps in zip(
                encoders, [(6, 3, 5), (4, 2, 7), (1, 4, 4)], [1, 3, 2], [0, 1, 2], GAPS,
                strict=True,
            )
        ]  # fmt: skip
        check(cases, run(LAYER, "scanner", cases, tmp_path))

    def test_output_pass(self, tmp_path):
        rng = np.random.default_rng(3)
        top = 1 << (LAYER.accumulator_bits - 1)
        cases = []
        for pool, relu, gaps in zip((1, 2, 3), (True, False, True), GAPS, strict=True):
            filters = 7
            sums = rng.integers(-top, top, (filters, 4, 7))
            sums[0, 0] = [-top, top - 1, 0, -1, 1, 5, -5]
            output = Output(
                bias=rng.integers(-top, top, filters),
                multiplier=rng.integers(0, 1 << 16, filters),
                shift=int(rng.integers(28, 32)),
                relu=relu,
                pool=pool,
            )
            assert len(np.unique(output.codes(sums))) > 3
            cases.append(output_unit_case(LAYER, sums, output, gaps))
        check(cases, run(LAYER, "output", cases, tmp_path))

    def test_gates(self, tmp_path):
        rng = np.random.default_rng(4)
        top, old_top = 1 << (GRU.accumulator_bits - 1), 1 << (GRU.activation_bits - 1)
        cases = []
        for gaps in GAPS:
            sums = rng.integers(-(1 << 17), 1 << 17, (4, 40))
            sums[:, :8] = rng.choice([-top, top - 1, 0, -1], (4, 8))
            old = rng.integers(-300, 300, 40)
            old[:4] = [-old_top, old_top - 1, 0, -1]
            cases.append(gate_unit_case(GRU, sums, old, gaps))
        check(cases, run(GRU, "gates", cases, tmp_path))


class TestTimelines:
    def test_a_window_of_one_is_a_pipeline(self):
        for gaps in GAPS:
            mine = window_timeline(20, 1, 4, gap_i=gaps.i, gap_o=gaps.o)
            other = pipeline_timeline(20, 4, gap_i=gaps.i, gap_o=gaps.o)
            assert mine.o_cycles.tolist() == other.o_cycles.tolist()
            assert (mine.stall_o, mine.wait_i) == (other.stall_o, other.wait_i)

    def test_windows_without_gaps(self):
        # the last word of the window goes in in cycle 4, 9, 14; the result comes 8 later
        assert window_timeline(3, 5, 8).o_cycles.tolist() == [12, 17, 22]

    def test_the_detector_skips_zeros(self):
        # words are taken from cycle 1 on, and each is at the detector two cycles later; those with
        # no event or one take one cycle, others one for each event
        assert scanner_timeline(np.array([0, 0, 2, 0, 1])).o_cycles.tolist() == [5, 6, 8]
        assert scanner_timeline(np.array([1])).o_cycles.tolist() == [3]

    def test_operands_are_checked(self):
        with pytest.raises(ValueError, match="counts must end with a word that has an event"):
            scanner_timeline(np.array([1, 0]))
        with pytest.raises(ValueError, match="window >= 1 must hold, but got 0"):
            window_timeline(1, 0, 1)
        with pytest.raises(ValueError, match="gaps of o must not be negative, but got -1"):
            window_timeline(1, 1, 1, gap_o=[-1])

    def test_the_kernels_do_the_same_without_the_compiler(self, monkeypatch):
        counts = np.array([0, 3, 0, 1, 2])
        gaps = {"gap_i": [0, 2], "gap_o": [4, 0, 1]}
        compiled = scanner_timeline(counts, **gaps), window_timeline(4, 3, 5, **gaps)
        for name in ("_scanner", "_window"):
            kernel = getattr(delta_units, name)
            monkeypatch.setattr(delta_units, name, getattr(kernel, "py_func", kernel))
        plain = scanner_timeline(counts, **gaps), window_timeline(4, 3, 5, **gaps)
        for a, b in zip(compiled, plain, strict=True):
            assert a.o_cycles.tolist() == b.o_cycles.tolist()
            assert (a.cycles, a.stall_o, a.wait_i) == (b.cycles, b.stall_o, b.wait_i)


class TestGateNumbers:
    """`hwsim.models.delta_gru.gates` against its formula in float."""

    def test_tables(self):
        shape = load_config("edgedrnn").shape
        step = 2.0 ** -(shape.table_bits - 1 - shape.table_range_bits)
        half = 1 << (shape.table_bits - 1)
        x = np.arange(-half, half) * step
        for table, exact, one in (
            (sigmoid_table(shape), 1 / (1 + np.exp(-x)), 1 << 15),
            (tanh_table(shape), np.tanh(x), 1 << shape.activation_fraction),
        ):
            assert table.shape == (2 * half,)
            assert np.abs(np.roll(table, half) / one - exact).max() <= 0.5000001 / one
        assert sigmoid_table(shape).min() >= 0 and sigmoid_table(shape).max() < 1 << 15

    def test_against_float(self):
        shape = load_config("edgedrnn").shape
        rng = np.random.default_rng(7)
        one = 1 << shape.sum_fraction
        sums = rng.normal(0, 2, (4, 5000)) * one
        old = rng.uniform(-1, 1, 5000) * 256
        z, r = (1 / (1 + np.exp(-s / one)) for s in sums[:2])
        n = np.tanh(sums[2] / one + r * sums[3] / one)
        want = n + z * (old / 256 - n)
        got = gates(np.rint(sums).astype(np.int64), np.rint(old).astype(np.int64), shape) / 256
        # a table's step of 1/128, half of it wrong, at slopes of 1 (tanh) and 1/4 (both sigmoids,
        # times 2 and the state's part of n), and three roundings of 1/512
        assert np.abs(got - want).max() < 1 / 256 + 3 / 512 + 0.25 / 256 * (
            2 + np.abs(sums[3] / one).max()
        )
        assert np.sqrt(((got - want) ** 2).mean()) < 1 / 256

    def test_a_state_stays_between_old_and_new(self):
        shape = load_config("edgedrnn").shape
        rng = np.random.default_rng(8)
        top = 1 << 23
        old = rng.integers(-(1 << 15), 1 << 15, 10000)
        new = gates(rng.integers(-top, top, (4, 10000)), old, shape)
        assert (np.minimum(old, -256) <= new).all()
        assert (new <= np.maximum(old, 256)).all()
