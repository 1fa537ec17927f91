"""Momentum SGD of a PyTorch network whose layers may be pruned N:M (`train_layers.py`).

FP32 throughout, for accuracy studies; the engine's own arithmetic is elsewhere. Runs repeat bit for
bit with the same seed, thread count and library. Needs the extra `train` (PyTorch).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from hwsim.models.datasets import ImageSet
from hwsim.models.train_layers import Pruner

__all__ = ["Point", "Recipe", "Run", "accuracy", "train"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Momentum SGD on the cross entropy with a one-cycle schedule.

    The learning rate rises linearly to `rate` over the first `warmup` of the steps and falls to 0
    as a cosine. Sparsity is on from the first step.

    Attributes:
        epochs: passes over the training images.
        batch: images a step; the last, shorter batch of an epoch is left out.
        rate: the highest learning rate.
        momentum: of the SGD.
        weight_decay: L2 term of every weight, taken before momentum.
        warmup: share of the steps.

    Raises:
        ValueError: no epoch or image.
    """

    epochs: int
    batch: int = 128
    rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.15

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise ValueError(
                f"epochs and batch must be at least 1, but got {self.epochs} and {self.batch}"
            )

    def rate_at(self, step: int, steps: int) -> float:
        """The learning rate of a step, from 0."""
        rise = max(1, round(self.warmup * steps))
        if step < rise:
            return self.rate * (step + 1) / rise
        return self.rate * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


@dataclass(frozen=True)
class Point:
    """A point of the learning curve: epochs done, mean training loss since the last point, and
    the accuracy on the test images, of FF as trained (NaN where it was not measured)."""

    epoch: float
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Run:
    """A finished training: the curve, the last accuracy and the CPU seconds it took."""

    curve: list[Point]
    accuracy: float
    seconds: float


def train(
    network: nn.Module,
    pruner: Pruner,
    data: ImageSet,
    recipe: Recipe,
    *,
    seed: int,
    points: int = 1,
    progress: Callable[[Point], None] | None = None,
) -> Run:
    """Train in place and measure the test accuracy after every epoch.

    Images are shifted and scaled to the training set's mean 0 and deviation 1; no augmentation.
    `seed` orders the images; the network's initial weights are the caller's.

    Args:
        network: [n, 1, side, side] float32 to [n, classes] logits.
        pruner: as `sparsify` returned.
        data: training and test images.
        recipe: how long and how.
        seed: of the order of the images.
        points: points of the curve in an epoch; the last of them has a test accuracy.
        progress: called with every point.

    Raises:
        ValueError: the loss became infinite or NaN, or an epoch has no whole batch.
    """
    if recipe.batch > len(data.train_images):
        raise ValueError(
            f"batch must not exceed the {len(data.train_images)} training images, "
            f"but got {recipe.batch}"
        )
    started = time.process_time()
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.0, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    normalise = _normaliser(data)
    a_epoch = len(data.train_images) // recipe.batch
    pruner.steps = a_epoch * recipe.epochs
    marks = {round(a_epoch * (i + 1) / points) for i in range(points)}
    curve: list[Point] = []
    for epoch in range(recipe.epochs):
        order = rng.permutation(len(data.train_images))
        network.train()
        losses: list[float] = []
        for at in range(a_epoch):
            pick = order[at * recipe.batch : (at + 1) * recipe.batch]
            pruner.step = epoch * a_epoch + at
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate_at(pruner.step, pruner.steps)
            x = normalise(data.train_images[pick])
            y = torch.from_numpy(data.train_labels[pick])
            loss = nn.functional.cross_entropy(network(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                raise ValueError(
                    f"the loss must stay finite, but got {losses[-1]} at step {pruner.step} "
                    f"with {pruner.sparsity}; lower the rate {recipe.rate}"
                )
            if at + 1 in marks:
                last = at + 1 == a_epoch
                test = accuracy(network, data) if last else math.nan
                curve.append(Point(epoch + (at + 1) / a_epoch, float(np.mean(losses)), test))
                losses = []
                network.train()
                if progress is not None:
                    progress(curve[-1])
    return Run(curve, curve[-1].accuracy, time.process_time() - started)


@torch.no_grad()
def accuracy(network: nn.Module, data: ImageSet, *, batch: int = 500) -> float:
    """The share of test images that the network labels right, in evaluation mode."""
    normalise = _normaliser(data)
    network.eval()
    right = 0
    for at in range(0, len(data.test_images), batch):
        logits = network(normalise(data.test_images[at : at + batch]))
        right += int((logits.argmax(1).numpy() == data.test_labels[at : at + batch]).sum())
    return right / len(data.test_images)


def _normaliser(data: ImageSet) -> Callable[[np.ndarray], Tensor]:
    """Grey levels [n, side, side] to [n, 1, side, side] with the training set's mean and spread."""
    mean = float(data.train_images.mean())
    spread = float(data.train_images.std())

    def normalise(images: np.ndarray) -> Tensor:
        x = torch.from_numpy(images.astype(np.float32))
        return ((x - mean) / spread)[:, None]

    return normalise
