"""The weight update engine at three levels: one class of cases, each level overrides how they run.

golden: `momentum_update`; simulator: scalar Numba kernels, values and cycles; RTL: the Verilog
under cocotb, every word and the cycle of each.
"""

from __future__ import annotations

import functools
import gc
import itertools

import numpy as np
import pytest

from hwsim.block_cases import StreamGaps, Update, update_case
from hwsim.dataflows import wuve
from hwsim.dataflows.stream import pipeline_timeline
from hwsim.dataflows.wuve import half_bits, update, update_cycles, update_depth
from hwsim.models.update import UpdateRule, fp16_copy, momentum_update
from hwsim.rtl.blocks import parts_verilog, wuve_parts
from hwsim.rtl.wuve import UpdateEngine
from hwsim.verify_blocks import run_block

LANES = 2
LATENCY = {"multiplier_latency": 2, "adder_latency": 3}
RULE = UpdateRule(rate=0.1, momentum=0.9, decay=5e-4, pruned_decay=7e-4, scale=1 / 1024)

PATTERNS = [
    0x00000000, 0x80000000, 0x00000001, 0x807FFFFF, 0x00800000, 0x3F800000, 0xBF800001, 0x33800000,
    0x477FF000, 0xC77FEFFF, 0x38801000, 0x387FFFFF, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000,
    0x7FC00001, 0xFFA00000,
]  # fmt: skip


@functools.cache
def verilog():
    return parts_verilog(wuve_parts(lanes=LANES, **LATENCY))


def operands(count, seed=0, rule=RULE):
    rng = np.random.default_rng([seed, count])
    w, v = (
        rng.standard_normal(count).astype(np.float32) * s
        for s in (np.float32(0.05), np.float32(0.01))
    )
    gradient = (rng.standard_normal(count) * 20).astype(np.float32)
    return Update(w=w, v=v, gradient=gradient, keep=rng.random(count) < 0.25, rule=rule)


def any_bits(count, seed, rule=RULE):
    rng = np.random.default_rng(seed)
    w, v, gradient = (
        rng.integers(0, 1 << 32, count, dtype=np.uint64).astype(np.uint32).view(np.float32)
        for _ in range(3)
    )
    return Update(w=w, v=v, gradient=gradient, keep=rng.random(count) < 0.5, rule=rule)


class TestGolden:
    """Cases; here they run in plain NumPy."""

    def run(self, cases):
        """w, v and copy of each (operands, gaps); the cycles, None where a level has none."""
        out = []
        for given, _ in cases:
            w, v = momentum_update(given.w, given.v, given.gradient, given.rule, given.keep)
            out.append((w, v, fp16_copy(w), None))
        return out

    def check(self, *cases):
        cases = [case if isinstance(case, tuple) else (case, StreamGaps()) for case in cases]
        for (given, gaps), (w, v, copy, cycles) in zip(cases, self.run(cases), strict=True):
            want_w, want_v = momentum_update(
                given.w, given.v, given.gradient, given.rule, given.keep
            )
            assert w.tobytes() == want_w.tobytes()
            assert v.tobytes() == want_v.tobytes()
            assert copy.tobytes() == fp16_copy(want_w).tobytes()
            law = update_cycles(given.w.size, LANES, **LATENCY)
            if cycles is not None and gaps == StreamGaps():
                assert cycles == law
            elif cycles is not None:
                assert cycles > law

    def test_training_like_values(self):
        assert 0 < operands(400).keep.sum() < 400
        self.check(operands(400), operands(1), operands(7))

    def test_special_values_in_every_place(self):
        bits = np.array(list(itertools.product(PATTERNS, repeat=2)), np.uint32).view(np.float32)
        one = np.resize(np.array(PATTERNS, np.uint32).view(np.float32), len(bits))
        kept = np.arange(len(bits)) % 2 == 0
        x, y = np.ascontiguousarray(bits.T)
        rule = UpdateRule(rate=1.0, momentum=1.0, decay=0.0, pruned_decay=-1.0, scale=0.5)
        self.check(
            Update(w=x, v=y, gradient=one, keep=kept, rule=rule),
            Update(w=one, v=x, gradient=y, keep=~kept, rule=rule),
            Update(w=y, v=one, gradient=x, keep=kept, rule=RULE),
        )

    def test_any_bits(self):
        tiny = UpdateRule(rate=1e-30, momentum=1e30, decay=1e-40, pruned_decay=1.0, scale=2.0**-24)
        self.check(any_bits(600, 1), any_bits(600, 2, tiny))

    def test_stalls_on_both_sides(self):
        rng = np.random.default_rng(8)
        slow_out = StreamGaps(o=rng.integers(0, 4, 17).tolist())
        slow_in = StreamGaps(i=rng.integers(0, 4, 23).tolist())
        both = StreamGaps(i=slow_in.i, o=slow_out.o)
        burst = StreamGaps(i=[0, 0, 0, 30], o=[0, 40, 0, 0])
        self.check(*((operands(91, 1), gaps) for gaps in (slow_out, slow_in, both, burst)))


class TestSimulator(TestGolden):
    """The same cases through the Numba kernels."""

    def run(self, cases):
        out = []
        for given, gaps in cases:
            time = pipeline_timeline(
                -(-given.w.size // LANES), update_depth(**LATENCY), gap_i=gaps.i, gap_o=gaps.o
            )
            made = update(given.w, given.v, given.gradient, given.keep, given.rule)
            out.append((*made, time.cycles))
        return out


@pytest.mark.xdist_group("rtl-wuve")
class TestRtl(TestGolden):
    """The same cases through the Verilog; `run_block` compares every word and its cycle."""

    def run(self, cases):
        made = [update_case(given, lanes=LANES, **LATENCY, gaps=gaps) for given, gaps in cases]
        out = []
        for (given, _), done in zip(cases, run_block(*verilog(), made), strict=True):
            assert done.ok, f"{done.case}: {done.detail}"
            raw = b"".join(word.to_bytes(LANES * 10, "little") for word in done.words)
            fields = np.frombuffer(raw, [("w", "<f4"), ("v", "<f4"), ("copy", "<f2")])
            fields = fields[: given.w.size]
            out.append((fields["w"], fields["v"], fields["copy"], done.rtl_cycles))
        return out


@pytest.mark.xdist_group("rtl-wuve-1")
def test_the_shortest_pipeline_in_rtl():
    latency = {"multiplier_latency": 1, "adder_latency": 1}
    cases = [update_case(any_bits(200, 5), lanes=1, **latency, gaps=StreamGaps(o=[0, 2, 1]))]
    done = run_block(*parts_verilog(wuve_parts(lanes=1, **latency)), cases)
    assert done[0].ok, done[0].detail


def test_the_kernels_do_the_same_without_the_compiler(monkeypatch):
    given = any_bits(300, 7)
    parts = (given.w, given.v, given.gradient, given.keep, given.rule)
    compiled = update(*parts)
    for name in ("_update", "_half_bits"):
        monkeypatch.setattr(
            wuve, name, getattr(getattr(wuve, name), "py_func", getattr(wuve, name))
        )
    assert [a.tobytes() for a in update(*parts)] == [a.tobytes() for a in compiled]


def test_half_bits_around_every_boundary():
    edges = [(e << 23) for e in range(100, 145)]
    bits = np.concatenate([np.arange(e - 3000, e + 3000) for e in edges]).astype(np.uint32)
    bits = np.concatenate([bits, bits | 0x80000000, np.array(PATTERNS, np.uint32)])
    assert (half_bits(bits) == fp16_copy(bits.view(np.float32)).view(np.uint16)).all()


def test_depth_is_the_sum_of_the_stages():
    assert update_depth(1, 1) == 10
    assert update_depth(2, 3) == 18
    assert update_cycles(0, 4, 2, 3) == 0
    assert update_cycles(9, 4, 2, 3) == 3 + 18
    with pytest.raises(ValueError, match=r"adder_latency >= 1 must hold, but got 0"):
        update_depth(1, 0)


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_arguments_are_checked():
    with pytest.raises(ValueError, match=r"lanes >= 1 must hold, but got 0"):
        UpdateEngine(lanes=0, multiplier_latency=1, adder_latency=1)
    gc.collect()  # the refused component warns that it is unused: here, not in another test
    x = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match=r"v must be float32 \(3,\), but got float32 \(2,\)"):
        update(x, x[:2], x, x > 0, RULE)
    with pytest.raises(ValueError, match=r"keep must be bool \(3,\), but got float32 \(3,\)"):
        update(x, x, x, x, RULE)
