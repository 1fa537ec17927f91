"""Golden delta layers: exact telescoping, the threshold's bound, saturation, output pass."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.models.delta import (
    Conv,
    DeltaEncoder,
    DeltaLayer,
    DeltaNetwork,
    Linear,
    Output,
    dense_codes,
    dense_sums,
    requantise,
    scan,
)

seeds = st.integers(0, 2**32 - 1)


def ints(rng: np.random.Generator, low: int, high: int, shape) -> np.ndarray:
    return rng.integers(low, high, shape, endpoint=True).astype(np.int64)


def output(rng: np.random.Generator, n: int, **more) -> Output:
    return Output(ints(rng, -200, 200, n), ints(rng, 0, 1 << 10, n), 12, **more)


def naive_conv(layer: Conv, x: np.ndarray) -> np.ndarray:
    """Loops over every output and tap."""
    filters, inner, kh, kw = layer.weight.shape
    _, oh, ow = layer.sums_shape(x.shape)
    sums = np.zeros((filters, oh, ow), np.int64)
    for f, oy, ox, c, ky, kx in np.ndindex(filters, oh, ow, inner, kh, kw):
        y, at = oy * layer.stride + ky - layer.pad, ox * layer.stride + kx - layer.pad
        if 0 <= y < x.shape[1] and 0 <= at < x.shape[2]:
            channel = f // (filters // layer.groups) * inner + c
            sums[f, oy, ox] += layer.weight[f, c, ky, kx] * x[channel, y, at]
    return sums


@st.composite
def convolutions(draw):
    rng = np.random.default_rng(draw(seeds))
    groups = draw(st.sampled_from([1, 1, 2]))
    inner, share = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    weight = ints(rng, -128, 127, (groups * share, inner, *kernel))
    post = output(rng, groups * share, pool=draw(st.integers(1, 3)), relu=draw(st.booleans()))
    layer = Conv(weight, post, draw(st.integers(1, 3)), draw(st.integers(0, 2)), groups)
    size = (groups * inner, draw(st.integers(3, 7)), draw(st.integers(3, 7)))
    frames = ints(rng, -128, 127, (draw(st.integers(1, 4)), *size))
    keep = rng.random(frames.shape) < draw(st.sampled_from([0.1, 0.5, 1.0]))
    return layer, np.where(keep, frames, 0)


@given(convolutions())
def test_sums_of_a_convolution_on_differences_are_those_of_the_whole_frame(case):
    layer, frames = case
    encoder, state = DeltaEncoder(bits=8), DeltaLayer(layer)
    total = 0
    for frame in frames:
        total = total + state.step(encoder.step(frame))
        assert (state.sigma == naive_conv(layer, frame)).all()
        assert (state.sigma == dense_sums(layer, frame)).all()
        assert (total == layer.output.codes(naive_conv(layer, frame))).all()
    assert state.saturations == 0


@given(seeds, st.integers(1, 9), st.integers(1, 9), st.integers(1, 5))
def test_sums_of_a_linear_layer_on_differences_are_those_of_the_whole_frame(seed, n, m, steps):
    rng = np.random.default_rng(seed)
    layer = Linear(ints(rng, -128, 127, (m, n)), output(rng, m))
    encoder, state = DeltaEncoder(multiplier=3, shift=2, bits=7), DeltaLayer(layer)
    for frame in ints(rng, -100, 100, (steps, n)):
        state.step(encoder.step(frame))
        codes = np.clip(np.floor(frame * 3 / 4 + 0.5), -64, 63).astype(np.int64)
        assert (state.sigma == layer.weight @ codes).all()


@given(seeds)
def test_a_network_on_differences_is_the_network_on_frames(seed):
    rng = np.random.default_rng(seed)
    layers = [
        Conv(ints(rng, -20, 20, (4, 2, 3, 3)), output(rng, 4, pool=2), pad=1),
        Conv(ints(rng, -20, 20, (6, 2, 3, 3)), output(rng, 6), stride=2, pad=1, groups=2),
        Linear(ints(rng, -20, 20, (5, 6 * 2 * 2)), output(rng, 5, relu=False, bits=12)),
    ]
    network = DeltaNetwork(DeltaEncoder(shift=2, bits=6, signed=False), layers)
    for frame in ints(rng, 0, 255, (3, 2, 8, 8)):
        network.step(frame)
        codes = requantise(frame, 1, 2, bits=6)
        for layer, want in zip(network.layers, dense_codes(layers, codes), strict=True):
            assert (layer.codes == want).all()


def test_a_still_stream_has_no_event_after_its_first_frame():
    rng = np.random.default_rng(2)
    layers = [Conv(ints(rng, -9, 9, (3, 1, 3, 3)), output(rng, 3))]
    network = DeltaNetwork(DeltaEncoder(), layers)
    frame = ints(rng, 1, 99, (1, 5, 5))
    assert all(delta.any() for delta in network.step(frame))
    assert not any(delta.any() for delta in network.step(frame))


@given(seeds, st.integers(0, 40), st.integers(1, 8))
def test_the_reference_stays_within_theta_of_the_input(seed, theta, steps):
    rng = np.random.default_rng(seed)
    encoder = DeltaEncoder(theta=theta)
    emitted = np.zeros(6, np.int64)
    for frame in ints(rng, -100, 100, (steps, 6)):
        before = emitted.copy()
        delta = encoder.step(frame)
        emitted += delta
        moved = np.abs(frame - before) >= theta
        assert (emitted == np.where(moved, frame, before)).all()
        assert (encoder.reference == emitted).all()
        assert (np.abs(frame - emitted) < max(theta, 1)).all()


def test_threshold_moves_at_theta_and_not_one_below():
    encoder = DeltaEncoder(theta=4)
    assert encoder.step(np.array([3, 4, -4, -3])).tolist() == [0, 4, -4, 0]
    assert encoder.step(np.array([4, 7, -8, -5])).tolist() == [4, 0, -4, -5]


def test_ties_round_up_and_codes_clip():
    x = np.array([-7, -6, -3, -2, -1, 1, 2, 3, 6])
    assert requantise(x, 1, 2, bits=8, signed=True).tolist() == [-2, -1, -1, 0, 0, 0, 1, 1, 2]
    assert requantise(np.array([-900, 900]), 1, 0, bits=8, signed=True).tolist() == [-128, 127]
    assert requantise(np.array([-900, 900]), 1, 0, bits=8).tolist() == [0, 255]


def test_sums_saturate_event_by_event():
    layer = Linear(np.array([[7, 7, -7]]), Output(np.zeros(1, int), np.ones(1, int), 0))
    state = DeltaLayer(layer, accumulator_bits=4)
    state.step(np.array([1, 1, 1]))
    assert state.sigma.tolist() == [0]  # 7, then 14 kept at 7, then 0; the exact sum is 7
    assert state.saturations == 1


def test_events_are_scanned_by_pixel_with_the_channel_innermost():
    delta = np.zeros((2, 2, 3), np.int64)
    delta[0, 0, 1], delta[1, 0, 1], delta[0, 1, 0] = 5, 6, 7
    assert list(scan(delta)) == [(2, (0, 0, 1), 5), (3, (1, 0, 1), 6), (6, (0, 1, 0), 7)]


def test_max_pool_is_taken_of_codes_and_drops_the_odd_row():
    post = Output(np.array([-1]), np.array([1]), 1, bits=3, pool=2)
    sums = np.array([[[0, 1, 2, 3, 99], [4, 5, 50, 7, 99], [9, 9, 9, 9, 99]]])
    assert post.codes(sums).tolist() == [[[2, 7]]]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: DeltaEncoder(theta=-1), "theta must not be negative, but got -1"),
        (lambda: DeltaEncoder().step(np.zeros(2)), "integers, but got float64"),
        (lambda: requantise(np.zeros(1, int), 1, 63, bits=8), "shift must be 0..62, but got 63"),
        (lambda: requantise(np.zeros(1, int), 1, 0, bits=0), "bits must be 1..32, but got 0"),
        (lambda: requantise(np.zeros(1, int), -1, 0, bits=8), "negative, but got -1"),
        (lambda: Output(np.zeros(2, int), np.zeros(3, int), 0), "shapes (2,) and (3,)"),
        (lambda: Output(np.zeros(2, int), np.zeros(2, int), 0, pool=0), "pool must be at least 1"),
        (lambda: Linear(np.zeros((3, 2), int), POST), "2 outputs, but got (3, 2)"),
        (lambda: Conv(np.zeros((3, 2), int), POST), "2 filters, but got (3, 2)"),
        (lambda: Conv(np.zeros((2, 1, 1, 1), int), POST, groups=3), "groups=3"),
        (lambda: CONV.sums_shape((2, 4, 4)), "1 channels and two axes, but got shape (2, 4, 4)"),
        (lambda: DeltaLayer(CONV, accumulator_bits=1), "2..62, but got 1"),
        (lambda: DeltaLayer(LINEAR).step(np.zeros(3, int)), "5 elements, but got (3,)"),
    ],
)
def test_what_breaks_a_rule_is_told(make, text):
    with pytest.raises(ValueError) as caught:
        make()
    assert text in str(caught.value)


def test_a_stream_keeps_its_shape():
    encoder = DeltaEncoder()
    encoder.step(np.zeros((2, 2), int))
    with pytest.raises(ValueError, match=r"shape \(2, 2\), but got \(3,\)"):
        encoder.step(np.zeros(3, int))


POST = Output(np.zeros(2, int), np.ones(2, int), 0)
CONV = Conv(np.zeros((2, 1, 1, 1), int), POST)
LINEAR = Linear(np.zeros((2, 5), int), POST)
