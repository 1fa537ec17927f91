"""Golden normalisations, in float32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hwsim.models.network import Node
from hwsim.models.ops import Context, Inputs, operator

__all__: list[str] = []


@operator("BatchNormalization")
def _batch_norm(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x, scale, bias, mean, variance = inputs[:5]
    shape = (1, -1) + (1,) * (x.ndim - 2)
    factor = scale / np.sqrt(variance + np.float32(node.attrs.get("epsilon", 1e-5)))
    return [(x - mean.reshape(shape)) * factor.reshape(shape) + bias.reshape(shape)]


@operator("LayerNormalization")
def _layer_norm(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x, scale = inputs[:2]
    axis = int(node.attrs.get("axis", -1)) % x.ndim
    axes = tuple(range(axis, x.ndim))
    mean = x.mean(axis=axes, keepdims=True)
    centred = x - mean
    variance = (centred * centred).mean(axis=axes, keepdims=True)
    deviation = np.sqrt(variance + np.float32(node.attrs.get("epsilon", 1e-5)))
    y = centred / deviation * scale
    if len(inputs) > 2 and inputs[2] is not None:
        y = y + inputs[2]
    return [y, mean, 1 / deviation]


@operator("RMSNormalization")
def _rms_norm(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x, scale = inputs[:2]
    axes = tuple(range(int(node.attrs.get("axis", -1)) % x.ndim, x.ndim))
    power = (x * x).mean(axis=axes, keepdims=True)
    return [x / np.sqrt(power + np.float32(node.attrs.get("epsilon", 1e-5))) * scale]


@operator("InstanceNormalization", "GroupNormalization")
def _group_norm(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    """Scale and bias of a channel each, or (group norm before opset 21) of a group each."""
    x, scale, bias = inputs[:3]
    batch, channels = x.shape[:2]
    groups = int(node.attrs["num_groups"]) if node.op == "GroupNormalization" else channels
    if channels % groups:
        raise ValueError(
            f"{node.name}: num_groups must divide channels, but got {groups} and {channels}"
        )
    parts = x.reshape(batch, groups, -1)
    centred = parts - parts.mean(axis=2, keepdims=True)
    variance = (centred * centred).mean(axis=2, keepdims=True)
    y = centred / np.sqrt(variance + np.float32(node.attrs.get("epsilon", 1e-5)))
    y = y.reshape(batch, scale.size, -1)
    return [(y * scale[:, None] + bias[:, None]).reshape(x.shape)]


@operator("LRN")
def _local_response(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x = inputs[0]
    size = int(node.attrs["size"])
    alpha, beta = node.attrs.get("alpha", 1e-4), node.attrs.get("beta", 0.75)
    before, after = (size - 1) // 2, size // 2
    widths = [(0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)]
    squares = np.pad(x * x, widths)
    total = sum(squares[:, i : i + x.shape[1]] for i in range(size))
    base = np.float32(node.attrs.get("bias", 1.0)) + np.float32(alpha / size) * total
    return [x / base ** np.float32(beta)]


@operator("LpNormalization")
def _lp_norm(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x = inputs[0]
    axis, p = int(node.attrs.get("axis", -1)), int(node.attrs.get("p", 2))
    size = np.abs(x) if p == 1 else x * x
    total = size.sum(axis=axis, keepdims=True)
    norm = total if p == 1 else np.sqrt(total)
    return [np.divide(x, norm, out=np.zeros_like(x), where=norm != 0)]
