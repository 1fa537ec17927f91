"""SqueezeNet v1.0 pruned by Deep Compression: the network in float32, and its layers' masks.

The weights are Caffe's, `layer:w` [filters, channels, y, x] and `layer:b`, in an `.npz` file
(songhan/SqueezeNet-Deep-Compression, BSD-2); layers and sizes as in its SqueezeNet_deploy.prototxt.
Pictures are prepared as for Caffe: the largest square in the middle, resized to 227 x 227, BGR less
(104, 117, 123). The arithmetic is BLAS in float32: where a sum is zero but for rounding, ReLU's
mask may depend on the library.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.models.im2col import im2col, kernel_matrix, pad_image, windows
from hwsim.models.masks import MaskedLayer

__all__ = ["SIZE", "load_pruned", "prepare", "run"]

SIZE = 227
_MEAN = (104.0, 117.0, 123.0)
_FIRES = tuple(f"fire{i}" for i in range(2, 10))
_POOL_AFTER = ("conv1", "fire4", "fire8")

Floats = NDArray[np.float32]


def load_pruned(path: str | Path) -> dict[str, Floats]:
    """The weights by Caffe's names.

    Raises:
        ValueError: the file cannot be read or lacks a layer.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            weights = {name: file[name].astype(np.float32) for name in file.files}
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, zipfile.BadZipFile):
        raise ValueError(f"{path} is not a .npz file of numbers") from None
    for name in _names():
        if f"{name}:w" not in weights or f"{name}:b" not in weights:
            raise ValueError(f"{path} must hold SqueezeNet's weights, but has no {name}:w and :b")
    return weights


def prepare(picture: NDArray[Any]) -> Floats:
    """float32[3, 227, 227] of a picture uint8[height, width, 3], RGB.

    Raises:
        ValueError: another shape or type; scikit-image, which resizes, is not installed.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(
            f"a picture must be uint8 [height, width, 3], but got {picture.dtype} {picture.shape}"
        )
    try:
        from skimage.transform import resize
    except ImportError:
        raise ValueError("resizing pictures needs scikit-image: pip install scikit-image") from None
    side = min(picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    square = picture[top : top + side, left : left + side]
    small = resize(square, (SIZE, SIZE), preserve_range=True)
    bgr = small[:, :, ::-1] - np.array(_MEAN)
    return np.ascontiguousarray(bgr.transpose(2, 0, 1), np.float32)


def run(weights: Mapping[str, Floats], image: Floats) -> tuple[list[MaskedLayer], Floats]:
    """All layers with their real masks, in order, and the 1000 scores (averages before softmax).

    Args:
        weights: of `load_pruned`.
        image: of `prepare`.
    """
    layers: list[MaskedLayer] = []

    def conv(name: str, x: Floats, *, stride: int = 1, pad: int = 0) -> Floats:
        w = weights[f"{name}:w"]
        layer = MaskedLayer(
            name, x != 0, w != 0, strides=(stride, stride), pads=((pad, pad), (pad, pad))
        )
        layers.append(layer)
        view = windows(
            pad_image(x[None], layer.pads), w.shape[2:], layer.strides, (1, 1), layer.out
        )
        z = im2col(view) @ kernel_matrix(w) + weights[f"{name}:b"]
        return np.maximum(z, 0).T.reshape(len(w), *layer.out)

    x = _pool(conv("conv1", image, stride=2))
    for fire in _FIRES:
        squeezed = conv(f"{fire}/conv1x1_1", x)
        one = conv(f"{fire}/conv1x1_2", squeezed)
        three = conv(f"{fire}/conv3x3_2", squeezed, pad=1)
        x = np.concatenate([one, three])
        if fire in _POOL_AFTER:
            x = _pool(x)
    scores = conv("conv_final", x, pad=1)
    return layers, scores.mean(axis=(1, 2))


def _names() -> list[str]:
    each = ("conv1x1_1", "conv1x1_2", "conv3x3_2")
    return ["conv1", *(f"{fire}/{part}" for fire in _FIRES for part in each), "conv_final"]


def _pool(x: Floats) -> Floats:
    """Maximum of 3 x 3, stride 2, the last window cut at the edge (Caffe's ceil mode)."""
    out = tuple(-(-(size - 3) // 2) + 1 for size in x.shape[1:])
    room = [(0, (o - 1) * 2 + 3 - size) for o, size in zip(out, x.shape[1:], strict=True)]
    padded = np.pad(x, ((0, 0), *room), constant_values=-np.inf)
    return windows(padded[None], (3, 3), (2, 2), (1, 1), out)[0].max(axis=(-1, -2))
