"""The N:M selectors at three levels: one class of cases, each level overrides how they run.

golden: `compress` and `nm_mask`; simulator: the Numba kernels, values and cycles; RTL: both
selectors under cocotb, every word and the cycle of each.
"""

from __future__ import annotations

import functools
import gc

import numpy as np
import pytest

from hwsim.block_cases import StreamGaps, selector_case, selector_words
from hwsim.dataflows import sore
from hwsim.dataflows.sore import (
    gather,
    rank_cycles,
    select,
    selector_beats,
    topn_cycles,
    topn_timeline,
)
from hwsim.dataflows.stream import pipeline_timeline
from hwsim.models.nm import compress, nm_mask
from hwsim.rtl.blocks import parts_verilog, rank_parts, sore_parts
from hwsim.rtl.sore import RankSelector, TopNSelector, selection_layout
from hwsim.verify_blocks import run_block

LANES, N_MAX, M = 3, 3, 8
SIZE = {"lanes": LANES, "n_max": N_MAX, "m": M}


@functools.cache
def verilog(block):
    return parts_verilog({"sore": sore_parts, "rank": rank_parts}[block](**SIZE))


def weights(k, columns, seed=0, levels=5):
    """Few distinct magnitudes, so that ties are common; both signs, zeros of both signs."""
    rng = np.random.default_rng([seed, k, columns])
    b = rng.integers(0, levels, (k, columns)) / 4 * rng.choice([-1.0, 1.0], (k, columns))
    return b.astype(np.float16)


@pytest.mark.parametrize("block", ["sore", "rank"])
class TestGolden:
    """Cases; here they run in plain NumPy."""

    def run(self, block, cases):
        """Compact form and mask of each (b, n, gaps); the cycles, None where a level has none."""
        return [(compress(b, n, M), nm_mask(b, n, M, 0), None) for b, n, _ in cases]

    def check(self, block, *cases):
        for (b, n, gaps), (compact, mask, cycles) in zip(
            cases, self.run(block, cases), strict=True
        ):
            want = compress(b, n, M)
            assert (compact.values.view(np.uint16) == want.values.view(np.uint16)).all()
            assert (compact.indices == want.indices).all()
            assert (mask == nm_mask(b, n, M, 0)).all()
            lengths = selector_beats(b, M, LANES).lengths
            law = topn_cycles(lengths) if block == "sore" else rank_cycles(len(lengths))
            if cycles is not None and gaps == StreamGaps():
                assert cycles == law
            elif cycles is not None:
                assert cycles > law

    def test_every_n_over_several_groups_and_blocks(self, block):
        self.check(block, *((weights(5 * M, 2 * LANES + 1), n, StreamGaps()) for n in (1, 2, 3)))

    def test_short_groups(self, block):
        # a last group shorter than M, shorter than N, and alone
        self.check(block, *((weights(k, 4), 3, StreamGaps()) for k in (M + 5, M + 2, 1)))

    def test_ties_and_signs(self, block):
        b = np.zeros((2 * M, LANES), np.float16)
        b[:M, 0] = -0.0  # all equal: the first N stay, with their signs
        b[M:, 0] = [1, -1, 1, -1, 1, -1, 1, -1]
        b[:M, 1] = [0, 1, 2, 3, 4, 5, 6, 7]
        b[:M, 2] = [7, 6, 5, 4, 3, 2, 1, 0]
        b[M:, 1] = [1, 2, 2, 1, 2, 1, 2, 2]
        self.check(block, (b, 3, StreamGaps()), (b, 1, StreamGaps()))

    def test_subnormals_and_infinities(self, block):
        bits = [0x0001, 0x8002, 0x03FF, 0x0400, 0x7BFF, 0xFC00, 0x7C00, 0x8000]
        b = np.tile(np.array(bits, np.uint16).view(np.float16)[:, None], (1, 2))
        b[:, 1] = b[::-1, 1]
        self.check(block, (b, 2, StreamGaps()), (b[:3], 2, StreamGaps()))

    def test_stalls_on_both_sides(self, block):
        rng = np.random.default_rng(3)
        slow_out = StreamGaps(o=rng.integers(0, 3 * M, 7).tolist())
        slow_in = StreamGaps(i=rng.integers(0, 3, 13).tolist())
        both = StreamGaps(i=slow_in.i, o=rng.integers(0, 2 * M, 5).tolist())
        self.check(
            block, *((weights(3 * M + 3, 5, 1), 2, gaps) for gaps in (slow_out, slow_in, both))
        )


class TestSimulator(TestGolden):
    """The same cases through the Numba kernels."""

    def run(self, block, cases):
        out = []
        for b, n, gaps in cases:
            beats = selector_beats(b, M, LANES)
            if block == "sore":
                time = topn_timeline(beats.lengths, gap_i=gaps.i, gap_o=gaps.o)
            else:
                time = pipeline_timeline(len(beats.lengths), 3, gap_i=gaps.i, gap_o=gaps.o)
            assert (np.diff(time.o_cycles) > 0).all()
            out.append((*gather(beats, *select(beats, n)), time.cycles))
        return out


@pytest.mark.xdist_group("rtl-sore")
class TestRtl(TestGolden):
    """The same cases through the Verilog; `run_block` compares every word and its cycle."""

    def run(self, block, cases):
        made = [selector_case(block, b, n=n, gaps=gaps, **SIZE) for b, n, gaps in cases]
        out = []
        for (b, n, _), done in zip(cases, run_block(*verilog(block), made), strict=True):
            assert done.ok, f"{done.case}: {done.detail}"
            selected = selector_words(done.words, n=n, **SIZE)
            out.append((*gather(selector_beats(b, M, LANES), *selected), done.rtl_cycles))
        return out


def test_the_bench_notices_a_wrong_word_and_a_wrong_cycle():
    case = selector_case("rank", weights(M, LANES), n=2, **SIZE)
    wrong = selector_case("rank", -weights(M, LANES), n=2, **SIZE)
    late = selector_case("rank", weights(M, LANES), n=2, gaps=StreamGaps(i=[1]), **SIZE)
    mixed = [
        type(case)(**{**vars(case), "expected": wrong.expected}),
        type(case)(**{**vars(case), "timeline": late.timeline}),
        case,
    ]
    done = run_block(*verilog("rank"), mixed)
    assert [d.ok for d in done] == [False, False, True]
    assert "expected 0x" in done[0].detail
    assert "expected in cycle 4" in done[1].detail


@pytest.mark.parametrize(
    ("n", "m", "bytes_per_weight"), [(2, 4, 1.125), (2, 8, 0.59375), (2, 16, 0.3125)]
)
def test_the_compact_form_takes_the_bytes_of_the_format(n, m, bytes_per_weight):
    layout = selection_layout(n, m)
    assert layout["mask"].offset == bytes_per_weight * 8 * m
    assert layout.size - layout["mask"].offset == m


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
@pytest.mark.parametrize("selector", [TopNSelector, RankSelector])
def test_sizes_are_checked(selector):
    with pytest.raises(ValueError, match=r"lanes >= 1 must hold, but got 0"):
        selector(lanes=0, n_max=1, m=2)
    with pytest.raises(ValueError, match=r"1 <= n_max <= m <= 32 must hold, but got n_max=5, m=4"):
        selector(lanes=1, n_max=5, m=4)
    with pytest.raises(ValueError, match=r"got n_max=2, m=33"):
        selector(lanes=1, n_max=2, m=33)
    gc.collect()  # the refused components warn that they are unused: here, not in another test


def test_the_kernels_do_the_same_without_the_compiler(monkeypatch):
    beats = selector_beats(weights(3 * M + 2, 4), M, LANES)
    gaps = {"gap_i": [0, 2], "gap_o": [9, 0, 20]}
    compiled = [*select(beats, 2), topn_timeline(beats.lengths, **gaps).o_cycles]
    for name in ("_select", "_topn"):
        monkeypatch.setattr(
            sore, name, getattr(getattr(sore, name), "py_func", getattr(sore, name))
        )
    plain = [*select(beats, 2), topn_timeline(beats.lengths, **gaps).o_cycles]
    assert all((a == b).all() for a, b in zip(compiled, plain, strict=True))


def test_the_simulator_checks_its_operands():
    with pytest.raises(ValueError, match=r"a float16 matrix is needed, but got float32 \(2, 2\)"):
        selector_beats(np.zeros((2, 2), np.float32), 2, 1)
    with pytest.raises(ValueError, match=r"gaps of i must not be negative, but got -1"):
        topn_timeline(np.array([4]), gap_i=[-1])
    with pytest.raises(ValueError, match=r"lengths must be at least one count of at least 1"):
        topn_timeline(np.array([0]))
