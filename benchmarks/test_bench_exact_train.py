"""Hardware-exact training steps of the digits networks, golden and compiled.

`mmac_per_s_core` is millions of issued multiply-accumulates a second of processor time, so of one
core, however many others work beside; the target of the compiled step on the small CNN is 100.
Inserted zeros of strided gradients and padding are issued; `useful` leaves the inserted zeros out.
"""

from __future__ import annotations

import time

import numpy as np
import pytest

from hwsim.dataflows.exact_train import FAST
from hwsim.models.exact_digits import NETWORKS
from hwsim.models.exact_kernels import FLOAT32, GOLDEN
from hwsim.models.exact_train import Recipe, initial_state, step_macs, train_step

BATCH = 64
TARGET = 100.0  # million multiply-accumulates a second and core
KERNELS = {"fast": FAST, "golden": GOLDEN, "float32": FLOAT32}


def useful_macs(network, recipe):
    """A strided layer's BP meets one gradient in stride^2; the others of its operands are zeros."""
    macs = step_macs(network, recipe, BATCH)
    for layer in network[1:]:
        pattern = recipe.backward_pattern(layer, False)
        if pattern.dense:
            pattern = recipe.gradient_pattern(layer, False)
        slots = pattern.compact_length(layer.k_back)
        zeros = layer.height * layer.width - layer.positions
        macs -= BATCH * zeros * layer.inputs * slots if layer.stride > 1 else 0
    return macs


@pytest.mark.parametrize("method", ["dense", "sdgp", "bdwp"])
@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", NETWORKS)
def test_step(benchmark, name, kernels, method):
    network, recipe = NETWORKS[name], Recipe(method=method)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 17, network[0].input_shape(BATCH)).astype(np.float32) / 16
    labels = rng.integers(0, 10, BATCH)
    states = initial_state(network, recipe, 0, KERNELS[kernels])

    def step():
        return train_step(network, states, x, labels, recipe, KERNELS[kernels])

    step()
    benchmark.pedantic(step, rounds=20)
    rates = []
    for _ in range(10):
        started = time.process_time()
        step()
        rates.append(1 / (time.process_time() - started) / 1e6)
    rate = float(np.median(rates))
    issued = rate * step_macs(network, recipe, BATCH)
    benchmark.extra_info["mmac_per_s_core"] = issued
    benchmark.extra_info["useful_mmac_per_s_core"] = rate * useful_macs(network, recipe)
    if kernels == "fast" and name == "cnn":
        assert rate * useful_macs(network, recipe) > TARGET
