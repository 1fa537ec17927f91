"""Batch-norm folding: the scale into the weights before it, the shift into the bias."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from hwsim.models.network import Network, Node, Parameter

__all__ = ["fold_batch_norm"]


def fold_batch_norm(network: Network) -> Network:
    """The network without the batch-norms that follow a product with weights nothing else reads.

    Products are Conv, ConvTranspose, and Gemm with alpha = beta = 1.

    The folded weights are w * scale / sqrt(variance + epsilon), made on demand like all others;
    the outputs are those of the original up to float32 rounding.
    """
    readers: dict[str, int] = {}
    for node in network.nodes:
        for name in node.inputs:
            readers[name] = readers.get(name, 0) + 1
    makers = {node.outputs[0]: node for node in network.nodes}
    parameters = dict(network.parameters)
    shapes = dict(network.shapes)
    changed: dict[str, Node] = {}
    dropped: set[str] = set()
    for norm in network.nodes:
        if norm.op != "BatchNormalization":
            continue
        conv = makers.get(norm.inputs[0])
        if (
            conv is None
            or not _folds(network, conv)
            or readers[conv.outputs[0]] != 1
            or conv.outputs[0] in network.outputs
            or any(n and n not in network.parameters for n in (*conv.inputs[1:], *norm.inputs[1:]))
        ):
            continue
        weight, bias = f"{conv.name}.folded.weight", f"{conv.name}.folded.bias"
        filters = network.shapes[norm.inputs[1]][0]
        parameters[weight] = Parameter(network.shapes[conv.inputs[1]], _weight(network, conv, norm))
        parameters[bias] = Parameter((filters,), _bias(network, conv, norm))
        shapes[weight], shapes[bias] = parameters[weight].shape, (filters,)
        changed[conv.name] = replace(
            conv, inputs=(conv.inputs[0], weight, bias), outputs=norm.outputs[:1]
        )
        dropped.add(norm.name)
    nodes = tuple(
        changed.get(node.name, node) for node in network.nodes if node.name not in dropped
    )
    used = {name for node in nodes for name in node.inputs}
    return replace(
        network,
        nodes=nodes,
        shapes=shapes,
        parameters={name: p for name, p in parameters.items() if name in used},
    )


def _folds(network: Network, node: Node) -> bool:
    if node.op == "Gemm":
        rows = 1  # of C, which may also be a whole matrix
        if len(node.inputs) > 2 and node.inputs[2]:
            *lead, _ = (1, *network.shapes[node.inputs[2]])
            rows = prod(lead)
        return rows == node.attrs.get("alpha", 1.0) == node.attrs.get("beta", 1.0) == 1
    return node.op in ("Conv", "ConvTranspose")


def _factor(network: Network, norm: Node) -> NDArray:
    scale, variance = network.value(norm.inputs[1]), network.value(norm.inputs[4])
    return scale / np.sqrt(variance + np.float32(norm.attrs.get("epsilon", 1e-5)))


def _weight(network: Network, conv: Node, norm: Node) -> Callable[[], NDArray]:
    def make() -> NDArray:
        w = network.value(conv.inputs[1])
        factor = _factor(network, norm)
        if conv.op == "ConvTranspose":  # [channels, filters of a group, kernel...]
            groups = int(conv.attrs.get("group", 1))
            parts = w.reshape(groups, -1, *w.shape[1:])
            shape = (groups, 1, w.shape[1], *(1,) * (w.ndim - 2))
            return (parts * factor.reshape(shape)).reshape(w.shape)
        if conv.op == "Gemm" and not conv.attrs.get("transB", 0):
            return w * factor
        return w * factor.reshape(-1, *(1,) * (w.ndim - 1))

    return make


def _bias(network: Network, conv: Node, norm: Node) -> Callable[[], NDArray]:
    def make() -> NDArray:
        shift, mean = network.value(norm.inputs[2]), network.value(norm.inputs[3])
        given = len(conv.inputs) > 2 and conv.inputs[2]
        start = network.value(conv.inputs[2]).reshape(-1) if given else np.float32(0)
        return shift + (start - mean) * _factor(network, norm)

    return make
