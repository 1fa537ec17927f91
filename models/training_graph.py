"""What the lowering of a training step knows of a network, and the work list it builds."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import prod

from hwsim.models.lowering import FREE, FUSABLE
from hwsim.models.network import Network, Node
from hwsim.models.work import Gemm, Vector, Work

__all__ = [
    "ARITHMETIC",
    "MAP_BITS",
    "MASKED",
    "POINTWISE",
    "ROWS",
    "SMOOTH",
    "Handle",
    "TrainingGraph",
    "renames",
]

MASKED = {"Relu": 1, "Clip": 1, "LeakyRelu": 1, "Dropout": 1}
"""Operators whose derivative takes so many bits an element to know."""

SMOOTH = FUSABLE - {"BatchNormalization"} - set(MASKED)
"""Activation functions done on the way out whose derivative needs what they were applied to."""

POINTWISE = {
    "Abs", "Erf", "Exp", "Gelu", "Log", "Neg", "Pow", "Sigmoid", "Softplus", "Sqrt", "Tanh",
}  # fmt: skip
"""Functions of one element that are passes of their own in both directions."""

ROWS = {
    "GroupNormalization", "InstanceNormalization", "LayerNormalization", "LogSoftmax",
    "RMSNormalization", "Softmax",
}  # fmt: skip
"""Operators that need sums along a row before its first result, in both directions."""

ARITHMETIC = {"Add", "Div", "Mul", "Sub"}

MAP_BITS = 16
"""Of an element of a map or gradient: FP16, the engine's only training format."""

Handle = tuple[int, ...]
"""Where in the work list the items are that write a tensor or a gradient."""


class TrainingGraph:
    """A network's tensors by what training asks about them, and the work so far.

    Attributes:
        network: what is trained.
        work: items in the order in which they run.
        kept: bits that stay in DRAM from FF to BP or WU, by tensor, or node and `.mask`.
        gemms: forward products by node.
        open: tensors on which more can be done on the way out: the item that writes them, and
            whether that is a pass (not a product).
        grad: gradients by tensor: the items that wrote it, and whether another tensor shares it.
        learned: tensors that depend on a trained parameter, so that they need a gradient.
        readers: how many nodes read a tensor.
        uses: nodes by trained parameter, counted down as their gradients are found.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.work: list[Work] = []
        self.kept: dict[str, int] = {}
        self.gemms: dict[str, list[Gemm]] = {}
        self.open: dict[str, tuple[int, bool]] = {}
        self.grad: dict[str, tuple[Handle, bool]] = {}
        self._root: dict[str, str] = {}
        self.learned = self._learned()
        self.readers = Counter(
            self.name(name) for node in network.nodes for name in node.inputs if name
        )
        self.uses = Counter(name for node in network.nodes for name in self.trained(node))

    def _learned(self) -> set[str]:
        found: set[str] = set()
        for node in self.network.nodes:
            data = [name for name in node.inputs if name]
            if any(name in found or self.is_trained(name) for name in data):
                found.update(node.outputs)
            old = data[0] if renames(node) and data else ""
            data_only = old and old not in self.network.parameters
            if data_only and self.size(old) == self.size(node.outputs[0]):  # no Expand that repeats
                self._root[node.outputs[0]] = self.name(old)
        return found

    # tensors ------------------------------------------------------------------------------------

    def name(self, name: str) -> str:
        """The tensor that a name stands for: reshaping gives new names to old data."""
        return self._root.get(name, name)

    def size(self, name: str) -> int:
        """Elements."""
        return prod(self.network.shapes[name])

    def data(self, node: Node) -> list[str]:
        """Inputs that are no parameters."""
        return [name for name in node.inputs if name and name not in self.network.parameters]

    def needs_gradient(self, name: str) -> bool:
        return self.name(name) in self.learned

    def is_trained(self, name: str) -> bool:
        parameter = self.network.parameters.get(name)
        return parameter is not None and parameter.trained

    def trained(self, node: Node) -> list[str]:
        """Trained parameters of a node."""
        return [name for name in dict.fromkeys(node.inputs) if self.is_trained(name)]

    def ends(self, name: str) -> bool:
        """Whether this is a parameter's last use in reverse order: its gradient is whole."""
        self.uses[name] -= 1
        return self.uses[name] == 0

    def keep(self, name: str, bits: int = MAP_BITS) -> None:
        """A tensor stays in DRAM for the backward pass, `bits` an element."""
        self.keep_bits(self.name(name), bits * self.size(name))

    def keep_bits(self, name: str, bits: int) -> None:
        """So many bits stay in all."""
        if bits:
            self.kept[name] = max(self.kept.get(name, 0), bits)

    # work ---------------------------------------------------------------------------------------

    def add(self, *items: Work) -> Handle:
        """Append to the work list."""
        start = len(self.work)
        self.work += items
        return tuple(range(start, len(self.work)))

    def attach(self, handle: Handle, *, read: int = 0, write: int = 0) -> None:
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

    def join(self, handle: int, operations: int, elements_in: int = 0) -> None:
        """A pass does more on the way: operations, and elements that it reads beside."""
        item = self.work[handle]
        if isinstance(item, Vector):
            self.work[handle] = replace(
                item,
                operations=item.operations + operations,
                elements_in=item.elements_in + elements_in,
            )


def renames(node: Node) -> bool:
    """Whether a node only gives its data another name or shape; dropout does more in training."""
    return node.op in FREE and node.op != "Dropout"
