"""From a network to the work that an accelerator does: matrix products and element-wise passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

from hwsim.models.network import Network, Node
from hwsim.models.ops import attr_ints
from hwsim.models.ops_linear import WindowParameters, conv_transpose_pads, window_parameters
from hwsim.models.ops_recurrent import check_recurrent
from hwsim.models.work import ConvGeometry, Gemm, Vector, Work

__all__ = ["FREE", "FUSABLE", "OPERATIONS", "lower", "products", "vector_of"]

FREE = {
    "Constant",
    "Dropout",
    "Expand",
    "Flatten",
    "Identity",
    "Reshape",
    "Shape",
    "Size",
    "Squeeze",
    "Unsqueeze",
}
"""Operators that rename data or repeat an address: no work."""

FUSABLE = {"BatchNormalization", "Relu", "Clip", "LeakyRelu", "HardSwish", "HardSigmoid"}
"""Element-wise operators on one tensor, done on the way out of the product or pass before."""

_ARITHMETIC = {"Add", "Div", "Mul", "Sub"}

OPERATIONS = {"BatchNormalization": 2, "Softmax": 4, "LayerNormalization": 6, "Gelu": 8}
"""Arithmetic operations an element where it is not one: scale and shift; maximum, subtract,
exponent and divide; two passes of mean and variance, scale and shift; the erf polynomial."""

_GATES = {"LSTM": 13, "GRU": 11}
"""Operations a cell and step. LSTM: 4 sums of projections, 5 sigmoids and tanhs, 3 products, 1 sum.
GRU: 3 sums, 3 sigmoids and tanhs, 1 product with the reset gate, 4 to mix old and new state."""


def lower(network: Network) -> list[Work]:
    """The network's work in order, for the batch that it was built with.

    Raises:
        ValueError: an operator that does products has a form that cannot be mapped.
    """
    work: list[Work] = []
    first = True
    fusable: set[str] = set()  # tensors that a product or an element-wise pass puts out
    readers: dict[str, int] = {}
    for node in network.nodes:
        for name in node.inputs:
            readers[name] = readers.get(name, 0) + 1
    for node in network.nodes:
        gemms = products(network, node)
        if gemms:
            if first and gemms[0].weights:
                gemms = [replace(g, first=True) for g in gemms]
                first = False
            work += gemms
            if node.op in _GATES:
                work.append(_gates(network, node))
            if node.op == "ConvTranspose":
                work.append(_scatter(network, node, gemms[0]))
            fusable.add(node.outputs[0])
            continue
        if node.op in FREE:
            if node.inputs and node.inputs[0] in fusable:
                fusable.add(node.outputs[0])
            continue
        vector = vector_of(network, node, fusable, readers)
        if vector.fused or node.op in _ARITHMETIC:
            fusable.add(node.outputs[0])
        work.append(vector)
    return work


def products(network: Network, node: Node) -> list[Gemm]:
    """The forward products of a node; none for an element-wise operator.

    Raises:
        ValueError: as `lower`.
    """
    shapes = network.shapes
    if node.op == "Conv":
        return [_conv(network, node)]
    if node.op == "ConvTranspose":
        batch, channels, *sizes = shapes[node.inputs[0]]
        share, *kernel = shapes[node.inputs[1]][1:]
        groups = int(node.attrs.get("group", 1))
        conv_transpose_pads(node, sizes, kernel)  # refuses forms that are not supported
        return [
            Gemm(
                layer=node.name,
                op=node.op,
                m=batch * prod(sizes),
                n=share * prod(kernel),
                k=channels // groups,
                count=groups,
                weights=node.inputs[1] in network.parameters,
            )
        ]
    if node.op == "Gemm":
        a, b = shapes[node.inputs[0]], shapes[node.inputs[1]]
        k, m = (a[0], a[1]) if node.attrs.get("transA", 0) else (a[1], a[0])
        n = b[0] if node.attrs.get("transB", 0) else b[1]
        return [
            Gemm(
                layer=node.name,
                op=node.op,
                m=m,
                n=n,
                k=k,
                weights=node.inputs[1] in network.parameters,
            )
        ]
    if node.op == "MatMul":
        return [_matmul(network, node)]
    if node.op in ("LSTM", "GRU"):
        return _recurrent(network, node)
    return []


def _conv(network: Network, node: Node) -> Gemm:
    batch, _, *sizes = network.shapes[node.inputs[0]]
    filters, inside, *kernel = network.shapes[node.inputs[1]]
    groups = int(node.attrs.get("group", 1))
    window = window_parameters(node, sizes, kernel)
    return Gemm(
        layer=node.name,
        op=node.op,
        m=batch * prod(window.out),
        n=filters // groups,
        k=prod(kernel) * inside,
        count=groups,
        weights=node.inputs[1] in network.parameters,
        conv=_geometry(batch, inside, sizes, window) if len(sizes) <= 2 else None,
    )


def _geometry(
    batch: int, channels: int, sizes: list[int], window: WindowParameters
) -> ConvGeometry:
    """A 1-D convolution is one row high."""

    def two(values: tuple[int, ...], default: int) -> tuple[int, int]:
        return (default, values[0]) if len(values) == 1 else (values[0], values[1])

    h, w = two(tuple(sizes), 1)
    kernel_h, kernel_w = two(window.kernel, 1)
    stride_h, stride_w = two(window.strides, 1)
    dilation_h, dilation_w = two(window.dilations, 1)
    out_h, out_w = two(window.out, 1)
    pads = window.pads if len(window.pads) == 2 else ((0, 0), window.pads[0])
    return ConvGeometry(
        batch=batch,
        height=h,
        width=w,
        channels=channels,
        kernel_h=kernel_h,
        kernel_w=kernel_w,
        stride_h=stride_h,
        stride_w=stride_w,
        dilation_h=dilation_h,
        dilation_w=dilation_w,
        pad_top=pads[0][0],
        pad_left=pads[1][0],
        pad_bottom=pads[0][1],
        pad_right=pads[1][1],
        out_h=out_h,
        out_w=out_w,
    )


def _matmul(network: Network, node: Node) -> Gemm:
    a, b = network.shapes[node.inputs[0]], network.shapes[node.inputs[1]]
    trained = node.inputs[1] in network.parameters
    k = a[-1]
    n = b[-1] if len(b) > 1 else 1
    rows = a[-2] if len(a) > 1 else 1
    if len(b) <= 2:
        return Gemm(layer=node.name, op=node.op, m=prod(a[:-1]) or 1, n=n, k=k, weights=trained)
    lead = prod(network.shapes[node.outputs[0]][: -2 if len(a) > 1 else -1])
    return Gemm(layer=node.name, op=node.op, m=rows, n=n, k=k, count=lead, weights=trained)


def _recurrent(network: Network, node: Node) -> list[Gemm]:
    """One product for the inputs of all steps and one a step for the state.

    A GRU that resets the state before its product (ONNX's default) needs two a step: the candidate
    waits for the reset gate.
    """
    check_recurrent(node)
    time, batch, size = network.shapes[node.inputs[0]]
    directions, gates, hidden = network.shapes[node.inputs[2]]
    trained = node.inputs[1] in network.parameters
    parts = {"recurrent": gates}
    if node.op == "GRU" and not node.attrs.get("linear_before_reset", 0):
        parts = {"recurrent": 2 * hidden, "candidate": hidden}
    inputs = Gemm(
        layer=f"{node.name}.input",
        op=node.op,
        m=time * batch,
        n=gates,
        k=size,
        count=directions,
        weights=trained,
    )
    steps = [
        Gemm(
            layer=f"{node.name}.{part}",
            op=node.op,
            m=batch,
            n=n,
            k=hidden,
            count=directions * time,
            weights=trained,
            shared=directions == 1,
        )
        for part, n in parts.items()
    ]
    return [inputs, *steps]


def _gates(network: Network, node: Node) -> Vector:
    """Element-wise work of all steps: both projections and the state in, the new state out."""
    time, batch, _ = network.shapes[node.inputs[0]]
    directions, gates, hidden = network.shapes[node.inputs[2]]
    cells = time * batch * directions * hidden
    states = 2 if node.op == "LSTM" else 1  # an LSTM's cell beside the hidden state
    return Vector(
        layer=f"{node.name}.gates",
        op=node.op,
        elements_in=cells * (2 * gates // hidden + 1),  # the old cell, or a GRU's old hidden state
        elements_out=cells * states,
        operations=cells * _GATES[node.op],
    )


def _scatter(network: Network, node: Node, gemm: Gemm) -> Vector:
    """Every product of a transposed convolution is added to the output that it falls on."""
    taps = gemm.m * gemm.n * gemm.count
    return Vector(
        layer=f"{node.name}.scatter",
        op=node.op,
        elements_in=taps,
        elements_out=prod(network.shapes[node.outputs[0]]),
        operations=taps,
    )


def vector_of(
    network: Network, node: Node, fusable: set[str], readers: Mapping[str, int]
) -> Vector:
    """The forward pass of an element-wise, pooling, normalising or data-moving node.

    Args:
        fusable: tensors that leave a product or pass on which more can be done on the way out.
        readers: how many nodes read a tensor.
    """
    inputs = [name for name in node.inputs if name]
    moving = [name for name in inputs if name not in network.parameters]
    elements_in = sum(prod(network.shapes[name]) for name in moving)
    elements_out = sum(prod(network.shapes[name]) for name in node.outputs if name)
    operations = elements_out * OPERATIONS.get(node.op, 1)
    if node.op in ("MaxPool", "AveragePool"):
        operations = elements_out * prod(attr_ints(node, "kernel_shape", ()))
    elif node.op.startswith(("Global", "Reduce")):
        operations = elements_in
    elif node.op in ("Transpose", "Concat", "Slice", "Gather", "Pad", "Split", "Tile"):
        operations = 0
    constants_only = len(moving) == 1 and node.op in FUSABLE | _ARITHMETIC
    fused = constants_only and moving[0] in fusable and readers[moving[0]] == 1
    return Vector(
        layer=node.name,
        op=node.op,
        elements_in=elements_in,
        elements_out=elements_out,
        operations=operations,
        fused=fused,
    )
