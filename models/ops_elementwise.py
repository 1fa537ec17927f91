"""Golden element-wise operators, softmax and reductions, in float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.models.network import Node
from hwsim.models.ops import OPS, Context, Inputs, axes_of, operator

__all__: list[str] = []


def _unary(function: Callable[[Any], Any]) -> Callable[[Node, Inputs, Context], Sequence[NDArray]]:
    def compute(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
        return [np.asarray(function(inputs[0]))]

    return compute


def _binary(
    function: Callable[[Any, Any], Any],
) -> Callable[[Node, Inputs, Context], Sequence[NDArray]]:
    def compute(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
        return [np.asarray(function(inputs[0], inputs[1]))]

    return compute


def _sigmoid(x: NDArray) -> NDArray:
    return np.float32(0.5) * (np.tanh(np.float32(0.5) * x) + np.float32(1))


def _erf(x: NDArray) -> NDArray:
    from scipy.special import erf

    return erf(x)


def _divide(a: NDArray, b: NDArray) -> NDArray:
    if a.dtype.kind in "iu":  # ONNX truncates towards zero
        return (np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)
    return a / b


OPS.update(
    {
        "Abs": _unary(np.abs),
        "Add": _binary(np.add),
        "Acos": _unary(np.arccos),
        "Acosh": _unary(np.arccosh),
        "Asin": _unary(np.arcsin),
        "Asinh": _unary(np.arcsinh),
        "Atan": _unary(np.arctan),
        "Atanh": _unary(np.arctanh),
        "And": _binary(np.logical_and),
        "Ceil": _unary(np.ceil),
        "Cos": _unary(np.cos),
        "Cosh": _unary(np.cosh),
        "Div": _binary(_divide),
        "Equal": _binary(np.equal),
        "Erf": _unary(_erf),
        "Exp": _unary(np.exp),
        "Floor": _unary(np.floor),
        "Greater": _binary(np.greater),
        "GreaterOrEqual": _binary(np.greater_equal),
        "HardSwish": _unary(lambda x: x * np.clip(x / np.float32(6) + np.float32(0.5), 0, 1)),
        "Identity": _unary(lambda x: x),
        "IsNaN": _unary(np.isnan),
        "Less": _binary(np.less),
        "LessOrEqual": _binary(np.less_equal),
        "Log": _unary(np.log),
        "Mish": _unary(lambda x: x * np.tanh(np.logaddexp(x, x.dtype.type(0)))),
        "Mul": _binary(np.multiply),
        "Neg": _unary(np.negative),
        "Not": _unary(np.logical_not),
        "Or": _binary(np.logical_or),
        "Pow": _binary(lambda a, b: np.power(a, b).astype(a.dtype)),
        "Reciprocal": _unary(np.reciprocal),
        "Relu": _unary(lambda x: np.maximum(x, x.dtype.type(0))),
        "Round": _unary(np.rint),
        "Sigmoid": _unary(_sigmoid),
        "Sign": _unary(np.sign),
        "Sin": _unary(np.sin),
        "Sinh": _unary(np.sinh),
        "Softplus": _unary(lambda x: np.logaddexp(x, x.dtype.type(0))),
        "Softsign": _unary(lambda x: x / (1 + np.abs(x))),
        "Sqrt": _unary(np.sqrt),
        "Sub": _binary(np.subtract),
        "Tan": _unary(np.tan),
        "Tanh": _unary(np.tanh),
        "Xor": _binary(np.logical_xor),
    }
)


@operator("Max", "Mean", "Min", "Sum")
def _variadic(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    function = {"Max": np.maximum, "Mean": np.add, "Min": np.minimum, "Sum": np.add}[node.op]
    total = inputs[0]
    for x in inputs[1:]:
        total = function(total, x)
    if node.op == "Mean":
        total = total / np.float32(len(inputs))
    return [np.asarray(total)]


@operator("Where")
def _where(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    condition, x, y = inputs
    return [np.asarray(np.where(condition, x, y))]


_ALPHA = {
    "Celu": 1.0,
    "Elu": 1.0,
    "HardSigmoid": 0.2,
    "LeakyRelu": 0.01,
    "Selu": 1.67326319217681884765625,
    "Swish": 1.0,
    "ThresholdedRelu": 1.0,
}
"""ONNX's default of the attribute `alpha`."""


@operator("PRelu", *_ALPHA)
def _sloped(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x = inputs[0]
    if node.op == "PRelu":
        return [np.where(x < 0, x * inputs[1], x)]
    alpha = np.float32(node.attrs.get("alpha", _ALPHA[node.op]))
    if node.op == "LeakyRelu":
        return [np.where(x < 0, x * alpha, x)]
    if node.op == "ThresholdedRelu":
        return [np.where(x > alpha, x, x.dtype.type(0))]
    if node.op == "Swish":
        return [x * _sigmoid(alpha * x)]
    if node.op == "Celu":
        return [np.where(x < 0, alpha * np.expm1(np.minimum(x, 0) / alpha), x)]
    if node.op in ("Elu", "Selu"):
        y = np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)
        if node.op == "Selu":
            y = y * np.float32(node.attrs.get("gamma", 1.05070102214813232421875))
        return [y]
    return [np.clip(alpha * x + np.float32(node.attrs.get("beta", 0.5)), 0, 1)]


@operator("Gelu")
def _gelu(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x = inputs[0]
    if node.attrs.get("approximate", "none") == "tanh":
        inner = np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x**3)
        return [np.float32(0.5) * x * (1 + np.tanh(inner))]
    return [np.float32(0.5) * x * (1 + _erf(x / np.float32(np.sqrt(2))))]


@operator("Clip")
def _clip(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x = inputs[0]
    low = inputs[1] if len(inputs) > 1 else node.attrs.get("min")
    high = inputs[2] if len(inputs) > 2 else node.attrs.get("max")
    if low is not None:
        x = np.maximum(x, np.asarray(low, x.dtype))
    if high is not None:
        x = np.minimum(x, np.asarray(high, x.dtype))
    return [x]


@operator("Softmax", "LogSoftmax")
def _softmax(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x = inputs[0]
    axis = int(node.attrs.get("axis", -1)) % x.ndim
    # `flattened` is set by `onnx_opsets.modern`: before opset 13 the axes from `axis` on are one
    axes = tuple(range(axis, x.ndim)) if node.attrs.get("flattened", 0) else axis
    shifted = x - x.max(axis=axes, keepdims=True)
    total = np.exp(shifted).sum(axis=axes, keepdims=True)
    if node.op == "LogSoftmax":
        return [shifted - np.log(total)]
    return [np.exp(shifted) / total]


_REDUCTIONS: dict[str, tuple[Callable[[Any], Any], Any, Callable[[Any], Any]]] = {
    "ReduceMean": (lambda x: x, np.mean, lambda y: y),
    "ReduceSum": (lambda x: x, np.sum, lambda y: y),
    "ReduceMax": (lambda x: x, np.max, lambda y: y),
    "ReduceMin": (lambda x: x, np.min, lambda y: y),
    "ReduceProd": (lambda x: x, np.prod, lambda y: y),
    "ReduceL1": (np.abs, np.sum, lambda y: y),
    "ReduceL2": (np.square, np.sum, np.sqrt),
    "ReduceSumSquare": (np.square, np.sum, lambda y: y),
    "ReduceLogSum": (lambda x: x, np.sum, np.log),
    "ReduceLogSumExp": (np.exp, np.sum, np.log),
}
"""What is done to every element, over an axis, to the result."""


@operator(*_REDUCTIONS)
def _reduce(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x = inputs[0]
    axes = axes_of(node, inputs, 1) or None  # no axes and empty axes both mean all
    if axes is None and node.attrs.get("noop_with_empty_axes", 0):
        return [x]
    before, over, after = _REDUCTIONS[node.op]
    y = over(before(x), axis=axes, keepdims=bool(node.attrs.get("keepdims", 1)))
    return [np.asarray(after(y), dtype=x.dtype)]


@operator("ArgMax", "ArgMin")
def _argmax(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x = inputs[0]
    axis = int(node.attrs.get("axis", 0))
    keep = bool(node.attrs.get("keepdims", 1))
    find = np.argmax if node.op == "ArgMax" else np.argmin
    if node.attrs.get("select_last_index", 0):
        found = x.shape[axis] - 1 - find(np.flip(x, axis), axis=axis, keepdims=keep)
    else:
        found = find(x, axis=axis, keepdims=keep)
    return [np.asarray(found, np.int64)]


@operator("Cast")
def _cast(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    to = int(node.attrs["to"])
    if to not in _CAST:
        raise ValueError(f"{node.name}: Cast to ONNX type {to} is not supported")
    return [np.asarray(inputs[0]).astype(_CAST[to])]


@operator("CastLike")
def _cast_like(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    return [np.asarray(inputs[0]).astype(np.asarray(inputs[1]).dtype)]


@operator("Mod")
def _mod(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    function = np.fmod if node.attrs.get("fmod", 0) else np.mod  # the sign of a, or that of b
    return [np.asarray(function(inputs[0], inputs[1]))]


@operator("Dropout")
def _dropout(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    return [inputs[0], np.ones(np.shape(inputs[0]), np.bool_)]  # inference keeps everything


# onnx.TensorProto.DataType; FP16, BF16 and FP64 compute in float32 like everything else here
_CAST = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    4: np.uint16,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float32,
    11: np.float32,
    12: np.uint32,
    13: np.uint64,
    16: np.float32,
}
