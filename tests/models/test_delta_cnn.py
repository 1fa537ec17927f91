"""The trained delta CNN of the package and the recorded study."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.models.delta import Conv, DeltaNetwork, dense_codes, requantise
from hwsim.models.delta_cnn import study_summary, trained_delta_cnn
from hwsim.models.moving_images import ClipSet, moving_clips


@pytest.fixture(scope="module")
def clips() -> ClipSet:
    pytest.importorskip("sklearn", reason="the digits need scikit-learn")
    from hwsim.models.datasets import digits

    data = digits()
    return moving_clips(data.test_images, data.test_labels, [], clips=60, steps=3, seed=9)


def test_it_labels_moving_digits_that_it_has_not_seen(clips):
    encoder, layers = trained_delta_cnn()
    right = 0
    for clip, label in zip(clips.frames[:, -1:], clips.labels, strict=True):
        codes = requantise(clip, encoder.multiplier, encoder.shift, bits=encoder.bits)
        right += int(dense_codes(layers, codes)[-1].argmax() == label)
    assert right / len(clips.labels) > 0.7  # ten classes; the page has the measured share


def test_on_deltas_it_is_the_network_on_frames_and_fits_24_bits(clips):
    encoder, layers = trained_delta_cnn()
    network = DeltaNetwork(encoder, layers, accumulator_bits=24)
    density = []
    for frame in clips.frames[0]:
        deltas = network.step(frame[None])
        codes = requantise(frame[None], encoder.multiplier, encoder.shift, bits=encoder.bits)
        for layer, want in zip(network.layers, dense_codes(layers, codes), strict=True):
            assert (layer.codes == want).all()
        density.append([np.count_nonzero(d) / d.size for d in deltas[:-1]])
    assert sum(layer.saturations for layer in network.layers) == 0
    assert np.mean(density[1:]) < 0.5 * np.mean(density[0])


def test_its_parts_are_what_the_engine_takes():
    encoder, layers = trained_delta_cnn()
    assert encoder.theta is None
    assert encoder.reference is None
    assert [layer.weight.shape for layer in layers] == [
        (8, 1, 3, 3), (16, 8, 3, 3), (16, 16, 3, 3), (10, 256),
    ]  # fmt: skip
    assert all(np.abs(layer.weight).max() <= 127 for layer in layers)
    convolutions = trained_delta_cnn(classifier=False)[1]
    assert all(isinstance(layer, Conv) and layer.output.bits == 8 for layer in convolutions)
    assert len(convolutions) == 3
    encoder.step(np.ones((1, 4, 4), int))
    assert trained_delta_cnn()[0].reference is None  # every call has an encoder without state


def test_the_recorded_study_is_consistent():
    found = study_summary()
    skipped = found["operations_skipped"]
    assert set(skipped) == set(found["density"]) == {"baseline", "spatial", "dal"}
    assert (1 - skipped["spatial"]) / (1 - skipped["dal"]) == pytest.approx(found["mac_ratio"])
    sizes = np.array([1024, 2048, 1024, 256])
    nonzeros = {key: sizes @ np.array(value) for key, value in found["density"].items()}
    assert nonzeros["spatial"] / nonzeros["dal"] == pytest.approx(found["density_ratio"])
    for key in ("baseline", "spatial", "dal"):
        assert 0 < found[f"accuracy_{key}"] < 1
