"""N:M training methods: axes of the groups, decay, schedules, transposable masks."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.models.im2col import kernel_matrix
from hwsim.models.nm import NMPattern, nm_mask
from hwsim.models.pruning import (
    METHODS,
    backward_mask,
    decay_factor,
    forward_mask,
    sr_ste_gradient,
    stepwise_pattern,
    transposable_mask,
)

patterns = st.integers(1, 16).flatmap(lambda m: st.integers(1, m).map(lambda n: NMPattern(n, m)))
seeds = st.integers(0, 2**32 - 1)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 3), patterns, seeds)
def test_groups_lie_along_what_each_product_contracts(out, inside, kernel, pattern, seed):
    w = np.random.default_rng(seed).standard_normal((out, inside, kernel, kernel))
    forward = forward_mask(w, pattern)
    assert (kernel_matrix(forward) == nm_mask(kernel_matrix(w), pattern.n, pattern.m, 0)).all()
    # BP's second operand is the kernel with inputs and outputs exchanged
    backward = backward_mask(w, pattern)
    exchanged = kernel_matrix(w.swapaxes(0, 1))
    want = nm_mask(exchanged, pattern.n, pattern.m, 0)
    assert (kernel_matrix(backward.swapaxes(0, 1)) == want).all()


@given(st.integers(1, 4), st.integers(1, 4), st.sampled_from([(1, 2), (2, 4), (2, 8)]), seeds)
def test_masks_group_channels_where_the_pattern_divides_them(out, inside, pattern, seed):
    n, m = pattern
    w = np.random.default_rng(seed).standard_normal((out * m, inside * m, 3, 3))
    forward = forward_mask(w, NMPattern(n, m)).reshape(out * m, inside, m, 3, 3)
    backward = backward_mask(w, NMPattern(n, m)).reshape(out, m, inside * m, 3, 3)
    assert (forward.sum(axis=2) == n).all()
    assert (backward.sum(axis=1) == n).all()


def test_bdwp_masks_are_independent_and_nested_ones_are_not():
    w = np.random.default_rng(0).standard_normal((16, 16))
    pattern = NMPattern(2, 8)
    forward, backward = forward_mask(w, pattern), backward_mask(w, pattern)
    nested = backward_mask(w, pattern, nested=forward)
    assert (backward & ~forward).any()
    assert not (nested & ~forward).any()
    assert (nested.reshape(2, 8, 16).sum(axis=1) <= 2).all()


def test_methods_are_those_of_the_table():
    assert set(METHODS) == {"dense", "sr_ste", "sdgp", "sdwp", "bdwp"}
    assert (METHODS["bdwp"].forward, METHODS["bdwp"].backward) == (True, "weights")
    assert (METHODS["sdgp"].forward, METHODS["sdgp"].backward) == (False, "gradients")
    assert METHODS["sr_ste"].decay == 2e-4


def test_sr_ste_pulls_only_pruned_weights():
    w = np.array([4.0, -1.0, 2.0, 3.0], np.float32)
    mask = np.array([True, False, False, True])
    g = sr_ste_gradient(np.ones(4, np.float32), w, mask, 0.5)
    assert g.tolist() == [1.0, 0.5, 2.0, 1.0]
    assert g.dtype == np.float32


def test_decay_schedules():
    assert [decay_factor("linear", s, 0.25) for s in range(6)] == [1, 0.75, 0.5, 0.25, 0, 0]
    assert decay_factor("exponential", 3, 0.5) == pytest.approx(np.exp(-1.5), rel=1e-15)


def test_stepwise_schedule_of_the_authors():
    found = [stepwise_pattern(NMPattern(1, 8), s, 8).n for s in range(8)]
    assert found == [7, 7, 4, 4, 2, 2, 1, 1]
    assert [stepwise_pattern(NMPattern(2, 4), s, 2).n for s in range(2)] == [3, 2]
    assert stepwise_pattern(NMPattern(3, 4), 0, 5) == NMPattern(3, 4)


def best_kept(block, n):
    """The most magnitude that any mask of at most n a row and column keeps; all are tried."""
    m = len(block)
    rows = [c for k in range(n + 1) for c in combinations(range(m), k)]
    best = 0.0
    for choice in product(rows, repeat=m):
        columns = np.zeros(m, int)
        for row in choice:
            for c in row:
                columns[c] += 1
        if (columns <= n).all():
            best = max(best, sum(block[r, c] for r, row in enumerate(choice) for c in row))
    return best


@given(st.sampled_from([(1, 2), (1, 3), (2, 3)]), seeds)
def test_transposable_masks_fit_both_ways_and_keep_half_of_the_best(pattern, seed):
    n, m = pattern
    w = np.random.default_rng(seed).standard_normal((2 * m, m))
    mask = transposable_mask(w, NMPattern(n, m))
    assert (mask.reshape(2, m, m).sum(axis=1) <= n).all()
    assert (mask.reshape(2, m, m).sum(axis=2) <= n).all()
    for block, kept in zip(np.abs(w).reshape(2, m, m), mask.reshape(2, m, m), strict=True):
        assert (block * kept).sum() >= best_kept(block, n) / 2


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: forward_mask(np.zeros(3), NMPattern(1, 2)), "[out, in, kernel...], but got 1"),
        (
            lambda: backward_mask(np.zeros((2, 2)), NMPattern(1, 2), nested=np.ones((3, 2), bool)),
            "must have the weights' shape (2, 2), but got (3, 2)",
        ),
        (
            lambda: sr_ste_gradient(np.zeros(1), np.zeros(1), np.ones(1, bool), -1),
            "0 <= lambda must hold and be finite, but got -1",
        ),
        (lambda: decay_factor("cosine", 1, 1), "linear or exponential, but got 'cosine'"),
        (lambda: decay_factor("linear", -1, 1), "but got -1 and 1"),
        (lambda: stepwise_pattern(NMPattern(1, 8), 8, 8), "0 <= step < steps must hold"),
        (lambda: transposable_mask(np.zeros((3, 4)), NMPattern(1, 2)), "but got (3, 4)"),
        (lambda: transposable_mask(np.full((2, 2), np.nan), NMPattern(1, 2)), "NaN"),
    ],
)
def test_errors_name_the_rule_and_the_value(call, text):
    with pytest.raises(ValueError) as caught:
        call()
    assert text in str(caught.value)
