"""The golden product against scalar arithmetic, and its rules on special values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.models.formats import CANONICAL_NAN_BITS, FP16, INT8, number_format
from hwsim.models.gemm import gemm, gemm_compact
from hwsim.models.nm import compress


def scalar_fp16(a, b):
    """One output at a time, one rounding an addition."""
    m, k = a.shape
    z = np.zeros((m, b.shape[1]), np.float32)
    for i in range(m):
        for j in range(b.shape[1]):
            total = np.float32(0)
            for s in range(k):
                exact = np.float64(a[i, s]) * np.float64(b[s, j])
                total = np.float32(np.float64(total) + exact)  # the sum of two is exact in 53 bits
            z[i, j] = total
    return z


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_fp16_rounds_once_an_addition(m, n, k, seed):
    rng = np.random.default_rng(seed)
    # exponents close enough that float64 holds product plus sum exactly
    a = (rng.standard_normal((m, k)) * 2.0 ** rng.integers(-4, 5, (m, k))).astype(np.float16)
    b = (rng.standard_normal((k, n)) * 2.0 ** rng.integers(-4, 5, (k, n))).astype(np.float16)
    assert (FP16.bits(gemm(a, b, FP16)) == FP16.bits(scalar_fp16(a, b))).all()


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_int8_equals_wide_integers(m, n, k, seed):
    rng = np.random.default_rng(seed)
    a = rng.integers(-128, 128, (m, k)).astype(np.int8)
    b = rng.integers(-128, 128, (k, n)).astype(np.int8)
    assert (gemm(a, b, INT8) == a.astype(np.int64) @ b.astype(np.int64)).all()


def test_int32_accumulator_wraps():
    start = np.array([[2**31 - 1]], np.int32)
    z = gemm(np.array([[1]], np.int8), np.array([[1]], np.int8), INT8, start)
    assert z[0, 0] == -(2**31)


@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 40),
    st.integers(1, 16).flatmap(lambda m: st.tuples(st.integers(1, m), st.just(m))),
    st.integers(0, 2**32 - 1),
)
def test_compact_equals_masked_dense(m, n, k, pattern, seed):
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((m, k)).astype(np.float16)
    compact = compress(rng.standard_normal((k, n)).astype(np.float16), *pattern)
    assert (gemm_compact(a, compact, FP16) == gemm(a, compact.dense(), FP16)).all()


def test_special_values():
    inf, nan = np.float16(np.inf), np.float16(np.nan)
    a = np.array([[inf, 1], [inf, -inf], [nan, 0], [0, 0], [6e-8, 6e-8]], np.float16)
    b = np.ones((2, 1), np.float16)
    z = gemm(a, b, FP16)
    bits = FP16.bits(z)[:, 0]
    assert z[0, 0] == np.inf
    assert bits[1] == CANONICAL_NAN_BITS  # inf - inf
    assert bits[2] == CANONICAL_NAN_BITS
    assert bits[3] == 0
    assert z[4, 0] == np.float32(2 * np.float16(6e-8))  # subnormal inputs are honoured
    zero = gemm(np.array([[0]], np.float16), np.array([[inf]], np.float16), FP16)
    assert FP16.bits(zero)[0, 0] == CANONICAL_NAN_BITS


def test_operands_are_rounded_or_refused():
    assert np.isinf(FP16.operand(np.array([1e6], np.float32))[0])
    with pytest.raises(
        ValueError, match=r"int8 operands must lie in -128\.\.127, but got 0\.\.200"
    ):
        INT8.operand([0, 200])
    with pytest.raises(ValueError, match="format must be one of fp16, int8, but got 'fp8'"):
        number_format("fp8")
    with pytest.raises(ValueError, match=r"must share k, but got \(2, 3\) and \(2, 3\)"):
        gemm(np.zeros((2, 3)), np.zeros((2, 3)), FP16)
    with pytest.raises(ValueError, match=r"initial must be \[1, 1\], but got \(2, 2\)"):
        gemm(np.zeros((1, 1)), np.zeros((1, 1)), FP16, np.zeros((2, 2)))
