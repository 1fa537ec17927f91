"""Builds a network operator by operator, with shapes at once and weights on demand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.models.im2col import out_size
from hwsim.models.network import Network, Node, Parameter, constant, seeded

__all__ = ["NetworkBuilder"]

Shape = tuple[int, ...]


class NetworkBuilder:
    """Adds nodes to a network; every method takes and returns tensor names.

    A tensor carries the name of the node that makes it, so layer names are tensor names.

    Args:
        name: the network's name.
        seed: of the weights.
        sparsity: share of the smallest magnitudes of every weight tensor that is zero.
        weights: trained values by parameter name (`<layer>.weight`, `<layer>.bias`, ...), used in
            place of seeded ones.
    """

    def __init__(
        self,
        name: str,
        *,
        seed: int = 0,
        sparsity: float = 0.0,
        weights: dict[str, NDArray] | None = None,
    ) -> None:
        if not 0.0 <= sparsity < 1.0:
            raise ValueError(f"0 <= sparsity < 1 must hold, but got {sparsity}")
        self.name = name
        self.seed = seed
        self.sparsity = sparsity
        self.weights = weights
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = {}
        self.parameters: dict[str, Parameter] = {}
        self.inputs: list[str] = []

    def finish(self, *outputs: str) -> Network:
        """The network with these outputs."""
        return Network(
            name=self.name,
            nodes=tuple(self.nodes),
            inputs=tuple(self.inputs),
            outputs=outputs,
            shapes=self.shapes,
            parameters=self.parameters,
            source=f"zoo:{self.name}",
        )

    def input(self, name: str, *shape: int) -> str:
        self.inputs.append(name)
        self.shapes[name] = shape
        return name

    def parameter(
        self,
        name: str,
        shape: Shape,
        *,
        fan_in: int = 0,
        fill: float | None = None,
        trained: bool = True,
    ) -> str:
        """A trained tensor; `fill` None makes it He-normal with `fan_in`.

        Raises:
            ValueError: trained values were given and this one is missing or has another shape.
        """
        if self.weights is not None:
            if name not in self.weights:
                raise ValueError(f"{self.name}: there are no trained values for {name}")
            values = np.asarray(self.weights[name], np.float32)
            if values.shape != shape:
                raise ValueError(
                    f"{self.name}: {name} must have shape {shape}, but got {values.shape}"
                )
            made = constant(values, trained=trained)
        else:
            made = seeded(
                f"{self.name}/{name}",
                shape,
                seed=self.seed,
                fan_in=fan_in,
                fill=fill,
                sparsity=self.sparsity if fill is None else 0.0,
                trained=trained,
            )
        self.parameters[name] = made
        self.shapes[name] = shape
        return name

    def constant(self, name: str, values: Any) -> str:
        array = np.asarray(values)
        self.parameters[name] = constant(array, trained=False)
        self.shapes[name] = tuple(array.shape)
        return name

    def node(self, name: str, op: str, inputs: Sequence[str], shape: Shape, **attrs: Any) -> str:
        """Any operator whose output shape the caller knows."""
        if name in self.shapes:
            raise ValueError(f"{self.name}: the name {name} is taken")
        self.nodes.append(Node(name, op, tuple(inputs), (name,), attrs))
        self.shapes[name] = shape
        return name

    def conv(
        self,
        name: str,
        x: str,
        filters: int,
        kernel: int,
        *,
        stride: int = 1,
        pad: int = 0,
        groups: int = 1,
        bias: bool = False,
    ) -> str:
        """A square convolution of x [batch, channels, h, w].

        Raises:
            ValueError: groups divide neither channels nor filters, or the kernel does not fit.
        """
        batch, channels, h, w = self.shapes[x]
        if channels % groups or filters % groups:
            raise ValueError(
                f"{name}: groups must divide channels and filters, "
                f"but got {groups}, {channels}, {filters}"
            )
        shape = (filters, channels // groups, kernel, kernel)
        inputs = [x, self.parameter(f"{name}.weight", shape, fan_in=int(np.prod(shape[1:])))]
        if bias:
            inputs.append(self.parameter(f"{name}.bias", (filters,), fill=0.0))
        try:
            out = [out_size(s, kernel, stride, 1, 2 * pad) for s in (h, w)]
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        return self.node(
            name,
            "Conv",
            inputs,
            (batch, filters, *out),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pad] * 4,
            group=groups,
        )

    def batch_norm(self, name: str, x: str) -> str:
        channels = self.shapes[x][1]
        inputs = [x]
        for part, fill in (("weight", 1.0), ("bias", 0.0), ("mean", 0.0), ("var", 1.0)):
            inputs.append(
                self.parameter(
                    f"{name}.{part}", (channels,), fill=fill, trained=part in ("weight", "bias")
                )
            )
        return self.node(name, "BatchNormalization", inputs, self.shapes[x])

    def unary(self, name: str, op: str, x: str, **attrs: Any) -> str:
        """An element-wise operator: Relu, Gelu, Sigmoid, Softmax, Clip, ..."""
        return self.node(name, op, [x], self.shapes[x], **attrs)

    def relu6(self, name: str, x: str) -> str:
        return self.unary(name, "Clip", x, min=0.0, max=6.0)

    def add(self, name: str, a: str, b: str) -> str:
        return self.node(name, "Add", [a, b], np.broadcast_shapes(self.shapes[a], self.shapes[b]))

    def max_pool(self, name: str, x: str, kernel: int, stride: int, pad: int = 0) -> str:
        batch, channels, h, w = self.shapes[x]
        out = [out_size(s, kernel, stride, 1, 2 * pad) for s in (h, w)]
        return self.node(
            name,
            "MaxPool",
            [x],
            (batch, channels, *out),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pad] * 4,
        )

    def global_pool(self, name: str, x: str, op: str = "GlobalAveragePool") -> str:
        """Pools the map away and flattens: [batch, channels]."""
        batch, channels = self.shapes[x][:2]
        pooled = self.node(name, op, [x], (batch, channels, 1, 1))
        return self.node(f"{name}.flat", "Flatten", [pooled], (batch, channels))

    def flatten(self, name: str, x: str) -> str:
        batch, *rest = self.shapes[x]
        return self.node(name, "Flatten", [x], (batch, int(np.prod(rest))))

    def linear(self, name: str, x: str, features: int, *, bias: bool = True) -> str:
        """x [..., in] times [in, features]."""
        *lead, size = self.shapes[x]
        if len(lead) == 1:
            inputs = [x, self.parameter(f"{name}.weight", (features, size), fan_in=size)]
            if bias:
                inputs.append(self.parameter(f"{name}.bias", (features,), fill=0.0))
            return self.node(name, "Gemm", inputs, (*lead, features), transB=1)
        weight = self.parameter(f"{name}.weight", (size, features), fan_in=size)
        y = self.node(name, "MatMul", [x, weight], (*lead, features))
        if bias:
            y = self.add(f"{name}.add", y, self.parameter(f"{name}.bias", (features,), fill=0.0))
        return y

    def layer_norm(self, name: str, x: str) -> str:
        size = self.shapes[x][-1]
        inputs = [x]
        for part, fill in (("weight", 1.0), ("bias", 0.0)):
            inputs.append(self.parameter(f"{name}.{part}", (size,), fill=fill))
        return self.node(name, "LayerNormalization", inputs, self.shapes[x], axis=-1, epsilon=1e-6)

    def reshape(self, name: str, x: str, *shape: int) -> str:
        return self.node(
            name, "Reshape", [x, self.constant(f"{name}.shape", np.array(shape, np.int64))], shape
        )

    def transpose(self, name: str, x: str, *perm: int) -> str:
        shape = tuple(self.shapes[x][p] for p in perm)
        return self.node(name, "Transpose", [x], shape, perm=list(perm))

    def matmul(self, name: str, a: str, b: str) -> str:
        """A product of two activations [..., m, k] and [..., k, n]."""
        left, right = self.shapes[a], self.shapes[b]
        if left[-1] != right[-2]:
            raise ValueError(f"{name}: operands must share k, but got {left} and {right}")
        return self.node(name, "MatMul", [a, b], (*left[:-1], right[-1]))

    def attention(self, name: str, x: str, heads: int) -> str:
        """Multi-head self-attention of x [batch, tokens, width], as products."""
        batch, tokens, width = self.shapes[x]
        if width % heads:
            raise ValueError(f"{name}: heads must divide width, but got {heads} and {width}")
        size = width // heads
        parts = {}
        for part in ("query", "key", "value"):
            y = self.linear(f"{name}.{part}", x, width)
            y = self.reshape(f"{name}.{part}.split", y, batch, tokens, heads, size)
            order = (0, 2, 3, 1) if part == "key" else (0, 2, 1, 3)
            parts[part] = self.transpose(f"{name}.{part}.heads", y, *order)
        scores = self.matmul(f"{name}.scores", parts["query"], parts["key"])
        scale = self.constant(f"{name}.scale.value", np.float32(size**-0.5))
        scores = self.node(f"{name}.scale", "Mul", [scores, scale], self.shapes[scores])
        scores = self.unary(f"{name}.softmax", "Softmax", scores, axis=-1)
        y = self.matmul(f"{name}.context", scores, parts["value"])
        y = self.transpose(f"{name}.merge", y, 0, 2, 1, 3)
        y = self.reshape(f"{name}.join", y, batch, tokens, width)
        return self.linear(f"{name}.output", y, width)

    def recurrent(self, name: str, op: str, x: str, hidden: int) -> str:
        """An LSTM or GRU over x [time, batch, in]; returns [time, batch, hidden]."""
        time, batch, size = self.shapes[x]
        gates = {"LSTM": 4, "GRU": 3}[op]
        inputs = [
            x,
            self.parameter(f"{name}.weight", (1, gates * hidden, size), fan_in=2 * size),
            self.parameter(f"{name}.recurrent", (1, gates * hidden, hidden), fan_in=2 * hidden),
            self.parameter(f"{name}.bias", (1, 2 * gates * hidden), fill=0.0),
        ]
        attrs = {"hidden_size": hidden} | ({"linear_before_reset": 1} if op == "GRU" else {})
        y = self.node(name, op, inputs, (time, 1, batch, hidden), **attrs)
        axes = self.constant(f"{name}.axes", np.array([1], np.int64))
        return self.node(f"{name}.squeeze", "Squeeze", [y, axes], (time, batch, hidden))
