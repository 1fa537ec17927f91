"""The fast product against the golden one, bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.dataflows.gemm import gemm, gemm_compact
from hwsim.models import gemm as golden
from hwsim.models.formats import FP16, INT8
from hwsim.models.nm import compress, nm_mask

sizes = st.integers(1, 40)
seeds = st.integers(0, 2**32 - 1)
patterns = st.integers(1, 32).flatmap(lambda m: st.tuples(st.integers(1, m), st.just(m)))


def any_bits(rng, shape):
    return rng.integers(0, 1 << 16, shape).astype(np.uint16).view(np.float16)


@given(sizes, sizes, st.integers(1, 600), seeds, st.booleans())
def test_fp16_bits(m, n, k, seed, wild):
    rng = np.random.default_rng(seed)
    a = any_bits(rng, (m, k)) if wild else rng.standard_normal((m, k)).astype(np.float16)
    b = any_bits(rng, (k, n)) if wild else rng.standard_normal((k, n)).astype(np.float16)
    assert (FP16.bits(gemm(a, b, FP16)) == FP16.bits(golden.gemm(a, b, FP16))).all()


@given(sizes, sizes, st.integers(1, 600), seeds)
def test_int8_bits_with_a_start_that_wraps(m, n, k, seed):
    rng = np.random.default_rng(seed)
    a = rng.integers(-128, 128, (m, k)).astype(np.int8)
    b = rng.integers(-128, 128, (k, n)).astype(np.int8)
    start = rng.integers(-(2**31), 2**31, (m, n)).astype(np.int32)
    assert (gemm(a, b, INT8, start) == golden.gemm(a, b, INT8, start)).all()


@given(sizes, sizes, st.integers(1, 100), patterns, seeds)
def test_compact_bits(m, n, k, pattern, seed):
    rng = np.random.default_rng(seed)
    a, b = any_bits(rng, (m, k)), any_bits(rng, (k, n))
    mask = nm_mask(b.view(np.uint16) & 0x7FFF, *pattern, 0)
    compact = compress(b, *pattern, mask)
    fast, slow = gemm_compact(a, compact, FP16), golden.gemm_compact(a, compact, FP16)
    assert (FP16.bits(fast) == FP16.bits(slow)).all()


# one past and well past each block of the kernels: 4 rows, 128 columns, 512 of k, 1024 of m
BLOCKS = [
    (5, 129, 3), (3, 300, 513), (2, 257, 1025), (1025, 3, 7), (2049, 17, 5), (7, 15, 600),
    (1, 200, 1), (1, 1, 2000),
]  # fmt: skip


@pytest.mark.parametrize("fmt", [FP16, INT8], ids=lambda f: f.name)
@pytest.mark.parametrize("shape", BLOCKS, ids=str)
def test_block_borders_and_starts(shape, fmt):
    m, n, k = shape
    rng = np.random.default_rng(m + n + k)
    if fmt is FP16:
        # small integers: no NaN hides a wrong sum, and FP16 subnormals are scaled in
        a, b = (rng.integers(-9, 10, s).astype(np.float16) for s in ((m, k), (k, n)))
        a[:, ::2] *= np.float16(2.0**-24)
        start = rng.choice(np.float32([-0.0, 0.0, 1.5, -np.inf, np.nan]), (m, n))
        rank = b.view(np.uint16) & 0x7FFF
    else:
        a, b = (rng.integers(-128, 128, s).astype(np.int8) for s in ((m, k), (k, n)))
        start = rng.integers(-(2**31), 2**31, (m, n)).astype(np.int32)
        rank = b
    before = start.copy()
    for pattern in ((1, 1), (2, 4), (1, 32)):
        compact = compress(b, *pattern, nm_mask(rank, *pattern, 0))
        for initial in (None, start):
            fast = gemm_compact(a, compact, fmt, initial)
            slow = golden.gemm_compact(a, compact, fmt, initial)
            assert (fmt.bits(fast) == fmt.bits(slow)).all()
    for initial in (None, start):
        fast, slow = gemm(a, b, fmt, initial), golden.gemm(a, b, fmt, initial)
        assert (fmt.bits(fast) == fmt.bits(slow)).all()
    assert (fmt.bits(start) == fmt.bits(before)).all()  # the caller's array is not summed into


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 0, 3), (4, 3, 0), (0, 0, 0)], ids=str)
def test_empty_shapes(shape):
    m, n, k = shape
    start = np.full((m, n), -0.0, np.float32)
    z = gemm(np.ones((m, k), np.float16), np.ones((k, n), np.float16), FP16, start)
    assert z.shape == (m, n)
    assert np.signbit(z).all()


def test_strided_and_empty_operands():
    rng = np.random.default_rng(1)
    a = rng.standard_normal((40, 30)).astype(np.float16)[::2, ::3]
    b = rng.standard_normal((12, 10)).astype(np.float16).T
    assert (gemm(a, b, FP16) == golden.gemm(a, b, FP16)).all()
    empty = gemm(np.zeros((3, 0), np.float16), np.zeros((0, 4), np.float16), FP16)
    assert empty.shape == (3, 4)
    assert not empty.any()


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="must share k"):
        gemm(np.zeros((2, 3)), np.zeros((4, 2)), FP16)
    with pytest.raises(ValueError, match=r"compact B must share k, but got \(2, 3\) and k=4"):
        gemm_compact(np.zeros((2, 3)), compress(np.zeros((4, 1)), 1, 2), FP16)


def test_kernels_run_without_the_compiler():
    """The same kernels as plain Python, which coverage and debuggers can see."""
    code = (
        "import numpy as np\n"
        "from hwsim.dataflows import gemm, stce_sim, stce_feed, systolic\n"
        "from hwsim.models import gemm as golden\n"
        "from hwsim.models.array import ArrayShape\n"
        "from hwsim.models.formats import FP16\n"
        "from hwsim.models.nm import compress\n"
        "rng = np.random.default_rng(0)\n"
        "a = rng.standard_normal((5, 9)).astype(np.float16)\n"
        "b = compress(rng.standard_normal((9, 4)).astype(np.float16), 2, 4)\n"
        "want = golden.gemm_compact(a, b, FP16)\n"
        "assert (gemm.gemm_compact(a, b, FP16) == want).all()\n"
        "assert (gemm.gemm(a, b.dense(), FP16) == want).all()\n"
        "for flow in systolic.DATAFLOWS:\n"
        "    z, counts = systolic.simulate(flow, a, b, FP16, 3, 2)\n"
        "    assert (z == want).all()\n"
        "    assert counts == systolic.counts(flow, 5, 4, 6, 3, 2)\n"
        "for mode in (0, 1):\n"
        "    array = ArrayShape(rows=2, cols=3, group=8, interleave=2, adder_latency=3)\n"
        "    s = stce_feed.gemm_streams(a, b, FP16, mode=mode, array=array)\n"
        "    assert (s.gather(stce_sim.values(s, FP16, array)) == want).all()\n"
        "    assert stce_sim.timeline(s.jobs, array).cycles > 0\n"
    )
    code += (
        "from hwsim.models.formats import INT8\n"
        "low = np.full((3, 3), -128, np.int8)\n"
        "top = np.full((3, 3), 2**31 - 1, np.int32)\n"
        "want = golden.gemm(low, low, INT8, top)\n"
        "assert (want < 0).all()\n"
        "assert (gemm.gemm(low, low, INT8, top) == want).all()\n"
        "bits = rng.integers(0, 1 << 16, (2, 6, 6)).astype(np.uint16)\n"
        "x, y = bits.view(np.float16)\n"
        "want = FP16.bits(golden.gemm(x, y, FP16))\n"
        "assert (FP16.bits(gemm.gemm(x, y, FP16)) == want).all()\n"
        "for flow in systolic.DATAFLOWS:\n"
        "    z, _ = systolic.simulate(flow, x, y, FP16, 4, 3)\n"
        "    assert (FP16.bits(z) == want).all()\n"
    )
    env = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-W", "error::RuntimeWarning", "-c", code], check=True, env=env)
