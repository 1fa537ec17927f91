"""Images in motion, spatial sparsities and the packed delta CNN."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.models.delta import Conv, DeltaEncoder, DeltaNetwork, Linear, Output
from hwsim.models.delta_cnn import pack, unpack
from hwsim.models.moving_images import (
    block_motion,
    compose,
    moving_clips,
    resize,
    synthetic_video,
)
from hwsim.models.nm import NMPattern
from hwsim.models.spatial_sparsity import (
    above_threshold,
    cats_threshold,
    density,
    nm_activations,
    relu,
    top_k,
)


def texture(seed: int, side: int = 40) -> np.ndarray:
    return synthetic_video(1, side, side, np.random.default_rng(seed), scale=4)[0]


@given(st.integers(0, 1000), st.integers(-3, 3), st.integers(-3, 3))
def test_block_motion_finds_a_whole_shift(seed, dy, dx):
    frame = texture(seed)
    moved = np.roll(frame, (dy, dx), (0, 1))
    found = block_motion(frame, moved, (12, 12), 16)
    assert found == pytest.approx((dy, dx), abs=0.25)


def test_block_motion_finds_half_a_pixel_and_calls_flat_blocks_still():
    wide = texture(3, 80).astype(float)
    fine = wide.reshape(40, 2, 40, 2).mean((1, 3))
    half = np.roll(wide, 1, 1).reshape(40, 2, 40, 2).mean((1, 3))
    y, x = block_motion(fine, half, (12, 12), 16)
    assert abs(y) < 0.1
    assert x == pytest.approx(0.5, abs=0.15)
    flat = np.full((40, 40), 7)
    assert block_motion(flat, flat, (12, 12), 16) == (0.0, 0.0)


def test_resize_keeps_the_mean_and_flat_images():
    assert (resize(np.full((8, 8), 3.0), 20) == 3.0).all()
    rng = np.random.default_rng(0)
    image = rng.random((28, 28))
    assert resize(image, 14) == pytest.approx(image.reshape(14, 2, 14, 2).mean((1, 3)))
    assert resize(image, 20).mean() == pytest.approx(image.mean(), abs=0.02)


def test_compose_places_the_image_and_shows_the_dimmed_background_elsewhere():
    window = np.full((2, 6, 6), 100, np.uint8)
    image = np.full((2, 2), 1.0)
    out = compose(window, image, np.array([[1.0, 2.0], [1.0, 2.5]]))
    assert (out[0, 1:3, 2:4] == 255).all()
    assert np.count_nonzero(out[0] != 60) == 4
    # half a pixel further right: brightness one half covers wholly, one half of 255 is 128
    assert out[1, 1].tolist() == [60, 60, 128, 255, 128, 60]


@pytest.mark.parametrize("real", [False, True])
def test_clips_keep_labels_and_move_and_repeat(real):
    images = np.zeros((3, 8, 8), np.uint8)
    for i in range(3):
        images[i, :, i : i + 3] = 200
    videos = [synthetic_video(12, 60, 70, np.random.default_rng(5))] if real else []
    kwargs = {"clips": 9, "steps": 5, "side": 24, "object_side": 12}
    a, b = (moving_clips(images, np.array([4, 5, 6]), videos, seed=1, **kwargs) for _ in range(2))
    assert a.frames.shape == (9, 5, 24, 24)
    assert a.frames.dtype == np.uint8
    assert (a.frames == b.frames).all()
    assert set(a.labels) == {4, 5, 6}
    assert 0 < a.speed.mean() < 2
    changed = (np.diff(a.frames.astype(int), axis=1) != 0).mean()
    assert 0.05 < changed < 1
    other = moving_clips(images, np.array([4, 5, 6]), videos, seed=2, **kwargs)
    assert (a.frames != other.frames).any()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"steps": 1}, "at least 2 frames and a set 1 clip, but got 1 and 2"),
        ({"object_side": 33}, "object_side must be 1..32, but got 33"),
        ({"videos": [np.zeros((3, 60, 60), np.uint8)]}, "at least 4 frames of 38 pixels"),
        ({"videos": [np.zeros((9, 60, 37), np.uint8)]}, "but got (9, 60, 37)"),
    ],
)
def test_clips_that_cannot_be_made_are_told(change, text):
    kwargs = {"videos": [], "clips": 2, "steps": 4, **change}
    videos = kwargs.pop("videos")
    with pytest.raises(ValueError) as caught:
        moving_clips(np.ones((1, 8, 8), np.uint8), np.zeros(1, int), videos, **kwargs)
    assert text in str(caught.value)


def test_a_block_outside_the_frame_is_told():
    with pytest.raises(ValueError, match="but got corner"):
        block_motion(np.zeros((20, 20)), np.zeros((20, 20)), (2, 5), 8)


def test_spatial_rules_by_hand():
    x = np.array([[3.0, -4.0, 0.5, -0.5], [1.0, 1.0, 1.0, -1.0]])
    assert relu(x).tolist() == [[3, 0, 0.5, 0], [1, 1, 1, 0]]
    assert top_k(x, 2).tolist() == [[3, -4, 0, 0], [1, 1, 0, 0]]  # ties to the lowest index
    assert top_k(x, 0).any() == np.False_
    assert above_threshold(x, 1.0).tolist() == [[3, -4, 0, 0], [1, 1, 1, -1]]
    assert nm_activations(x, NMPattern(1, 2), 1).tolist() == [[0, -4, 0.5, 0], [1, 0, 1, 0]]
    assert density(above_threshold(x, 2.0)) == 0.25


@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_cats_threshold_reaches_the_target_on_its_sample(seed, sparsity):
    sample = np.random.default_rng(seed).standard_normal(501)
    kept = above_threshold(sample, cats_threshold(sample, sparsity))
    assert 1 - density(kept) == pytest.approx(sparsity, abs=2 / 501)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: cats_threshold(np.ones(3), 1.5), "sparsity must be 0..1, but got 1.5"),
        (lambda: cats_threshold(np.ones(0), 0.5), "at least one activation"),
        (lambda: above_threshold(np.ones(3), -1.0), "negative, but got -1.0"),
        (lambda: top_k(np.ones(3), 4), "k must be 0..3, but got 4"),
        (lambda: density(np.ones(0)), "at least one element"),
    ],
)
def test_spatial_rules_that_cannot_be_applied_are_told(make, text):
    with pytest.raises(ValueError) as caught:
        make()
    assert text in str(caught.value)


def packed_network() -> tuple[DeltaEncoder, list]:
    rng = np.random.default_rng(0)

    def post(n: int, **more) -> Output:
        return Output(rng.integers(-99, 99, n), rng.integers(0, 999, n), 12, **more)

    return DeltaEncoder(multiplier=5, shift=3, bits=8, signed=False), [
        Conv(rng.integers(-127, 128, (4, 1, 3, 3)), post(4, pool=2), 1, 1),
        Conv(rng.integers(-127, 128, (4, 2, 3, 3)), post(4), 2, 0, 2),
        Linear(rng.integers(-127, 128, (3, 4)), post(3, bits=16, relu=False)),
    ]


def test_a_packed_network_is_the_same_network():
    encoder, layers = packed_network()
    again = unpack(pack(encoder, layers))
    frames = np.random.default_rng(1).integers(0, 256, (3, 1, 8, 8))
    networks = [DeltaNetwork(encoder, layers), DeltaNetwork(*again)]
    for frame in frames:
        ours, theirs = (network.step(frame) for network in networks)
        for a, b in zip(ours, theirs, strict=True):
            assert (a == b).all()
    assert networks[0].layers[-1].codes.any()


def test_what_cannot_be_packed_is_told():
    encoder, layers = packed_network()
    with pytest.raises(ValueError, match="got theta=3"):
        pack(DeltaEncoder(theta=3), layers)
    wide = Linear(np.full((3, 4), 128), layers[-1].output)
    with pytest.raises(ValueError, match="layer 0 has 128"):
        pack(encoder, [wide])
