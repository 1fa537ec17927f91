"""N:M masks and the compact format against a slow oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.models.nm import (
    NMPattern,
    compress,
    magnitude_mask,
    nm_mask,
    parse_pattern,
)

patterns = st.integers(1, 32).flatmap(lambda m: st.tuples(st.integers(1, m), st.just(m)))


def naive_mask(line: list[int], n: int, m: int) -> list[bool]:
    keep = [False] * len(line)
    for start in range(0, len(line), m):
        group = range(start, min(start + m, len(line)))
        best = sorted(group, key=lambda i: (-abs(line[i]), i))[:n]
        for i in best:
            keep[i] = True
    return keep


@given(patterns, st.lists(st.integers(-128, 127), min_size=1, max_size=80))
def test_mask_keeps_the_largest_lowest_index_first(pattern, line):
    n, m = pattern
    found = nm_mask(np.array(line, np.int8), n, m, 0)
    assert found.tolist() == naive_mask(line, n, m)


@given(patterns, st.integers(0, 2), st.integers(0, 2**32 - 1))
def test_mask_runs_along_the_named_axis(pattern, axis, seed):
    n, m = pattern
    w = np.random.default_rng(seed).integers(-9, 10, (3, 7, 5))
    moved = np.moveaxis(nm_mask(np.moveaxis(w, axis, 0), n, m, 0), 0, axis)
    assert (nm_mask(w, n, m, axis) == moved).all()
    assert (nm_mask(w, n, m, axis - 3) == moved).all()


@given(patterns, st.integers(1, 70), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_compact_round_trip(pattern, k, columns, seed):
    n, m = pattern
    b = np.random.default_rng(seed).standard_normal((k, columns)).astype(np.float16)
    mask = nm_mask(b, n, m, 0)
    compact = compress(b, n, m)
    assert compact.values.shape == (-(-k // m) * n, columns)
    assert (compact.dense() == b * mask).all()
    assert (compact.indices < m).all()
    assert mask.sum(0).max() <= NMPattern(n, m).kept(k)
    assert (mask.sum(0) == NMPattern(n, m).kept(k)).all()


def test_compact_keeps_the_sign_of_a_kept_zero():
    b = np.array([[-0.0], [0.0]], np.float16)
    compact = compress(b, 1, 2)
    assert np.signbit(compact.values[0, 0])
    assert np.signbit(compact.dense()[0, 0])


def test_compact_takes_an_independent_mask():
    b = np.arange(1, 9, dtype=np.int8)[:, None]
    mask = np.array([1, 0, 0, 1, 0, 0, 0, 0], bool)[:, None]
    compact = compress(b, 2, 4, mask)
    assert compact.values[:, 0].tolist() == [1, 4, 0, 0]
    assert compact.indices[:, 0].tolist() == [0, 3, 0, 0]


@given(st.floats(0, 1), st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_unstructured_mask_drops_the_stated_share(sparsity, size, seed):
    w = np.random.default_rng(seed).standard_normal(size)
    mask = magnitude_mask(w, sparsity)
    assert (~mask).sum() == int(sparsity * size)
    if mask.any() and (~mask).any():
        assert np.abs(w[mask]).min() >= np.abs(w[~mask]).max()


def test_parse_pattern():
    assert parse_pattern("dense").dense
    assert parse_pattern("2:8") == NMPattern(2, 8)
    assert str(parse_pattern("4:4")) == "dense"
    assert NMPattern(2, 8).compact_length(17) == 6
    assert NMPattern(1, 1).compact_length(17) == 17


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: NMPattern(0, 4), "1 <= N <= M <= 32, but got N=0, M=4"),
        (lambda: NMPattern(5, 4), "but got N=5, M=4"),
        (lambda: NMPattern(1, 33), "but got N=1, M=33"),
        (lambda: parse_pattern("2-4"), "'dense' or 'N:M' such as '2:8', but got '2-4'"),
        (lambda: nm_mask(np.zeros((2, 2)), 1, 2, 2), "axis must lie in -2..1, but got 2"),
        (lambda: nm_mask(np.array([np.nan]), 1, 1, 0), "must not hold NaN"),
        (lambda: magnitude_mask(np.zeros(3), 1.5), "0 <= sparsity <= 1 must hold, but got 1.5"),
        (lambda: compress(np.zeros(3), 1, 2), "a matrix is needed, but got 1 axes"),
        (
            lambda: compress(np.ones((4, 1)), 1, 4, np.ones((4, 1), bool)),
            "a group of 4 may keep at most 1, but the mask keeps 4",
        ),
        (
            lambda: compress(np.ones((4, 1)), 1, 4, np.ones((3, 1), bool)),
            "mask and matrix must have one shape, but got (3, 1) and (4, 1)",
        ),
    ],
)
def test_errors_name_the_rule_and_the_value(call, text):
    with pytest.raises(ValueError) as caught:
        call()
    assert text in str(caught.value)
