"""Speed of delta layers and of the engine's simulator; the target is a clip in under 20 s."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.config import load_config
from hwsim.dataflows.delta_gru import gru_work
from hwsim.dataflows.delta_sim import DeltaGaps, delta_timeline
from hwsim.engine_delta import run_stream
from hwsim.models.delta import Conv, DeltaEncoder, Output
from hwsim.models.moving_images import synthetic_video

FRAMES, HEIGHT, WIDTH = 100, 144, 176


def network(rng):
    """1-8-16-16 channels, 3 x 3, two max-pools; a sum's usual size is some twenty codes."""

    def conv(channels, filters, pool):
        output = Output(
            bias=rng.integers(-600, 600, filters),
            multiplier=rng.integers(600, 1200, filters),
            shift=15,
            pool=pool,
        )
        return Conv(rng.integers(-24, 25, (filters, channels, 3, 3)), output, pad=1)

    return [conv(1, 8, 2), conv(8, 16, 2), conv(16, 16, 1)]


def test_clip(benchmark):
    """Values and cycles of a three-layer delta CNN over 100 frames of 176 x 144."""
    rng = np.random.default_rng(0)
    layers = network(rng)
    frames = synthetic_video(FRAMES, HEIGHT, WIDTH, rng)[:, None].astype(np.int64)
    encoder = DeltaEncoder(shift=3, bits=8, signed=False)
    config = load_config("dal")
    run_stream(encoder, layers, frames[:2], config)  # compiles
    found = benchmark.pedantic(
        run_stream, (encoder, layers, frames, config), rounds=3, iterations=1
    )
    assert benchmark.stats.stats.median < 20
    assert found.codes.any()
    benchmark.extra_info["density"] = [run.density_in for run in found.runs]


@pytest.mark.parametrize("density", [0.2, 0.8])
def test_cycle_by_cycle(benchmark, density):
    """A step of EdgeDRNN's 400 inputs and 400 units, every cycle."""
    shape = load_config("edgedrnn").shape
    nonzero = np.random.default_rng(0).random((1, 800)) < density
    work = gru_work(nonzero, 400, shape)
    gaps = DeltaGaps(x=[200] + [0] * 400)
    timeline = delta_timeline([work], [shape], gaps)
    benchmark(delta_timeline, [work], [shape], gaps)
    benchmark.extra_info["cycles_per_s"] = timeline.cycles / benchmark.stats.stats.median
