"""The vector post unit at three levels: golden, its timeline, and the Verilog under cocotb."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from hwsim.block_cases import StreamGaps, post_case
from hwsim.dataflows.stream import pipeline_cycles, pipeline_timeline
from hwsim.models.post import PostMode, post
from hwsim.rtl.blocks import parts_verilog, post_parts
from hwsim.rtl.post import PostUnit
from hwsim.verify_blocks import run_block

COLS, ADDER_LATENCY = 3, 2

SPECIAL = np.array(
    [
        0x00000000, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00001, 0x33000000,
        0x33000001, 0xB3000001, 0x33800000, 0x477FEFFF, 0x477FF000, 0xC77FF000, 0x38801000,
        0x38803000, 0x3F800000, 0xBF801000, 0x00000001,
    ],
    np.uint32,
).view(np.float32)  # fmt: skip


def beats(count, seed):
    """Sums of any size, many of them special; every mode, with bias and without."""
    rng = np.random.default_rng(seed)
    shape = (count, COLS)
    sums = (rng.standard_normal(shape) * 10.0 ** rng.integers(-8, 6, shape)).astype(np.float32)
    bias = rng.standard_normal(shape).astype(np.float32)
    for x in (sums, bias):
        put = rng.random(shape) < 0.3
        x[put] = rng.choice(SPECIAL, int(put.sum()))
    return {
        "sums": sums,
        "modes": [PostMode(int(m)) for m in rng.integers(0, 3, count)],
        "bias": bias,
        "add_bias": rng.random(count) < 0.5,
        "gate": rng.random(shape) < 0.5,
    }


class TestGolden:
    def test_modes(self):
        x = np.array([-2.0, -0.0, 0.0, 1.0, np.nan, 2e-8, 1e5], np.float32)
        gate = np.array([True, True, False, False, True, True, False])
        y, positive = post(x, PostMode.PASS)
        want = [0xC000, 0x8000, 0x0000, 0x3C00, 0x7E00, 0x0000, 0x7C00]
        assert y.view(np.uint16).tolist() == want
        assert positive.tolist() == [False, False, False, True, True, False, True]
        y, _ = post(x, PostMode.RELU)
        assert y.view(np.uint16).tolist() == [0, 0, 0, 0x3C00, 0x7E00, 0, 0x7C00]
        y, mask = post(x, PostMode.GATE, gate=gate)
        assert y.view(np.uint16).tolist() == [0xC000, 0x8000, 0, 0, 0x7E00, 0, 0]
        assert (mask == positive).all()

    def test_the_mask_is_what_the_stored_activation_shows(self):
        sums = beats(500, 1)["sums"]
        y, positive = post(sums, PostMode.RELU)
        assert ((y.view(np.uint16) != 0) == positive).all()

    def test_bias_is_added_before_rounding(self):
        # 1 + 2**-11 + 2**-24 is above the tie between 1 and the next FP16 number
        y, _ = post(np.float32([1.0 + 2**-11]), PostMode.PASS, bias=np.float32([2**-23]))
        assert y[0] == np.float16(1 + 2**-10)
        y, _ = post(np.float32([1.0 + 2**-11]), PostMode.PASS)
        assert y[0] == np.float16(1)

    def test_operands_are_checked(self):
        x = np.zeros(3, np.float32)
        with pytest.raises(ValueError, match="sums must be float32, but got float64"):
            post(x.astype(np.float64), PostMode.PASS)
        with pytest.raises(ValueError, match="bias must be float32, but got float16"):
            post(x, PostMode.PASS, bias=x.astype(np.float16))
        with pytest.raises(ValueError, match=r"bias must broadcast to \(3,\), but gives \(2, 3\)"):
            post(x, PostMode.PASS, bias=np.zeros((2, 3), np.float32))
        with pytest.raises(ValueError, match=r"gate mode needs a gate of shape \(3,\)"):
            post(x, PostMode.GATE)


@pytest.mark.xdist_group("rtl-post")
class TestRtl:
    def test_values_and_cycles_with_and_without_stalls(self):
        rng = np.random.default_rng(9)
        gaps = [
            StreamGaps(),
            StreamGaps(i=rng.integers(0, 4, 11).tolist(), o=rng.integers(0, 4, 13).tolist()),
            StreamGaps(o=[5, 0, 0]),
        ]
        cases = [
            post_case(**beats(count, seed), adder_latency=ADDER_LATENCY, gaps=g)
            for seed, (count, g) in enumerate(zip((600, 120, 1), gaps, strict=True))
        ]
        assert {mode for case_seed in (0, 1) for mode in beats(600, case_seed)["modes"]} == set(
            PostMode
        )
        done = run_block(*parts_verilog(post_parts(cols=COLS, adder_latency=ADDER_LATENCY)), cases)
        assert [d.detail for d in done] == ["", "", ""]
        assert done[0].rtl_cycles == pipeline_cycles(600, ADDER_LATENCY + 1)
        assert done[1].rtl_cycles > pipeline_cycles(120, ADDER_LATENCY + 1)


class TestTimeline:
    """`pipeline_timeline` against the law and against itself by hand."""

    def test_no_gaps(self):
        for count, depth in ((1, 1), (5, 1), (3, 7), (20, 4)):
            time = pipeline_timeline(count, depth)
            assert time.cycles == pipeline_cycles(count, depth)
            assert time.o_cycles.tolist() == list(range(depth, depth + count))
            assert (time.stall_o, time.wait_i) == (0, 0)

    def test_by_hand(self):
        # depth 2; beats offered in cycles 0, 1, 2; the sink is ready from cycle 4, then always.
        # Beat 0 waits at the output from cycle 2, so beats 1 and 2 stand still until cycle 4.
        time = pipeline_timeline(3, 2, gap_o=[4, 0, 0])
        assert time.o_cycles.tolist() == [4, 5, 6]
        assert time.stall_o == 2  # beat 2, in cycles 2 and 3
        # one idle cycle before each beat: in at 1, 3, 5
        time = pipeline_timeline(3, 2, gap_i=[1])
        assert time.o_cycles.tolist() == [3, 5, 7]
        assert time.wait_i == 3

    def test_arguments_are_checked(self):
        with pytest.raises(ValueError, match="depth >= 1 must hold, but got 0"):
            pipeline_timeline(1, 0)
        with pytest.raises(ValueError, match="gaps of o must not be negative, but got -2"):
            pipeline_timeline(1, 1, gap_o=[0, -2])


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_sizes_are_checked():
    with pytest.raises(ValueError, match="cols >= 1 must hold, but got 0"):
        PostUnit(cols=0, adder_latency=1)
    with pytest.raises(ValueError, match="adder_latency >= 1 must hold, but got 0"):
        PostUnit(cols=1, adder_latency=0)
    gc.collect()  # the refused components warn that they are unused: here, not in another test
