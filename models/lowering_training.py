"""From a network to the work of one training step: forward, backward, weight gradients, updates.

A step is the forward pass in training mode (batch norm normalises with the statistics of the
batch), the loss, then for every layer in reverse order BP (the gradient of its input), WU (the
gradient of its weights) and the update. What element-wise work costs, decided before any result was
looked at; the reasons are in docs/decisions/0010-training-phase.md:

- A lane is pipelined and takes one element a cycle, whatever a pass computes on it. A pass counts
  the elements of its largest tensor once; what needs sums along a row first (softmax, layer norm)
  counts them twice, and the row stays on chip in between.
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

from collections import Counter
from dataclasses import replace
from math import prod

from hwsim.models.backward_products import activation_gradients, input_gradient, weight_gradient
from hwsim.models.lowering import FREE, FUSABLE, OPERATIONS, products, vector_of
from hwsim.models.network import Network, Node
from hwsim.models.ops import attr_ints
from hwsim.models.work import Gemm, Update, Vector, Work

__all__ = ["kept_bits", "lower_training"]

_MASKED = {"Relu": 1, "Clip": 1, "LeakyRelu": 1, "Dropout": 1}
"""Operators whose derivative takes so many bits an element to know."""

_SMOOTH = FUSABLE - {"BatchNormalization"} - set(_MASKED)
"""Activation functions done on the way out whose derivative needs what they were applied to."""

_POINTWISE = {
    "Gelu",
    "Sigmoid",
    "Tanh",
    "Erf",
    "Exp",
    "Log",
    "Sqrt",
    "Softplus",
    "Neg",
    "Abs",
    "Pow",
}
_ROWS = {"Softmax", "LogSoftmax", "LayerNormalization", "RMSNormalization", "InstanceNormalization",
         "GroupNormalization"}  # fmt: skip
_ARITHMETIC = {"Add", "Sub", "Mul", "Div"}

_BITS = 16
"""Of a gradient or map that is read or written beside a product: FP16, the engine's only training
format."""

Handle = tuple[int, ...]
"""Where in the work list the items are that write a tensor or a gradient."""


def lower_training(network: Network) -> list[Work]:
    """One training step in the order in which it runs, for the batch the network was built with.

    Raises:
        ValueError: an operator that cannot be trained here, such as a recurrent layer.
    """
    return _Lowering(network).work


def kept_bits(network: Network) -> dict[str, int]:
    """Bits that each tensor keeps in DRAM from FF until its BP or WU: maps, masks, indices.

    Raises:
        ValueError: as `lower_training`.
    """
    return _Lowering(network).kept


class _Lowering:
    def __init__(self, network: Network) -> None:
        self.network = network
        self.work: list[Work] = []
        self.kept: dict[str, int] = {}
        self.root: dict[str, str] = {}
        self.gemms: dict[str, list[Gemm]] = {}
        # tensors on which more can be done on the way out: their item, and whether it is a pass
        self.open: dict[str, tuple[int, bool]] = {}
        # gradient of a tensor: the items that wrote it, and whether another tensor shares it
        self.grad: dict[str, tuple[Handle, bool]] = {}
        self.learned = self._learned()
        self.readers = Counter(
            self._name(name) for node in network.nodes for name in node.inputs if name
        )
        self.first = True
        for node in network.nodes:
            self._forward(node)
        self.uses = Counter(name for node in network.nodes for name in self._trained(node))
        for name in network.outputs:
            self._loss(name)
        for node in reversed(network.nodes):
            self._backward(node)

    def _learned(self) -> set[str]:
        """Tensors that depend on a trained parameter, aliases resolved on the way."""
        found = set()
        for node in self.network.nodes:
            data = [name for name in node.inputs if name]
            if any(name in found or self._is_trained(name) for name in data):
                found.update(node.outputs)
            same = data and self._size(data[0]) == self._size(node.outputs[0])
            if node.op in FREE and node.op != "Dropout" and same:
                self.root[node.outputs[0]] = self._name(data[0])
        return found

    # forward ------------------------------------------------------------------------------------

    def _forward(self, node: Node) -> None:
        network = self.network
        if node.op in ("LSTM", "GRU", "RNN"):
            raise ValueError(
                f"training of recurrent layers is not modelled, but {node.name} is one ({node.op})"
            )
        gemms = products(network, node)
        if gemms:
            if self.first and gemms[0].weights:
                gemms = [replace(g, first=True) for g in gemms]
                self.first = False
            self.gemms[node.name] = gemms
            self.work += gemms
            for name in self._data(node):
                self._keep(name, _BITS)
            if node.op == "ConvTranspose":
                self.work.append(self._pass(node, "FF", gemms[0].m * gemms[0].n, node.outputs[0]))
            self.open[self._name(node.outputs[0])] = len(self.work) - 1, False
            return
        if node.op in FREE and node.op != "Dropout":
            return
        out = self._name(node.outputs[0])
        data = self._data(node)
        elements = self._size(node.outputs[0])
        learned = out in self.learned
        if node.op in set(_MASKED) | _SMOOTH and data:
            handle, is_pass = self._on_the_way(node)
            kept = _MASKED.get(node.op, _BITS if handle is not None else 0)
            self._keep_bits(node.name, kept * elements * learned)
            if not _MASKED.get(node.op) and handle is None:
                self._keep(data[0], _BITS)
            if handle is not None:
                self._attach((handle,), write=kept * learned)
                self._fused(node)
                self.open[out] = handle, is_pass
            else:
                self._emit(
                    node, "FF", elements, elements, elements, write=kept * learned * elements
                )
            return
        if node.op in _ARITHMETIC and data:
            handle, is_pass = self._on_the_way(node)
            if len(data) == 1 and handle is not None:
                self._fused(node)
                self.open[out] = handle, is_pass
                return
            if len(data) == 2 and node.op in ("Add", "Sub") and handle is not None and is_pass:
                item = self.work[handle]  # a residual joins the pass that makes the later operand
                assert isinstance(item, Vector)
                other = sum(self._size(n) for n in data) - elements
                self.work[handle] = replace(item, elements_in=item.elements_in + other)
                self._fused(node)
                self.open[out] = handle, True
                return
        if node.op in ("Mul", "Div") and len(data) == 2:
            for name in data:
                self._keep(name, _BITS)
        taken = sum(self._size(name) for name in data)
        base = vector_of(network, node, set(), {})
        steps = max(taken, elements) if base.operations else 0
        write = 0
        if node.op in _ROWS:
            steps = 2 * elements
            self._keep(node.outputs[0] if "oftmax" in node.op else data[0], _BITS)
        elif node.op == "BatchNormalization" or node.op in _POINTWISE:
            self._keep(data[0], _BITS)
        elif node.op in _ARITHMETIC:
            steps = elements
        elif node.op == "MaxPool":
            window = prod(attr_ints(node, "kernel_shape", ()))
            write = (window - 1).bit_length() * elements * learned
            self._keep_bits(node.name, write)
        self._emit(node, "FF", taken, elements, steps, write=write)

    def _on_the_way(self, node: Node) -> tuple[int | None, bool]:
        """The item that `node` can be done behind: the last one to make an input with no other
        reader, if every other input is there by then."""
        names = [self._name(name) for name in self._data(node)]
        last = [self.open[n] for n in names if n in self.open and self.readers[n] == 1]
        if not last:
            return None, False
        handle, is_pass = max(last)
        made = [self.open[n][0] for n in names if n in self.open]
        return (handle, is_pass) if max(made) == handle else (None, False)

    # backward -----------------------------------------------------------------------------------

    def _loss(self, name: str) -> None:
        if self._name(name) not in self.learned:
            return
        elements = self._size(name)
        self.work.append(
            Vector(
                layer=f"loss.{name}",
                stage="BP",
                op="SoftmaxCrossEntropy",
                elements_in=elements,
                elements_out=elements,
                operations=5 * elements,
                lane_steps=2 * elements,  # sums along a row first
            )
        )
        self._contribute(name, (len(self.work) - 1,))

    def _backward(self, node: Node) -> None:
        # a node with several outputs (Split) is handled by those of them that have a gradient
        arrived = [self._name(o) for o in node.outputs if self._name(o) in self.grad]
        alias = node.op in FREE and node.op != "Dropout"
        if arrived and node.name in self.gemms:
            self._backward_product(node)
        elif arrived and alias:
            if node.inputs and self._name(node.inputs[0]) not in arrived and self._moving(node):
                self._backward_pass(node, moves=True)  # an Expand: sums what it repeated
        elif arrived:
            handle, shared = self.grad[arrived[0]]
            data = [n for n in self._data(node) if self._name(n) in self.learned]
            same = all(self._size(n) == self._size(node.outputs[0]) for n in data)
            if node.op in _MASKED:
                self._attach(handle, read=_MASKED[node.op], write=_BITS if shared else 0)
                self._alias(node.inputs[0], handle)
            elif node.op in _SMOOTH:
                self._attach(handle, read=_BITS, write=_BITS if shared else 0)
                self._alias(node.inputs[0], handle)
            elif node.op == "BatchNormalization":
                self._attach(handle, read=_BITS)  # the stored map, for the two sums
                self._backward_pass(node, keeps=1)
            elif same and (
                node.op in ("Add", "Sub") or (node.op in _ARITHMETIC and len(data) == 1)
            ):
                for name in data:
                    self._alias(name, handle, shared=shared or len(data) > 1)
            elif data:
                kept = node.op in _ROWS | _POINTWISE
                kept_inputs = 2 if node.op in ("Mul", "Div") else int(kept)
                self._backward_pass(node, keeps=kept_inputs, twice=node.op in _ROWS)
        others = [n for n in self._trained(node) if self._ends(n)]
        if arrived and others and node.name not in self.gemms:
            self.work.append(
                Update(
                    layer=node.name,
                    op=node.op,
                    weights=0,
                    others=sum(self._size(n) for n in others),
                )
            )

    def _backward_product(self, node: Node) -> None:
        gemms = self.gemms[node.name]
        data = self._data(node)
        if node.op == "ConvTranspose":  # dY of the sums is gathered back into columns
            taps = gemms[0].m * gemms[0].n * gemms[0].count
            self.work.append(
                Vector(
                    layer=f"{node.name}.gather",
                    stage="BP",
                    op=node.op,
                    elements_in=self._size(node.outputs[0]),
                    elements_out=taps,
                    operations=0,
                    lane_steps=0,
                )
            )
        if not gemms[0].weights:
            found = activation_gradients(gemms[0])
            for name, gemm in zip(node.inputs[:2], found, strict=True):
                if self._name(name) in self.learned:
                    self.work.append(gemm)
                    self._contribute(name, (len(self.work) - 1,))
                elif self._is_trained(name):
                    self.work.append(replace(gemm, stage="WU"))
                    self._update(node, gemms[0], [], [name])
            return
        backward: list[Gemm] = []
        if self._name(data[0]) in self.learned:
            backward, missing = input_gradient(gemms[0])
            start = len(self.work)
            self.work += backward
            if missing:
                self.work.append(
                    Vector(
                        layer=f"{node.name}.zero",
                        stage="BP",
                        op=node.op,
                        elements_in=0,
                        elements_out=missing,
                        operations=0,
                        lane_steps=0,
                    )
                )
            self._contribute(data[0], tuple(range(start, len(self.work))))
        if self._is_trained(node.inputs[1]):
            self.work.append(weight_gradient(gemms[0]))
            self._update(node, gemms[0], backward, self._trained(node))

    def _update(self, node: Node, forward: Gemm, backward: list[Gemm], names: list[str]) -> None:
        ending = [name for name in names if self._ends(name)]
        if not ending:
            return  # shared with an earlier layer, whose update comes later
        weights = forward.n * forward.k * (1 if forward.shared else forward.count)
        if not forward.weights:
            weights = self._size(ending[0])
        total = sum(self._size(name) for name in ending)
        self.work.append(
            Update(
                layer=node.name,
                op=node.op,
                weights=min(weights, total),
                others=max(0, total - weights),
                forward=(forward,),
                backward=tuple(backward),
            )
        )

    def _backward_pass(
        self, node: Node, *, keeps: int = 0, twice: bool = False, moves: bool = False
    ) -> None:
        """A pass from the gradient of a node's outputs, and `keeps` kept maps, to its inputs'."""
        data = [n for n in self._data(node) if self._name(n) in self.learned]
        taken = sum(self._size(o) for o in node.outputs if self._name(o) in self.grad)
        made = sum(self._size(n) for n in data)
        kept = sum(self._size(n) for n in self._data(node)) if keeps == 2 else keeps * made
        still = moves or not vector_of(self.network, node, set(), {}).operations
        steps = 0 if still else max(taken, made)
        read = 0
        if node.op == "MaxPool":
            window = prod(attr_ints(node, "kernel_shape", ()))
            read = (window - 1).bit_length() * taken
        self.work.append(
            Vector(
                layer=node.name,
                stage="BP",
                op=node.op,
                elements_in=taken + kept,
                elements_out=made,
                operations=2 * OPERATIONS.get(node.op, 1) * max(taken, made) * (steps > 0),
                lane_steps=2 * steps if twice else steps,
                read_bits=read,
            )
        )
        for name in data:
            self._contribute(name, (len(self.work) - 1,))

    def _contribute(self, name: str, handle: Handle) -> None:
        """Gradient of `name` from new items; they add what is there already on the way out."""
        root = self._name(name)
        if root in self.grad:
            self._attach(handle, read=_BITS)
        self.grad[root] = handle, False

    def _alias(self, name: str, handle: Handle, *, shared: bool = False) -> None:
        """Gradient of `name` is one that exists; a second one needs a pass to add them."""
        root = self._name(name)
        if root not in self.grad:
            self.grad[root] = handle, shared
            return
        elements = self._size(name)
        self.work.append(
            Vector(
                layer=f"{name}.sum",
                stage="BP",
                op="Add",
                elements_in=2 * elements,
                elements_out=elements,
                operations=elements,
                lane_steps=elements,
            )
        )
        self.grad[root] = (len(self.work) - 1,), False

    # items --------------------------------------------------------------------------------------

    def _attach(self, handle: Handle, *, read: int = 0, write: int = 0) -> None:
        """Bits an output that items read or write beside their results."""
        for i in handle:
            item = self.work[i]
            if isinstance(item, Gemm):
                self.work[i] = replace(
                    item,
                    side_read_bits=item.side_read_bits + read,
                    side_write_bits=item.side_write_bits + write,
                )
            elif isinstance(item, Vector):
                self.work[i] = replace(
                    item,
                    read_bits=item.read_bits + read * item.elements_out,
                    write_bits=item.write_bits + write * item.elements_out,
                )

    def _pass(self, node: Node, stage: str, elements: int, out: str) -> Vector:
        return Vector(
            layer=f"{node.name}.scatter",
            stage=stage,
            op=node.op,
            elements_in=elements,
            elements_out=self._size(out),
            operations=elements,
            lane_steps=elements,
        )

    def _emit(
        self, node: Node, stage: str, taken: int, made: int, steps: int, *, write: int = 0
    ) -> None:
        self.work.append(
            Vector(
                layer=node.name,
                stage=stage,
                op=node.op,
                elements_in=taken,
                elements_out=made,
                operations=max(steps, OPERATIONS.get(node.op, 1) * made) if steps else 0,
                lane_steps=steps,
                write_bits=write,
            )
        )
        self.open[self._name(node.outputs[0])] = len(self.work) - 1, True

    def _fused(self, node: Node) -> None:
        elements = self._size(node.outputs[0])
        self.work.append(
            Vector(
                layer=node.name,
                op=node.op,
                elements_in=elements,
                elements_out=elements,
                operations=elements * OPERATIONS.get(node.op, 1),
                fused=True,
                lane_steps=0,
            )
        )

    # tensors ------------------------------------------------------------------------------------

    def _name(self, name: str) -> str:
        """The tensor that a name stands for: reshaping gives new names to old data."""
        return self.root.get(name, name)

    def _size(self, name: str) -> int:
        return prod(self.network.shapes[name])

    def _data(self, node: Node) -> list[str]:
        return [name for name in node.inputs if name and name not in self.network.parameters]

    def _moving(self, node: Node) -> bool:
        return any(self._name(name) in self.learned for name in self._data(node))

    def _is_trained(self, name: str) -> bool:
        parameter = self.network.parameters.get(name)
        return parameter is not None and parameter.trained

    def _trained(self, node: Node) -> list[str]:
        return [name for name in dict.fromkeys(node.inputs) if self._is_trained(name)]

    def _ends(self, name: str) -> bool:
        """Whether this is the last use in reverse order, after which the gradient is whole."""
        self.uses[name] -= 1
        return self.uses[name] == 0

    def _keep(self, name: str, bits: int) -> None:
        self._keep_bits(self._name(name), bits * self._size(name))

    def _keep_bits(self, name: str, bits: int) -> None:
        if bits:
            self.kept[name] = max(self.kept.get(name, 0), bits)
