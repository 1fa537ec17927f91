"""The fast DeltaGRU kernels against the golden layer, bit for bit, and against the dense GRU."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.config import load_config
from hwsim.dataflows.gru_stream import codes, fixed_stream, float_stream, lstm_stream
from hwsim.models.delta_gru import DeltaGru, GruWeights
from hwsim.models.nsnet2 import Gru
from hwsim.models.silero import Lstm


def floats(rng, inputs, hidden, scale):
    return Gru(
        w=rng.standard_normal((3 * hidden, inputs)) * scale,
        r=rng.standard_normal((3 * hidden, hidden)) * scale,
        wb=rng.standard_normal(3 * hidden) * 0.1,
        rb=rng.standard_normal(3 * hidden) * 0.1,
    )


def walk(rng, steps, inputs, size):
    """A stream that mostly stays near where it was."""
    return np.cumsum(rng.standard_normal((steps, inputs)) * size, axis=0)


@given(
    inputs=st.integers(1, 12),
    hidden=st.integers(1, 12),
    theta=st.sampled_from((0, 1, 8, 64, 1000)),
    scale=st.sampled_from((0.05, 0.5, 20.0)),
    bits=st.sampled_from((24, 26, 40)),
    bias_scale=st.sampled_from((1, 1000)),  # 1000: sums saturate
    seed=st.integers(0, 2**32 - 1),
)
def test_fixed_equals_the_golden_layer(inputs, hidden, theta, scale, bits, bias_scale, seed):
    rng = np.random.default_rng(seed)
    shape = load_config("edgedrnn", [f"accumulator_bits={bits}"]).shape
    gru = floats(rng, inputs, hidden, scale)
    bias = np.concatenate([gru.wb, gru.rb]) * bias_scale
    weights = GruWeights.quantise(gru.w, gru.r, bias, shape)
    x = codes(walk(rng, 8, inputs, 40 * scale))
    golden = DeltaGru(weights, shape, theta)
    steps = [golden.step(row) for row in x]
    states, nonzero, saturations = fixed_stream(x, weights, shape, theta)
    assert states.tolist() == [h.tolist() for h, _ in steps]
    assert nonzero.tolist() == [(delta != 0).tolist() for _, delta in steps]
    assert saturations == golden.saturations


def test_sums_do_saturate_in_these_cases():
    rng = np.random.default_rng(1)
    shape = load_config("edgedrnn").shape
    gru = floats(rng, 8, 8, 20.0)
    weights = GruWeights.quantise(gru.w, gru.r, np.concatenate([gru.wb, gru.rb]) * 1000, shape)
    x = codes(walk(rng, 8, 8, 800.0))
    assert fixed_stream(x, weights, shape, 0)[2] > 0


def naive_float(x, gru, theta):
    """Threshold rule and gates with whole-matrix products."""
    hidden = gru.hidden
    reference = np.zeros(gru.inputs + hidden, np.int64)
    h, states, masks = np.zeros(hidden), [], []
    for row in x:
        items = np.concatenate([codes(row), codes(h)])
        delta = items - reference
        delta[np.abs(delta) < theta] = 0
        reference += delta
        seen = reference / 256
        gx = gru.w @ seen[: gru.inputs] + gru.wb
        gh = gru.r @ seen[gru.inputs :] + gru.rb
        z, r = (1 / (1 + np.exp(-(gx + gh)[: 2 * hidden]))).reshape(2, hidden)
        c = np.tanh(gx[2 * hidden :] + r * gh[2 * hidden :])
        h = (1 - z) * c + z * h
        states.append(h)
        masks.append(delta != 0)
    return np.array(states), np.array(masks)


@given(
    inputs=st.integers(1, 12),
    hidden=st.integers(1, 12),
    theta=st.sampled_from((0, 8, 64)),
    seed=st.integers(0, 2**32 - 1),
)
def test_float_equals_whole_products(inputs, hidden, theta, seed):
    rng = np.random.default_rng(seed)
    gru = floats(rng, inputs, hidden, 0.4)
    x = walk(rng, 10, inputs, 0.2)
    states, nonzero = float_stream(x, gru.w, gru.r, gru.wb, gru.rb, theta)
    wanted, mask = naive_float(x, gru, theta)
    assert np.abs(states - wanted).max() < 1e-9
    assert (nonzero == mask).all()


def test_float_at_theta_zero_is_the_dense_gru_of_rounded_inputs():
    rng = np.random.default_rng(3)
    gru = floats(rng, 20, 16, 0.3)
    x = walk(rng, 40, 20, 0.2)
    states, _ = float_stream(x, gru.w, gru.r, gru.wb, gru.rb, 0)
    assert np.abs(states - gru(x)).max() < 20 / 256  # rounding of x and h to 1/256
    assert np.abs(states - gru(x)).max() > 0


@given(
    inputs=st.integers(1, 12),
    hidden=st.integers(1, 12),
    theta=st.sampled_from((0, 8, 64)),
    seed=st.integers(0, 2**32 - 1),
)
def test_lstm_equals_whole_products(inputs, hidden, theta, seed):
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((4 * hidden, inputs)) * 0.4
    r = rng.standard_normal((4 * hidden, hidden)) * 0.4
    bias = rng.standard_normal(4 * hidden) * 0.1
    x = walk(rng, 10, inputs, 0.2)
    states, nonzero = lstm_stream(x, w, r, bias, theta)
    reference, h, c = np.zeros(inputs + hidden, np.int64), np.zeros(hidden), np.zeros(hidden)
    for t, row in enumerate(x):
        delta = np.concatenate([codes(row), codes(h)]) - reference
        delta[np.abs(delta) < theta] = 0
        reference += delta
        sums = w @ (reference[:inputs] / 256) + r @ (reference[inputs:] / 256) + bias
        i, f, g, o = sums.reshape(4, hidden)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        assert np.abs(states[t] - h).max() < 1e-9
        assert (nonzero[t] == (delta != 0)).all()
    if theta == 0:
        dense = Lstm(w, r, bias)(x)
        assert np.abs(states - dense).max() < 20 / 256  # rounding of x and h to 1/256


def test_codes_round_half_up_and_saturate():
    assert codes([0.5 / 256, -0.5 / 256, 1.0, 1e9, -1e9]).tolist() == [1, 0, 256, 32767, -32768]
    assert codes([3.0], fraction=2, bits=4).tolist() == [7]


def test_bad_input():
    shape = load_config("edgedrnn").shape
    gru = floats(np.random.default_rng(0), 3, 2, 0.1)
    weights = GruWeights.quantise(gru.w, gru.r, np.zeros(12), shape)
    with pytest.raises(ValueError, match="theta must not be negative, but got -1"):
        fixed_stream(np.zeros((2, 3), int), weights, shape, -1)
    with pytest.raises(ValueError, match=r"x must be integers \[T, 3\]"):
        fixed_stream(np.zeros((2, 3)), weights, shape, 0)
    with pytest.raises(ValueError, match="theta must not be negative, but got -1"):
        float_stream(np.zeros((2, 3)), gru.w, gru.r, gru.wb, gru.rb, -1)
    with pytest.raises(ValueError, match="but got"):
        float_stream(np.zeros((2, 4)), gru.w, gru.r, gru.wb, gru.rb, 0)
    w, r = np.zeros((8, 3)), np.zeros((8, 2))
    with pytest.raises(ValueError, match="theta must not be negative, but got -2"):
        lstm_stream(np.zeros((2, 3)), w, r, np.zeros(8), -2)
    with pytest.raises(ValueError, match="w, r, bias must be"):
        lstm_stream(np.zeros((2, 3)), w, r, np.zeros(7), 0)
