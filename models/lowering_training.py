"""From a network to the work of one training step: forward, backward, weight gradients, updates.

A step is the forward pass in training mode (batch norm normalises with the statistics of the
batch), the loss, then for every layer in reverse order BP (the gradient of its input), WU (the
gradient of its weights) and the update. What element-wise work is; the reasons are in
docs/decisions/0010-training-phase.md:

- A pass counts its arithmetic operations, a lane one a cycle, as in inference. `lane_steps` counts
  the elements of its largest tensor once, twice where sums along a row come first (softmax, layer
  norm; the row stays on chip): the cycles of a lane that does all operations in a pipeline.
- What needs no sum over other elements and reads a map that is just leaving the array or another
  pass is done on the way out and costs its traffic only: bias, activation functions and their
  masks, adding gradients of a map with several readers, the sums of a batch norm both ways.
- Batch norm is two passes in all: forward it normalises the stored map, with a residual and the
  activation behind it in the same pass; backward it turns the gradient of the normalised map into
  that of the stored one.
- Kept for the backward pass: inputs of products and of batch norms as they are in DRAM anyway, one
  bit of mask an element of a ReLU, the index of the winner of a max pooling.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from hwsim.models.lowering import OPERATIONS, products, vector_of
from hwsim.models.lowering_backward import lower_backward
from hwsim.models.network import Network, Node
from hwsim.models.ops import attr_ints
from hwsim.models.training_graph import (
    ARITHMETIC,
    MAP_BITS,
    MASKED,
    POINTWISE,
    ROWS,
    SMOOTH,
    TrainingGraph,
    renames,
)
from hwsim.models.work import Gemm, Vector, Work

__all__ = ["kept_bits", "lower_training"]


def lower_training(network: Network) -> list[Work]:
    """One training step in the order in which it runs, for the batch the network was built with.

    Raises:
        ValueError: an operator that cannot be trained here, such as a recurrent layer.
    """
    return _lower(network).work


def kept_bits(network: Network) -> dict[str, int]:
    """Bits that each tensor keeps in DRAM from FF until its BP or WU: maps, masks, indices.

    Raises:
        ValueError: as `lower_training`.
    """
    return _lower(network).kept


def _lower(network: Network) -> TrainingGraph:
    graph = TrainingGraph(network)
    for node in network.nodes:
        _forward(graph, node)
    lower_backward(graph)
    return graph


def _forward(graph: TrainingGraph, node: Node) -> None:
    if node.op in ("LSTM", "GRU", "RNN"):
        raise ValueError(
            f"training of recurrent layers is not modelled, but {node.name} is one ({node.op})"
        )
    gemms = products(graph.network, node)
    if gemms:
        _product(graph, node, gemms)
    elif renames(node):
        pass
    elif node.op in MASKED or node.op in SMOOTH:
        _activation(graph, node)
    elif not (node.op in ARITHMETIC and _joined(graph, node)):
        _pass(graph, node)


def _product(graph: TrainingGraph, node: Node, gemms: list[Gemm]) -> None:
    if gemms[0].weights and not any(g[0].weights for g in graph.gemms.values()):
        gemms = [replace(gemm, first=True) for gemm in gemms]
    graph.gemms[node.name] = gemms
    graph.add(*gemms)
    for name in graph.data(node):
        graph.keep(name)
    if node.op == "ConvTranspose":
        taps = gemms[0].m * gemms[0].n * gemms[0].count
        graph.add(
            Vector(
                layer=f"{node.name}.scatter",
                op=node.op,
                elements_in=taps,
                elements_out=graph.size(node.outputs[0]),
                operations=taps,
                lane_steps=taps,
            )
        )
    last = len(graph.work) - 1
    graph.open[graph.name(node.outputs[0])] = last, isinstance(graph.work[last], Vector)


def _activation(graph: TrainingGraph, node: Node) -> None:
    """On the way out of what makes its input, with its mask or the value it was applied to."""
    out = graph.name(node.outputs[0])
    elements = graph.size(out)
    handle, is_pass = _on_the_way(graph, node)
    bits = MASKED.get(node.op, 0)
    if not bits and handle is not None:
        bits = MAP_BITS
    elif not bits:
        graph.keep(node.inputs[0])
    bits *= out in graph.learned
    graph.keep_bits(f"{node.name}.mask", bits * elements)
    if handle is None:
        _emit(graph, node, elements, elements, write_bits=bits * elements)
        return
    graph.attach((handle,), write=bits)
    _fused(graph, node, handle)
    graph.open[out] = handle, is_pass


def _joined(graph: TrainingGraph, node: Node) -> bool:
    """Whether arithmetic is done on the way out of what makes an input.

    With a constant always; the sum of two maps in the pass that makes the later one.
    """
    handle, is_pass = _on_the_way(graph, node)
    data = graph.data(node)
    if handle is None or (len(data) > 1 and not (is_pass and node.op in ("Add", "Sub"))):
        return False
    elements = graph.size(node.outputs[0])
    graph.join(handle, 0, sum(graph.size(name) for name in data) - elements)
    _fused(graph, node, handle)
    graph.open[graph.name(node.outputs[0])] = handle, is_pass
    return True


def _pass(graph: TrainingGraph, node: Node) -> None:
    """A pass of its own over its inputs."""
    data, elements = graph.data(node), graph.size(node.outputs[0])
    taken = sum(graph.size(name) for name in data)
    still = not vector_of(graph.network, node, set(), {}).operations  # data only moves
    steps, write = (0 if still else max(taken, elements)), 0
    if node.op in ROWS:
        steps = 2 * elements
        graph.keep(node.outputs[0] if "oftmax" in node.op else data[0])
    elif node.op == "BatchNormalization" or node.op in POINTWISE:
        graph.keep(data[0])
    elif node.op in ARITHMETIC:
        steps = elements
        if node.op in ("Mul", "Div") and len(data) > 1:
            for name in data:
                graph.keep(name)
    elif node.op == "MaxPool":
        window = prod(attr_ints(node, "kernel_shape", ()))
        write = (window - 1).bit_length() * elements * graph.needs_gradient(node.outputs[0])
        graph.keep_bits(f"{node.name}.mask", write)
    _emit(graph, node, taken, steps, write_bits=write)


def _on_the_way(graph: TrainingGraph, node: Node) -> tuple[int | None, bool]:
    """The item that `node` can be done behind: the last one to make one of its inputs, if no other
    node reads that input."""
    names = [graph.name(name) for name in graph.data(node)]
    made = {name: graph.open[name] for name in names if name in graph.open}
    alone = [handle for name, handle in made.items() if graph.readers[name] == 1]
    if not alone or max(alone) < max(made.values()):
        return None, False
    return max(alone)


def _emit(graph: TrainingGraph, node: Node, taken: int, steps: int, *, write_bits: int = 0) -> None:
    made = graph.size(node.outputs[0])
    item = Vector(
        layer=node.name,
        op=node.op,
        elements_in=taken,
        elements_out=made,
        operations=max(steps, OPERATIONS.get(node.op, 1) * made) if steps else 0,
        lane_steps=steps,
        write_bits=write_bits,
    )
    graph.open[graph.name(node.outputs[0])] = graph.add(item)[0], True


def _fused(graph: TrainingGraph, node: Node, handle: int) -> None:
    """A row of its own without cycles; a pass counts the operations."""
    elements = graph.size(node.outputs[0])
    operations = elements * OPERATIONS.get(node.op, 1)
    graph.join(handle, operations)
    graph.add(
        Vector(
            layer=node.name,
            op=node.op,
            elements_in=elements,
            elements_out=elements,
            operations=operations,
            fused=True,
            lane_steps=0,
        )
    )
