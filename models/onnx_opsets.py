"""What older opsets meant, said in today's terms, and the forms that would be computed wrongly.

The golden operators follow the newest opset. A node of an older one keeps its name but not always
its meaning; `modern` rewrites it, and refuses what has no equivalent here rather than compute
something else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.models.network import Node

__all__ = ["COMPUTED_OUTPUTS", "modern"]

COMPUTED_OUTPUTS = {"BatchNormalization": 1, "MaxPool": 1}
"""Operators with more outputs than are computed: running statistics and indices are not."""


def modern(node: Node, opset: int, constants: Mapping[str, NDArray]) -> Node:
    """The node with the newest opset's meaning.

    Args:
        opset: version of ONNX's own operators in the file.
        constants: values known at import, for forms that an input decides.

    Raises:
        ValueError: the node trains, or broadcasts or normalises as no newer opset does.
    """
    attrs = dict(node.attrs)
    if node.op in ("Softmax", "LogSoftmax") and opset < 13:
        # over all axes from `axis` on, as one
        return _with(node, attrs | {"axis": attrs.get("axis", 1), "flattened": 1})
    if node.op in _BROADCASTING and opset < 7 and "axis" in attrs:
        raise ValueError(
            f"{node.op} {node.name}: opset {opset} lines up axes with axis={attrs['axis']}; "
            "only opset 7 and newer broadcast as is computed here"
        )
    if node.op == "BatchNormalization":
        if attrs.get("training_mode", 0):
            raise ValueError(f"{node.op} {node.name}: training_mode=1 is not supported")
        if not attrs.get("spatial", 1):
            raise ValueError(f"{node.op} {node.name}: spatial=0 is not supported")
    if node.op == "Dropout" and len(node.inputs) > 2 and node.inputs[2]:
        training = constants.get(node.inputs[2])
        if training is None or bool(np.any(training)):
            raise ValueError(f"{node.op} {node.name}: training_mode is not supported")
    if node.op == "Upsample" or (node.op == "Resize" and opset < 11):
        return _resize(node, attrs)
    return node


_BROADCASTING = {"Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub"}


def _resize(node: Node, attrs: Mapping[str, Any]) -> Node:
    """`Upsample` and the first `Resize` take (x, scales) and map coordinates without an offset."""
    inputs: Sequence[str] = (node.inputs[0], "", *node.inputs[1:2])
    rule = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return Node(node.name, "Resize", tuple(inputs), node.outputs, dict(attrs) | rule)


def _with(node: Node, attrs: Mapping[str, Any]) -> Node:
    return replace(node, attrs=attrs)
