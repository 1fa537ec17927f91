"""The registry of golden operators and the context they compute in.

An operator is a function of (node, inputs, context) that returns its outputs, with ONNX's
semantics. Products are the only arithmetic that hardware does in its own way, so every one of them
goes through `Context.gemm`; everything else is float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.models.network import Node

__all__ = ["OPS", "Context", "Inputs", "attr_ints", "axes_of", "operator", "unsupported"]

Inputs = Sequence[Any]  # arrays; None for an omitted optional input
Operator = Callable[[Node, Inputs, "Context"], Sequence[NDArray]]

OPS: dict[str, Operator] = {}
"""Golden operators by ONNX name."""


@dataclass(frozen=True)
class Context:
    """How products are computed.

    Attributes:
        gemm: (node, A[m, k], B[k, n]) -> Z[m, n] in float32.
    """

    gemm: Callable[[Node, NDArray, NDArray], NDArray]


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Registers a golden operator under ONNX names."""

    def register(function: Operator) -> Operator:
        for name in names:
            OPS[name] = function
        return function

    return register


def unsupported(names: Sequence[str]) -> list[str]:
    """Those of `names` that have no golden operator, in order, once each."""
    load_all()
    return list(dict.fromkeys(name for name in names if name not in OPS))


def load_all() -> None:
    """Import the modules that register operators."""
    from hwsim.models import (  # noqa: F401 - imported for their registrations
        ops_elementwise,
        ops_linear,
        ops_norm,
        ops_recurrent,
        ops_resize,
        ops_shape,
    )


def attr_ints(node: Node, name: str, default: Sequence[int]) -> tuple[int, ...]:
    """An attribute that is a list of integers."""
    return tuple(int(v) for v in node.attrs.get(name, default))


def axes_of(node: Node, inputs: Inputs, position: int) -> tuple[int, ...] | None:
    """Axes given as an input (newer opsets) or an attribute (older); None when not given."""
    if len(inputs) > position and inputs[position] is not None:
        return tuple(int(v) for v in np.atleast_1d(inputs[position]))
    if "axes" in node.attrs:
        return attr_ints(node, "axes", ())
    return None
