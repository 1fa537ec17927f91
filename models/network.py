"""The layer and network representation: a graph of operators with ONNX's names and semantics.

Parameters are lazy: a network of a hundred megabytes of weights is built in milliseconds, its
shapes are there at once and a tensor's values are made when somebody asks for them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.models.nm import magnitude_mask

__all__ = ["Network", "Node", "Parameter", "constant", "seeded"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One operator.

    Attributes:
        name: unique in the network.
        op: ONNX operator name.
        inputs, outputs: tensor names; an omitted optional input is the empty string.
        attrs: attributes with ONNX's names; absent ones have ONNX's defaults.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Parameter:
    """A trained tensor: its shape now, its values on demand.

    Attributes:
        shape: the tensor's shape.
        make: returns the values, the same on every call.
        trained: learned by gradient descent; not a statistic, an index or a shape.
    """

    shape: Shape
    make: Callable[[], NDArray]
    trained: bool = True

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


def constant(values: NDArray, *, trained: bool = True) -> Parameter:
    """A parameter that holds its values."""
    return Parameter(tuple(values.shape), lambda: values, trained)


def seeded(
    name: str,
    shape: Shape,
    *,
    seed: int,
    fan_in: int = 0,
    fill: float | None = None,
    sparsity: float = 0.0,
    trained: bool = True,
) -> Parameter:
    """A parameter made from (seed, name): He-normal for `fan_in` > 0, else filled with `fill`.

    Args:
        sparsity: share of the smallest magnitudes that are set to zero.
    """

    def make() -> NDArray:
        if fill is not None:
            return np.full(shape, fill, np.float32)
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        scale = np.float32(np.sqrt(2.0 / max(fan_in, 1)))
        values = rng.standard_normal(shape, np.float32) * scale
        if sparsity:
            values *= magnitude_mask(values, sparsity)
        return values

    return Parameter(shape, make, trained)


@dataclass(frozen=True, kw_only=True)
class Network:
    """A graph in topological order.

    Attributes:
        name: shown in reports.
        nodes: operators, each after those that make its inputs.
        inputs, outputs: tensor names.
        shapes: the shape of every tensor, parameters included.
        parameters: trained and constant tensors by name.
        notes: what was chosen for the user while it was built, in sentences.
        source: where it came from, for reports and keys: the zoo's name or a file's hash.
    """

    name: str
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    shapes: Mapping[str, Shape]
    parameters: Mapping[str, Parameter]
    notes: tuple[str, ...] = ()
    source: str = ""

    @property
    def parameter_count(self) -> int:
        """Elements of all trained parameters."""
        return sum(p.size for p in self.parameters.values() if p.trained)

    def value(self, name: str) -> NDArray:
        """A parameter's values.

        Raises:
            ValueError: there is no parameter of that name.
        """
        if name not in self.parameters:
            raise ValueError(f"{self.name} has no parameter {name!r}")
        return self.parameters[name].make()
