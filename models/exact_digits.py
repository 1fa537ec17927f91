"""Two small networks trained on scikit-learn's digits in the arithmetic of the hardware.

`mlp` is 64-64-32-10; `cnn` has three 3 x 3 convolutions, 1 to 8, 8 to 16 with stride 2 and 16 to 16
channels, then a fully connected layer: widths that M = 8 divides, pooling by stride. Neither has a
bias or a normalisation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hwsim.models.digits import digits_data
from hwsim.models.exact_kernels import Kernels
from hwsim.models.exact_layers import Layer, conv, dense
from hwsim.models.exact_train import (
    LayerState,
    Recipe,
    initial_state,
    predict,
    step_macs,
    train_step,
)

__all__ = ["NETWORKS", "Epoch", "train_digits"]

NETWORKS: dict[str, tuple[Layer, ...]] = {
    "mlp": (
        dense("fc1", 64, 64),
        dense("fc2", 64, 32),
        dense("fc3", 32, 10, relu=False),
    ),
    "cnn": (
        conv("conv1", 1, 8, 8),
        conv("conv2", 8, 16, 8, stride=2),
        conv("conv3", 16, 16, 4),
        dense("fc", 256, 10, relu=False),
    ),
}
"""Networks by name; images are 8 x 8."""

_TEST = 360  # images held out, the last of the set: as `hwsim.models.digits`
_BATCH = 64  # as `hwsim.models.digits`


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass over the training images.

    Attributes:
        number: from 1.
        loss: mean over its steps.
        accuracy: on the held-out images, 0..1.
        macs: multiply-accumulates issued in its steps.
        states: the layers after it.
    """

    number: int
    loss: float
    accuracy: float
    macs: int
    states: tuple[LayerState, ...]


def train_digits(
    name: str,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int = 1,
    kernels: Kernels | None = None,
    progress: Callable[[Epoch], None] = lambda epoch: None,
) -> list[Epoch]:
    """Train on 1,437 images, batch 64, the recipe's rate falling to 0 as a cosine.

    Args:
        name: of `NETWORKS`.
        seed: of the initial weights and of the order of images.
        kernels: the operations; `hwsim.models.exact_kernels.GOLDEN` when None.
        progress: told every epoch.

    Raises:
        ValueError: an unknown name, no epoch, or scikit-learn is not installed.
    """
    if name not in NETWORKS:
        raise ValueError(f"name must be one of {', '.join(NETWORKS)}, but got {name!r}")
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, but got {epochs}")
    network = NETWORKS[name]
    images, labels = digits_data()
    x, y = images[:-_TEST], labels[:-_TEST]
    held_x, held_y = images[-_TEST:], labels[-_TEST:]
    states = initial_state(network, recipe, seed, kernels)
    rng = np.random.default_rng(seed)
    steps = len(x) // _BATCH
    done = []
    for number in range(1, epochs + 1):
        order = rng.permutation(len(x))
        loss = 0.0
        for i in range(steps):
            share = ((number - 1) * steps + i) / (epochs * steps)
            rate = recipe.rule.rate * 0.5 * (1 + np.cos(np.pi * share))
            now = replace(recipe, rule=replace(recipe.rule, rate=rate))
            pick = order[i * _BATCH : (i + 1) * _BATCH]
            result = train_step(network, states, x[pick], y[pick], now, kernels)
            states, loss = result.states, loss + result.loss / steps
        logits = predict(network, states, held_x, kernels)
        epoch = Epoch(
            number=number,
            loss=loss,
            accuracy=float((logits.argmax(1) == held_y).mean()),
            macs=steps * step_macs(network, recipe, _BATCH),
            states=states,
        )
        progress(epoch)
        done.append(epoch)
    return done
