"""The masks of a network's layers on a real input: which activations and weights are zero.

The network runs in float32 (`hwsim.models.forward`); what ReLU or a threshold made zero is skipped.
Convolutions and products with a constant matrix are layers; products of two activations are not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hwsim.models.forward import forward
from hwsim.models.masks import MaskedLayer
from hwsim.models.network import Network, Node
from hwsim.models.ops_linear import window_parameters

__all__ = ["network_masks"]


def network_masks(network: Network, inputs: Mapping[str, NDArray]) -> list[list[MaskedLayer]]:
    """Layers with their masks, in order, for each entry of the batch.

    A matrix product's rows are pixels of one column; rows of a batch of one are not split.

    Args:
        network: its weights are constants.
        inputs: an array for every input; the first axis is the batch.

    Raises:
        ValueError: as `forward`, a convolution of three or more dimensions or with dilation, or
            no layer at all.
    """
    values = forward(network, inputs, keep=True)
    batch = next(iter(inputs.values())).shape[0]
    found: list[list[MaskedLayer]] = [[] for _ in range(batch)]
    for node in network.nodes:
        if node.op == "Conv" and node.inputs[1] in network.parameters:
            x = values[node.inputs[0]]
            for index, layers in enumerate(found):
                layers.append(_conv(node, x[index], network.value(node.inputs[1])))
        elif node.op in ("Gemm", "MatMul") and node.inputs[1] in network.parameters:
            w = network.value(node.inputs[1])
            if node.op == "Gemm" and node.attrs.get("transB", 0):
                w = w.T
            if w.ndim != 2 or node.attrs.get("transA", 0):
                continue
            rows = values[node.inputs[0]].reshape(-1, w.shape[0])
            if len(rows) % batch:
                raise ValueError(
                    f"{node.name}: {len(rows)} rows must be shared by {batch} entries of the batch"
                )
            for layers, mine in zip(found, np.split(rows, batch), strict=True):
                layers.append(_product(node, mine, w))
    if not found or not found[0]:
        raise ValueError(f"{network.name} has no convolution or product with constant weights")
    return found


def _conv(node: Node, x: NDArray, w: NDArray) -> MaskedLayer:
    """A one-dimensional convolution is one of height 1."""
    rank = w.ndim - 2
    if rank not in (1, 2):
        raise ValueError(f"{node.name}: a convolution must have 1 or 2 dimensions, but got {rank}")
    window = window_parameters(node, x.shape[1:], w.shape[2:])
    if any(d != 1 for d in window.dilations):
        raise ValueError(f"{node.name}: dilation must be 1, but got {window.dilations}")
    strides, pads = tuple(window.strides), tuple(window.pads)
    if rank == 1:
        x, w = x[:, None], w[:, :, None]
        strides, pads = (1, *strides), ((0, 0), *pads)
    return MaskedLayer(
        node.name,
        x != 0,
        w != 0,
        strides=(int(strides[0]), int(strides[1])),
        pads=(pads[0], pads[1]),
        groups=int(node.attrs.get("group", 1)),
    )


def _product(node: Node, rows: NDArray, w: NDArray) -> MaskedLayer:
    return MaskedLayer(node.name, (rows != 0).T[:, :, None], (w != 0).T[:, :, None, None])
