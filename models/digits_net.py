"""A digits classifier in integers for a board: an MLP 64-64-32-10, every layer pruned 2:8.

Trained by `hwsim.models.digits` in float32 and quantised here; the weights in `digits_net.npz` are
what `python -m hwsim.models.digits_net` makes again, which also prints the accuracies.

The arithmetic, all of it in integers:
    x: the image's pixels 0..16 as int8, exact
    z = x W + bias: int8 x int8 products summed in int32, W symmetric with one scale a layer
    x of the next layer = min(127, (max(z, 0) * multiplier + 2^(shift-1)) >> shift)
The last z are the logits. The accelerator computes x W; bias, ReLU and requantisation are the
host's, who calls `infer` with the accelerator as `product`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwsim.models import digits
from hwsim.models.formats import INT8
from hwsim.models.gemm import gemm_compact
from hwsim.models.nm import Compact, NMPattern, compress

__all__ = [
    "LAYERS",
    "PATTERN",
    "Layer",
    "Product",
    "accuracy",
    "images",
    "infer",
    "packed",
    "product",
    "quantised",
    "requantise",
    "shipped",
]

LAYERS = ("fc1", "fc2", "fc3")
"""In order."""

PATTERN = NMPattern(2, 8)
"""Of every layer, along k."""

_MULTIPLIER_BITS = 15
"""Not given; chosen because a product with an int32 then stays far below 2^63."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer as the hardware and the host use it.

    Attributes:
        name: of `LAYERS`.
        weights: B as int8 [k, n], compact along k.
        bias: int32 [n], in units of a product.
        multiplier, shift: requantisation of this layer's results; both 0 in the last layer.
    """

    name: str
    weights: Compact
    bias: NDArray[np.int32]
    multiplier: int
    shift: int


Product = Callable[[Layer, NDArray[np.int8]], NDArray[np.int32]]
"""int8 A[m, k] and a layer's B[k, n] to int32 Z[m, n]."""


def images() -> tuple[NDArray[np.int8], NDArray[np.int64]]:
    """The 360 images held out, int8 [360, 64] in 0..16, and their labels.

    They are the last of the set, written by people of whom no image was trained on.

    Raises:
        ValueError: scikit-learn is not installed.
    """
    x, labels = digits.test_images("digits_mlp")
    return np.rint(x * 16).astype(np.int8), labels


@lru_cache
def shipped() -> tuple[Layer, ...]:
    """The layers in the package."""
    stored = np.load(io.BytesIO((resources.files("hwsim.models") / "digits_net.npz").read_bytes()))
    return _layers(dict(stored))


def product(layer: Layer, a: NDArray[np.int8]) -> NDArray[np.int32]:
    """The golden product."""
    return gemm_compact(a, layer.weights, INT8)


def infer(
    x: NDArray[np.int8], product: Product = product, layers: tuple[Layer, ...] | None = None
) -> NDArray[np.int32]:
    """Logits int32 [m, 10] of images int8 [m, 64].

    Args:
        x: pixels 0..16.
        product: the golden one, or an accelerator.
        layers: the shipped ones when None.

    Raises:
        ValueError: the images have another shape or type.
    """
    if x.dtype != np.int8 or x.ndim != 2 or x.shape[1] != 64:
        raise ValueError(f"images must be int8 [m, 64], but got {x.dtype} {list(x.shape)}")
    for layer in shipped() if layers is None else layers:
        z = product(layer, x) + layer.bias
        if layer.shift:
            x = requantise(z, layer)
    return z


def requantise(z: NDArray[np.int32], layer: Layer) -> NDArray[np.int8]:
    """ReLU and scaling of a layer's results to the next one's activations, 0..127.

    Halves round up.
    """
    alive = np.maximum(z, 0).astype(np.int64)
    scaled = (alive * layer.multiplier + (1 << layer.shift - 1)) >> layer.shift
    return np.minimum(scaled, 127).astype(np.int8)


def accuracy(logits: NDArray, labels: NDArray) -> float:
    """Share of images whose largest logit is the label's; of equal ones the first counts."""
    return float((logits.argmax(1) == labels).mean())


def quantised(weights: digits.Weights, calibration: NDArray[np.float32]) -> dict[str, NDArray]:
    """Arrays of `digits_net.npz` from float32 weights.

    A layer's weight scale is its largest magnitude / 127, that of its activations the largest of
    the calibration images / 127.

    Args:
        weights: `fc1.weight` [n, k], `fc1.bias` [n], ...
        calibration: images [m, 64] in 0..1.
    """
    stored: dict[str, NDArray] = {}
    x = calibration
    scale_x = 1 / 16  # pixels are 0..16
    for name in LAYERS:
        w, b = weights[f"{name}.weight"].T, weights[f"{name}.bias"]
        scale_w = float(np.abs(w).max()) / 127
        x = np.maximum(x @ w + b, 0)
        scale_z = scale_x * scale_w
        stored[f"{name}.weight"] = np.rint(w / scale_w).astype(np.int8)
        stored[f"{name}.bias"] = np.rint(b / scale_z).astype(np.int32)
        scale_x = float(x.max()) / 127
        last = name == LAYERS[-1]
        stored[f"{name}.scale"] = np.array([0, 0] if last else _ratio(scale_z / scale_x), np.int32)
    return stored


def packed(seed: int = 1) -> tuple[dict[str, NDArray], dict[str, float]]:
    """Train, prune and quantise: the arrays of `digits_net.npz`, and accuracies by name.

    Accuracies on the images held out: `dense`, the same network trained unpruned; `sparse`, pruned,
    float32; `int8`, as shipped.

    Raises:
        ValueError: scikit-learn is not installed.
    """
    _, dense = digits.train("digits_mlp", seed=seed, pattern=NMPattern(1, 1), dense_layers=0)
    weights, sparse = digits.train("digits_mlp", seed=seed, pattern=PATTERN, dense_layers=0)
    pixels, _ = digits.digits_data()
    held, labels = images()
    stored = quantised(weights, pixels[: -len(held)].reshape(-1, 64))
    found = accuracy(infer(held, layers=_layers(stored)), labels)
    return stored, {"dense": dense, "sparse": sparse, "int8": found}


def _layers(stored: Mapping[str, NDArray]) -> tuple[Layer, ...]:
    return tuple(
        Layer(
            name=name,
            weights=compress(stored[f"{name}.weight"], PATTERN.n, PATTERN.m),
            bias=stored[f"{name}.bias"],
            multiplier=int(stored[f"{name}.scale"][0]),
            shift=int(stored[f"{name}.scale"][1]),
        )
        for name in LAYERS
    )


def _ratio(value: float) -> tuple[int, int]:
    """(multiplier, shift) with multiplier / 2^shift nearest to value, multiplier of 15 bits."""
    shift = 0
    while round(value * (1 << shift + 1)) < 1 << _MULTIPLIER_BITS:
        shift += 1
    return round(value * (1 << shift)), shift


def _main() -> None:
    stored, accuracies = packed()
    np.savez_compressed(Path(__file__).with_name("digits_net.npz"), **stored)  # type: ignore[arg-type]
    for name, value in accuracies.items():
        print(f"{name}: {value:.4f} of the images held out")


if __name__ == "__main__":
    _main()
