"""The backward half of a training step: gradients from the loss back to the first layer.

Every tensor's gradient is written by a handle, the items of the work list whose results it is. What
is done on the way out (masks, sums of batch norms, adding what other readers contributed) is
attached to these items as bits an output.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from hwsim.models.backward_products import activation_gradients, input_gradient, weight_gradient
from hwsim.models.lowering import OPERATIONS, vector_of
from hwsim.models.network import Node
from hwsim.models.ops import attr_ints
from hwsim.models.training_graph import (
    ARITHMETIC,
    MAP_BITS,
    MASKED,
    POINTWISE,
    ROWS,
    SMOOTH,
    Handle,
    TrainingGraph,
    renames,
)
from hwsim.models.work import Gemm, Update, Vector

__all__ = ["lower_backward"]


def lower_backward(graph: TrainingGraph) -> None:
    """Append loss, BP, WU and updates to the forward work of `graph`.

    Raises:
        ValueError: a layer whose gradient is not described.
    """
    for name in graph.network.outputs:
        if graph.needs_gradient(name):
            elements = graph.size(name)
            _contribute(graph, name, graph.add(_loss(name, elements)))
    for node in reversed(graph.network.nodes):
        _backward(graph, node)


def _loss(name: str, elements: int) -> Vector:
    return Vector(
        layer=f"loss.{name}",
        stage="BP",
        op="SoftmaxCrossEntropy",
        elements_in=elements,
        elements_out=elements,
        operations=OPERATIONS["Softmax"] * elements + elements,
        lane_steps=2 * elements,  # sums along a row first
    )


def _backward(graph: TrainingGraph, node: Node) -> None:
    # a node with several outputs (Split) is handled by those of them that have a gradient
    arrived = [name for name in map(graph.name, node.outputs) if name in graph.grad]
    others = [] if node.name in graph.gemms else [n for n in graph.trained(node) if graph.ends(n)]
    if not arrived:
        return
    if node.name in graph.gemms:
        _product(graph, node)
    elif renames(node):
        data = graph.data(node)
        if data and graph.name(data[0]) not in arrived and graph.needs_gradient(data[0]):
            _pass(graph, node)  # an Expand: sums what it repeated
    else:
        _element_wise(graph, node, *graph.grad[arrived[0]])
    if others:
        graph.add(
            Update(
                layer=node.name,
                op=node.op,
                weights=0,
                others=sum(graph.size(name) for name in others),
            )
        )


def _element_wise(graph: TrainingGraph, node: Node, handle: Handle, shared: bool) -> None:
    """On the way out of what wrote the gradient `handle`, or a pass of its own.

    A gradient that another tensor shares is stored as it is beside what is made of it.
    """
    data = [name for name in graph.data(node) if graph.needs_gradient(name)]
    if not data:
        return
    same = all(graph.size(name) == graph.size(node.outputs[0]) for name in data)
    linear = node.op in ("Add", "Sub") or (node.op in ARITHMETIC and len(graph.data(node)) == 1)
    if node.op in MASKED or node.op in SMOOTH:
        read = MASKED.get(node.op, MAP_BITS)
        graph.attach(handle, read=read, write=MAP_BITS if shared else 0)
        _alias(graph, data[0], handle)
    elif node.op == "BatchNormalization":
        graph.attach(handle, read=MAP_BITS)  # the stored map, for the two sums
        _pass(graph, node, kept=graph.size(data[0]))
    elif same and linear:
        for name in data:
            _alias(graph, name, handle, shared=shared or len(data) > 1)
    else:
        kept = 0
        if node.op in ROWS or node.op in POINTWISE:
            kept = graph.size(data[0])
        elif node.op in ("Mul", "Div"):
            kept = sum(graph.size(name) for name in graph.data(node))
        _pass(graph, node, kept=kept, times=2 if node.op in ROWS else 1)


def _product(graph: TrainingGraph, node: Node) -> None:
    forward, data = graph.gemms[node.name][0], graph.data(node)
    if node.op == "ConvTranspose":  # dY of the sums is gathered back into columns
        graph.add(
            Vector(
                layer=f"{node.name}.gather",
                stage="BP",
                op=node.op,
                elements_in=graph.size(node.outputs[0]),
                elements_out=forward.m * forward.n * forward.count,
                operations=0,
                lane_steps=0,
            )
        )
    if not forward.weights:
        if forward.conv is not None:
            raise ValueError(f"training of convolution {forward.layer} needs constant weights")
        for name, gemm in zip(node.inputs[:2], activation_gradients(forward), strict=True):
            if graph.is_trained(name):
                graph.add(replace(gemm, stage="WU"))
                _update(graph, node, forward, [], [name])
            elif graph.needs_gradient(name):
                _contribute(graph, name, graph.add(gemm))
        return
    backward: list[Gemm] = []
    if graph.needs_gradient(data[0]):
        backward, missing = input_gradient(forward)
        zero = Vector(
            layer=f"{node.name}.zero",
            stage="BP",
            op=node.op,
            elements_in=0,
            elements_out=missing,
            operations=0,
            lane_steps=0,
        )
        _contribute(graph, data[0], graph.add(*backward, *([zero] if missing else [])))
    if graph.is_trained(node.inputs[1]):
        graph.add(weight_gradient(forward))
        _update(graph, node, forward, backward, graph.trained(node))


def _update(
    graph: TrainingGraph, node: Node, forward: Gemm, backward: list[Gemm], names: list[str]
) -> None:
    sizes = {name: graph.size(name) for name in names if graph.ends(name)}
    if not sizes:
        return  # shared with an earlier layer, whose update comes later
    weights = sum(size for name, size in sizes.items() if name in node.inputs[:2])
    graph.add(
        Update(
            layer=node.name,
            op=node.op,
            weights=weights,
            others=sum(sizes.values()) - weights,
            forward=(forward,),
            backward=tuple(backward),
        )
    )


def _pass(graph: TrainingGraph, node: Node, *, kept: int = 0, times: int = 1) -> None:
    """From the gradients of a node's outputs, and `kept` elements of maps, to its inputs'."""
    data = [name for name in graph.data(node) if graph.needs_gradient(name)]
    taken = sum(graph.size(o) for o in node.outputs if graph.name(o) in graph.grad)
    made = sum(graph.size(name) for name in data)
    still = not vector_of(graph.network, node, set(), {}).operations  # data only moves
    steps = 0 if still else max(taken, made)
    window = prod(attr_ints(node, "kernel_shape", ())) if node.op == "MaxPool" else 1
    item = Vector(
        layer=node.name,
        stage="BP",
        op=node.op,
        elements_in=taken + kept,
        elements_out=made,
        operations=2 * OPERATIONS.get(node.op, 1) * steps,
        lane_steps=times * steps,
        read_bits=(window - 1).bit_length() * taken,
    )
    handle = graph.add(item)
    for name in data:
        _contribute(graph, name, handle)


def _contribute(graph: TrainingGraph, name: str, handle: Handle) -> None:
    """Gradient of `name` from new items; they add what is there already on the way out."""
    root = graph.name(name)
    if root in graph.grad:
        graph.attach(handle, read=MAP_BITS)
    graph.grad[root] = handle, False


def _alias(graph: TrainingGraph, name: str, handle: Handle, *, shared: bool = False) -> None:
    """Gradient of `name` is one that exists; if there is another, a pass adds them."""
    root = graph.name(name)
    if root not in graph.grad:
        graph.grad[root] = handle, shared
        return
    elements = graph.size(name)
    item = Vector(
        layer=f"{name}.sum",
        stage="BP",
        op="Add",
        elements_in=2 * elements,
        elements_out=elements,
        operations=elements,
        lane_steps=elements,
    )
    graph.grad[root] = graph.add(item), False
