"""Two small networks really trained on scikit-learn's handwritten digits, in plain NumPy.

`digits_mlp` and `digits_cnn` of the zoo use the weights in `digits_*.npz` beside this file, trained
with their second and later layers pruned 2:4 along k: magnitude masks are taken anew from the dense
weights in every step and the gradient passes straight through. `python -m hwsim.models.digits`
trains them again (it needs scikit-learn, half a minute) and prints the accuracies.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwsim.models.im2col import im2col, kernel_matrix, windows
from hwsim.models.nm import NMPattern, nm_mask

__all__ = ["digits_data", "shipped_weights", "test_images", "train"]

PATTERN = NMPattern(2, 4)
"""Pattern of every layer but the first."""

_TEST = 360  # images held out, the last of the set
_EPOCHS = 60
_BATCH = 64
_RATE = 0.05
_MOMENTUM = 0.9
_SEED = 1

Weights = dict[str, NDArray]


def digits_data() -> tuple[NDArray, NDArray]:
    """All 1,797 images [n, 8, 8] in 0..1, float32, and their labels.

    Raises:
        ValueError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ValueError("the digits need scikit-learn: pip install 'hwsim[dev]'") from None
    data = load_digits()
    return (data.images / 16).astype(np.float32), data.target.astype(np.int64)


def test_images(name: str) -> tuple[NDArray, NDArray]:
    """The held-out images in the shape that the network takes, and their labels."""
    images, labels = digits_data()
    return _shaped(name, images[-_TEST:]), labels[-_TEST:]


@lru_cache
def shipped_weights(name: str) -> Weights:
    """The trained weights in the package."""
    with (resources.files("hwsim.models") / f"{name}.npz").open("rb") as handle:
        stored = np.load(handle)
        return {key: stored[key] for key in stored.files}


def train(
    name: str,
    *,
    seed: int = _SEED,
    epochs: int = _EPOCHS,
    pattern: NMPattern = PATTERN,
    dense_layers: int = 1,
) -> tuple[Weights, float]:
    """Train `digits_mlp` or `digits_cnn`; returns pruned weights and accuracy on held-out images.

    Momentum SGD on the cross entropy, learning rate 0.05 falling to 0 as a cosine. The first
    `dense_layers` layers are not pruned.

    Raises:
        ValueError: an unknown name, or scikit-learn is not installed.
    """
    if name not in _LAYERS:
        raise ValueError(f"name must be one of {', '.join(_LAYERS)}, but got {name!r}")
    rng = np.random.default_rng(seed)
    images, labels = digits_data()
    x, y = _shaped(name, images[:-_TEST]), labels[:-_TEST]
    dense: Weights = {}
    for layer, shape in _LAYERS[name]:
        fan_in = int(np.prod(shape[1:]))
        dense[f"{layer}.weight"] = (rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(
            np.float32
        )
        dense[f"{layer}.bias"] = np.zeros(shape[0], np.float32)
    velocity = {key: np.zeros_like(value) for key, value in dense.items()}
    steps = epochs * (len(x) // _BATCH)
    step = 0
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for at in range(0, len(x) - _BATCH + 1, _BATCH):
            pick = order[at : at + _BATCH]
            gradient = _gradient(
                name, _pruned(name, dense, pattern, dense_layers), x[pick], y[pick]
            )
            rate = np.float32(_RATE * 0.5 * (1 + np.cos(np.pi * step / steps)))
            for key, g in gradient.items():
                velocity[key] = np.float32(_MOMENTUM) * velocity[key] + g
                dense[key] = dense[key] - rate * velocity[key]
            step += 1
    weights = _pruned(name, dense, pattern, dense_layers)
    held_x, held_y = test_images(name)
    logits = _run(name, weights, held_x)[0]
    return weights, float((logits.argmax(1) == held_y).mean())


_LAYERS: dict[str, list[tuple[str, tuple[int, ...]]]] = {
    "digits_mlp": [("fc1", (64, 64)), ("fc2", (32, 64)), ("fc3", (10, 32))],
    "digits_cnn": [("conv1", (16, 1, 3, 3)), ("conv2", (32, 16, 3, 3)), ("fc", (10, 128))],
}

Backward = Callable[[NDArray], NDArray]


def _shaped(name: str, images: NDArray) -> NDArray:
    return images.reshape(len(images), -1) if name == "digits_mlp" else images[:, None]


def _pruned(name: str, dense: Weights, pattern: NMPattern, skip: int) -> Weights:
    """Masks along k: input channel innermost, as `kernel_matrix` lays a kernel out."""
    weights = dict(dense)
    for layer, shape in _LAYERS[name][skip:]:
        w = dense[f"{layer}.weight"]
        mask = nm_mask(kernel_matrix(w), pattern.n, pattern.m, 0).T
        channels_last = (shape[0], *shape[2:], shape[1])
        weights[f"{layer}.weight"] = w * np.moveaxis(mask.reshape(channels_last), -1, 1)
    return weights


def _run(name: str, weights: Weights, x: NDArray) -> tuple[NDArray, list[tuple[str, Backward]]]:
    """Logits, and for every layer what turns the gradient of its output into that of its input."""
    tape: list[tuple[str, Backward]] = []
    last = _LAYERS[name][-1][0]
    for layer, shape in _LAYERS[name]:
        w, b = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
        if len(shape) == 4:
            x = _conv(layer, w, b, x, tape)
            x = _relu(x, tape)
            x = _pool(x, tape)
        else:
            x = _linear(layer, w, b, x.reshape(len(x), -1), x.shape, tape)
            if layer != last:
                x = _relu(x, tape)
    return x, tape


def _gradient(name: str, weights: Weights, x: NDArray, y: NDArray) -> Weights:
    logits, tape = _run(name, weights, x)
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    g = shifted / shifted.sum(1, keepdims=True)
    g[np.arange(len(y)), y] -= 1
    g = (g / np.float32(len(y))).astype(np.float32)
    found: Weights = {}
    for key, backward in reversed(tape):
        if key:
            found[key] = backward(g)
        else:
            g = backward(g)
    return found


def _linear(
    layer: str,
    w: NDArray,
    b: NDArray,
    x: NDArray,
    shape: tuple[int, ...],
    tape: list[tuple[str, Backward]],
) -> NDArray:
    tape.append(("", lambda g: (g @ w).reshape(shape)))
    tape.append((f"{layer}.weight", lambda g: g.T @ x))
    tape.append((f"{layer}.bias", lambda g: g.sum(0)))
    return x @ w.T + b


def _conv(
    layer: str, w: NDArray, b: NDArray, x: NDArray, tape: list[tuple[str, Backward]]
) -> NDArray:
    batch, _, h, width = x.shape
    filters = w.shape[0]

    def columns(image: NDArray) -> NDArray:
        padded = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)))
        return im2col(windows(padded, (3, 3), (1, 1), (1, 1), (h, width)))

    def flat(g: NDArray) -> NDArray:
        return np.moveaxis(g, 1, -1).reshape(-1, filters)

    def to_kernel(g: NDArray) -> NDArray:
        k = (columns(x).T @ flat(g)).T.reshape(filters, 3, 3, -1)
        return np.moveaxis(k, -1, 1)

    def to_input(g: NDArray) -> NDArray:
        turned = np.flip(w, (2, 3)).swapaxes(0, 1)
        z = columns(g) @ kernel_matrix(turned)
        return np.moveaxis(z.reshape(batch, h, width, -1), -1, 1)

    tape.append(("", to_input))
    tape.append((f"{layer}.weight", to_kernel))
    tape.append((f"{layer}.bias", lambda g: g.sum((0, 2, 3))))
    z = columns(x) @ kernel_matrix(w) + b
    return np.moveaxis(z.reshape(batch, h, width, filters), -1, 1)


def _relu(x: NDArray, tape: list[tuple[str, Backward]]) -> NDArray:
    alive = x > 0
    tape.append(("", lambda g: g * alive))
    return x * alive


def _pool(x: NDArray, tape: list[tuple[str, Backward]]) -> NDArray:
    batch, channels, h, w = x.shape
    blocks = x.reshape(batch, channels, h // 2, 2, w // 2, 2).transpose(0, 1, 2, 4, 3, 5)
    flat = blocks.reshape(*blocks.shape[:4], 4)
    best = flat.argmax(-1)

    def backward(g: NDArray) -> NDArray:
        spread = np.zeros(flat.shape, np.float32)
        np.put_along_axis(spread, best[..., None], g[..., None], -1)
        back = spread.reshape(*blocks.shape).transpose(0, 1, 2, 4, 3, 5)
        return back.reshape(x.shape)

    tape.append(("", backward))
    return flat.max(-1)


def _main() -> None:
    for name in _LAYERS:
        weights, accuracy = train(name)
        np.savez_compressed(Path(__file__).with_name(f"{name}.npz"), **weights)  # type: ignore[arg-type]
        print(f"{name}: {accuracy:.4f} of {_TEST} held-out images, pruned {PATTERN}, seed {_SEED}")


if __name__ == "__main__":
    _main()
