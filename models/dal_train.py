"""Training and measuring of delta networks on labelled clips: Adam on the cross entropy a frame.

FP32 in PyTorch; runs repeat bit for bit with the same seed, library and one thread. Needs the extra
`train`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hwsim.models.dal_torch import DeltaNet, Quantiser, delta_network, deltas
from hwsim.models.moving_images import ClipSet
from hwsim.models.nm import NMPattern
from hwsim.models.spatial_sparsity import above_threshold, cats_threshold, nm_activations, top_k

__all__ = [
    "Measured",
    "Recipe",
    "dense_macs",
    "fit",
    "measure",
    "measure_integers",
    "measure_untrained",
    "pixels",
    "small_cnn",
]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Attributes:
        epochs: passes over the clips.
        frames: consecutive frames drawn from a clip in every pass, the start at random.
        batch: clips a step; a last, shorter batch is left out.
        rate: of Adam, falling to 0 as a cosine.
        sparsity: factor of the method's sparsity loss.
        step_rate: of Adam for the quantisers' steps, over `rate`.
        freeze: share of the training after which the steps of quantisers stand still and only
            weights learn: the flipped gradient never stops pushing the steps up by itself.

    Raises:
        ValueError: a count below 1, a negative or infinite rate or a share outside 0..1.
    """

    epochs: int
    frames: int = 1
    batch: int = 16
    rate: float = 4e-3
    sparsity: float = 0.0
    step_rate: float = 1.0
    freeze: float = 1.0

    def __post_init__(self) -> None:
        if min(self.epochs, self.frames, self.batch) < 1:
            raise ValueError(
                "epochs, frames and batch must be at least 1, but got "
                f"{self.epochs}, {self.frames} and {self.batch}"
            )
        rates = (self.rate, self.sparsity, self.step_rate)
        if not all(0 <= rate < math.inf for rate in rates):
            raise ValueError(
                "rate, sparsity and step_rate must be finite and not negative, but got "
                f"{self.rate}, {self.sparsity} and {self.step_rate}"
            )
        if not 0 <= self.freeze <= 1:
            raise ValueError(f"freeze must be 0..1, but got {self.freeze}")


@dataclass(frozen=True)
class Measured:
    """What a network does on clips, a frame on average; the first entry of a list is the input.

    Attributes:
        accuracy: share of frames labelled right.
        density: share of non-zeros among what enters each layer.
        nonzeros: how many these are, a frame.
        macs: multiply-accumulates that they cause, a frame, borders exact.
        steady: `nonzeros` without every clip's first frame, which has no predecessor.
    """

    accuracy: float
    density: list[float]
    nonzeros: list[float]
    macs: list[float]
    steady: list[float]


def small_cnn(side: int = 32, classes: int = 10) -> nn.Sequential:
    """Three 3x3 convolutions (8, 16, 16 filters) with ReLU and 2x2 pools, and a linear layer.

    Chosen by us to be small enough for the RTL. Weights are drawn from PyTorch's generator, the
    convolutions' after He (fan in).
    """
    layers: list[nn.Module] = []
    channels = 1
    for filters in (8, 16, 16):
        product = nn.Conv2d(channels, filters, 3, 1, 1)
        nn.init.kaiming_normal_(product.weight, nonlinearity="relu")
        assert product.bias is not None
        nn.init.zeros_(product.bias)
        layers += [product, nn.ReLU(), nn.MaxPool2d(2)]
        channels = filters
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * (side // 8) ** 2, classes))


def pixels(frames: NDArray[np.uint8]) -> Tensor:
    """Clips uint8 [n, steps, side, side] as float32 [n, steps, 1, side, side] in 0..1."""
    return torch.from_numpy(frames.astype(np.float32) / 255)[:, :, None]


def fit(network: DeltaNet, data: ClipSet, recipe: Recipe, *, seed: int) -> float:
    """Train in place; the CPU seconds it took.

    Raises:
        ValueError: clips shorter than `frames`, fewer than a batch, or a loss that is not finite.
    """
    count, steps = data.frames.shape[:2]
    if recipe.frames > steps or recipe.batch > count:
        raise ValueError(
            f"frames must be at most the clips' {steps} and batch at most their {count}, "
            f"but got {recipe.frames} and {recipe.batch}"
        )
    started = time.process_time()
    rng = np.random.default_rng(seed)
    named = list(network.named_parameters())
    steps_of = [p for name, p in named if "threshold" in name]
    optimizer = torch.optim.Adam(
        [
            {"params": [p for name, p in named if "threshold" not in name], "share": 1.0},
            {"params": steps_of, "share": recipe.step_rate},
        ],
        lr=recipe.rate,
    )
    each = count // recipe.batch
    for epoch in range(recipe.epochs):
        order = rng.permutation(count)
        for at in range(each):
            done = (epoch * each + at) / (each * recipe.epochs)
            if done >= recipe.freeze:
                for step in steps_of:
                    step.requires_grad_(False)
            for group in optimizer.param_groups:
                rate = recipe.rate * 0.5 * (1 + math.cos(math.pi * done))
                group["lr"] = rate * group["share"]
            pick = order[at * recipe.batch : (at + 1) * recipe.batch]
            first = int(rng.integers(steps - recipe.frames + 1))
            x = pixels(data.frames[pick, first : first + recipe.frames])
            y = torch.from_numpy(data.labels[pick]).repeat_interleave(recipe.frames)
            stages = network.stages(x)
            loss = nn.functional.cross_entropy(stages[-1].flatten(0, 1), y)
            if recipe.sparsity:
                loss = loss + network.sparsity_loss(stages, recipe.sparsity)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        if not math.isfinite(loss.item()):
            raise ValueError(
                f"the loss must stay finite, but got {loss.item()} in epoch {epoch}; lower the "
                f"rate {recipe.rate}"
            )
    network.requires_grad_(True)
    return time.process_time() - started


@torch.no_grad()
def measure(
    network: DeltaNet,
    data: ClipSet,
    *,
    temporal: bool,
    transform: Callable[[int, NDArray], NDArray] | None = None,
    batch: int = 60,
) -> Measured:
    """Accuracy, densities and work.

    Args:
        network: of any method.
        data: clips.
        temporal: count the non-zeros of deltas, else of the frames themselves.
        transform: maps what enters layer i to what is used instead (a spatial sparsity).
        batch: clips at a time.
    """
    parts = []
    for at in range(0, len(data.labels), batch):
        value = pixels(data.frames[at : at + batch])
        if network.entry is not None:
            value = network.entry(value)
        found = []
        for i in range(len(network.layers)):
            layer = network.layer(i)
            if transform is not None:
                value = torch.from_numpy(transform(i, value.numpy()))
            found.append(value)
            value = layer.output(layer.sums(value))
        right = value.argmax(2).numpy() == data.labels[at : at + batch, None]
        parts.append(_counts(network, found, right, temporal))
    return _mean(parts, len(data.labels), data.frames.shape[1])


def measure_integers(
    network: DeltaNet, data: ClipSet, stages: Sequence[NDArray], *, batch: int = 60
) -> Measured:
    """As `measure` with `temporal`, of the codes that `integer_stages` returned."""
    parts = []
    for at in range(0, len(data.labels), batch):
        inside = [torch.from_numpy(s[at : at + batch].astype(np.float32)) for s in stages[:-1]]
        right = stages[-1][at : at + batch].argmax(2) == data.labels[at : at + batch, None]
        parts.append(_counts(network, inside, right, True))
    return _mean(parts, len(data.labels), data.frames.shape[1])


def measure_untrained(network: DeltaNet, sample: Tensor, data: ClipSet) -> dict[str, Measured]:
    """What a trained ReLU network gives without training for sparsity.

    Spatial rules on what enters the hidden layers (`spatial_sparsity.py`): CATS thresholds that
    zero 70 % of the sample, the largest 30 % of a layer, 2 kept of 8 neighbouring channels. And
    deltas of its activations in unsigned 8-bit codes whose range is the sample's.

    Args:
        network: `small_cnn` as a network of method `relu`.
        sample: input [clips, steps, 1, side, side] for calibration.
        data: clips to measure.
    """
    with torch.no_grad():
        inside = [x.numpy() for x in network.stages(sample)[:-1]]
    limits = [cats_threshold(x, 0.7) for x in inside]

    def largest(x: NDArray) -> NDArray:
        flat = x.reshape(*x.shape[:2], -1)
        return top_k(flat, round(0.3 * flat.shape[-1])).reshape(x.shape)

    rules: dict[str, Callable[[int, NDArray], NDArray]] = {
        "relu, CATS at 70 %": lambda i, x: above_threshold(x, limits[i]) if i else x,
        "relu, 30 % largest": lambda i, x: largest(x) if i else x,
        "relu, 2:8 channels": lambda i, x: nm_activations(x, NMPattern(2, 8), 2) if i else x,
    }
    rows = {
        name: measure(network, data, temporal=False, transform=rule) for name, rule in rules.items()
    }
    side = data.frames.shape[-1]
    coded = delta_network(small_cnn(side), (1, side, side), method="dal")
    # the head's classes need not be ten
    for ours, theirs in zip(coded.layers, network.layers, strict=True):
        ours.product, ours.bias = theirs.product, theirs.bias
    coded.entry = Quantiser((1, side, side), "layer", 1 / 255)
    with torch.no_grad():
        for i in range(len(coded.layers) - 1):
            q = coded.layer(i).quantiser
            assert q is not None
            q.threshold.fill_(float(inside[i + 1].max()) / 255)
    rows["relu, deltas of 8-bit codes"] = measure(coded, data, temporal=True)
    return rows


def dense_macs(network: DeltaNet, shape: tuple[int, ...]) -> list[int]:
    """Multiply-accumulates of a frame without a zero, a layer; borders exact."""
    with torch.no_grad():
        stages = network.stages(torch.ones(1, 1, *shape))[:-1]
    return [network.layer(i).macs(torch.ones_like(x)) for i, x in enumerate(stages)]


Counts = tuple[int, NDArray, NDArray, NDArray, list[int]]


def _counts(network: DeltaNet, found: Sequence[Tensor], right: NDArray, temporal: bool) -> Counts:
    """Frames right; a layer: non-zeros, non-zeros of later frames, products; elements a frame."""
    used = [deltas(x) if temporal else x for x in found]
    return (
        int(right.sum()),
        np.array([int((x != 0).sum()) for x in used]),
        np.array([int((x[:, 1:] != 0).sum()) for x in used]),
        np.array([network.layer(i).macs(x) for i, x in enumerate(used)]),
        [x[0, 0].numel() for x in used],
    )


def _mean(parts: Sequence[Counts], clips: int, steps: int) -> Measured:
    frames = clips * steps
    nonzeros = np.sum([p[1] for p in parts], 0) / frames
    later = np.sum([p[2] for p in parts], 0) / (clips * (steps - 1))
    macs = np.sum([p[3] for p in parts], 0) / frames
    return Measured(
        sum(p[0] for p in parts) / frames,
        (nonzeros / parts[0][4]).tolist(),
        nonzeros.tolist(),
        macs.tolist(),
        later.tolist(),
    )
