"""Golden resizing: nearest and linear, one axis after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from hwsim.models.network import Node
from hwsim.models.ops import Context, Inputs, attr_ints, operator

__all__: list[str] = []

_ROUNDINGS: dict[str, Callable[[NDArray], NDArray]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda v: np.ceil(v - 0.5),
    "round_prefer_ceil": lambda v: np.floor(v + 0.5),
}
"""ONNX's `nearest_mode`."""

_TRANSFORMS = (
    "align_corners",
    "asymmetric",
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
)
"""ONNX's `coordinate_transformation_mode`, those that are computed."""


@operator("Resize")
def _resize(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x = inputs[0]
    mode = str(node.attrs.get("mode", "nearest"))
    transform = str(node.attrs.get("coordinate_transformation_mode", "half_pixel"))
    if mode not in ("nearest", "linear") or transform not in _TRANSFORMS:
        raise ValueError(f"{node.name}: Resize {mode} with {transform} is not supported")
    if node.attrs.get("antialias", 0):
        raise ValueError(f"{node.name}: Resize with antialias is not supported")
    rounding = _ROUNDINGS[str(node.attrs.get("nearest_mode", "round_prefer_floor"))]
    for axis, size, scale in _targets(node, x.shape, inputs):
        length = x.shape[axis]
        if size == length and scale == 1:
            continue
        where = _coordinates(transform, length, size, scale)
        if mode == "nearest":
            index = np.clip(rounding(where), 0, length - 1).astype(np.int64)
            x = np.take(x, index, axis=axis)
            continue
        low = np.floor(where)
        share = (where - low).astype(np.float32).reshape(-1, *(1,) * (x.ndim - axis - 1))
        below, above = (
            np.take(x, np.clip(low + step, 0, length - 1).astype(np.int64), axis=axis)
            for step in (0, 1)
        )
        x = below * (1 - share) + above * share
    return [x]


def _targets(node: Node, shape: tuple[int, ...], inputs: Inputs) -> list[tuple[int, int, float]]:
    """(axis, output size, scale) of every axis named.

    Raises:
        ValueError: neither scales nor sizes are given, or not one for every axis.
    """
    given = [inputs[i] if len(inputs) > i else None for i in (2, 3)]
    scales, sizes = (None if g is None or not np.size(g) else np.ravel(g) for g in given)
    axes = [a % len(shape) for a in attr_ints(node, "axes", range(len(shape)))]
    values = sizes if sizes is not None else scales
    if values is None:
        raise ValueError(f"{node.name}: Resize needs scales or sizes")
    if len(values) != len(axes):
        raise ValueError(
            f"{node.name}: Resize needs {len(axes)} scales or sizes, but got {len(values)}"
        )
    if sizes is None:
        pairs = [(a, float(v)) for a, v in zip(axes, values, strict=True)]
        return [(a, int(np.floor(shape[a] * v)), v) for a, v in pairs]
    ratios = [int(v) / shape[a] for a, v in zip(axes, values, strict=True)]
    policy = str(node.attrs.get("keep_aspect_ratio_policy", "stretch"))
    if policy == "stretch":
        return [(a, int(v), r) for a, v, r in zip(axes, values, ratios, strict=True)]
    common = min(ratios) if policy == "not_larger" else max(ratios)
    return [(a, int(np.floor(common * shape[a] + 0.5)), common) for a in axes]


def _coordinates(transform: str, length: int, size: int, scale: float) -> NDArray:
    """Where each of `size` outputs lies on an axis of `length` inputs."""
    at = np.arange(size)
    if transform == "asymmetric":
        return at / scale
    if transform == "align_corners":
        return at * (length - 1) / (size - 1) if size > 1 else np.zeros(size)
    if transform == "pytorch_half_pixel" and size == 1:
        return np.zeros(1)
    where = (at + 0.5) / scale - 0.5
    if transform == "half_pixel_symmetric":
        where = where + length / 2 * (1 - size / (scale * length))
    return where
