"""Speed of the delta kernels; the EdgeDRNN oracle's target is 200,000 layer-steps a second."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.dataflows.delta_rnn import layer_cycles, layer_cycles_many


@pytest.mark.parametrize(("inputs", "hidden", "density"), [(64, 128, 0.76), (400, 400, 0.26)])
def test_edgedrnn_oracle(benchmark, inputs, hidden, density):
    mask = np.random.default_rng(0).random((20000, inputs + hidden)) < density
    layer_cycles_many(inputs, hidden, mask[:1])
    benchmark(layer_cycles_many, inputs, hidden, mask)
    benchmark.extra_info["layer_steps_per_s"] = len(mask) / benchmark.stats.stats.median


@pytest.mark.parametrize(("inputs", "hidden", "density"), [(64, 128, 0.76), (400, 400, 0.26)])
def test_edgedrnn_oracle_single_steps(benchmark, inputs, hidden, density):
    mask = np.random.default_rng(0).random(inputs + hidden) < density
    positions = np.flatnonzero(mask)
    layer_cycles(inputs, hidden, positions)
    benchmark(layer_cycles, inputs, hidden, positions)
    benchmark.extra_info["layer_steps_per_s"] = 1 / benchmark.stats.stats.median
