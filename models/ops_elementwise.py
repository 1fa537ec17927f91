"""Golden element-wise operators, reductions and normalisations, in float32."""

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
        "And": _binary(np.logical_and),
        "Ceil": _unary(np.ceil),
        "Cos": _unary(np.cos),
        "Div": _binary(_divide),
        "Equal": _binary(np.equal),
        "Erf": _unary(_erf),
        "Exp": _unary(np.exp),
        "Floor": _unary(np.floor),
        "Greater": _binary(np.greater),
        "GreaterOrEqual": _binary(np.greater_equal),
        "HardSwish": _unary(lambda x: x * np.clip(x / np.float32(6) + np.float32(0.5), 0, 1)),
        "Identity": _unary(lambda x: x),
        "Less": _binary(np.less),
        "LessOrEqual": _binary(np.less_equal),
        "Log": _unary(np.log),
        "Mul": _binary(np.multiply),
        "Neg": _unary(np.negative),
        "Not": _unary(np.logical_not),
        "Or": _binary(np.logical_or),
        "Pow": _binary(lambda a, b: np.power(a, b).astype(a.dtype)),
        "Reciprocal": _unary(np.reciprocal),
        "Relu": _unary(lambda x: np.maximum(x, x.dtype.type(0))),
        "Sigmoid": _unary(_sigmoid),
        "Sin": _unary(np.sin),
        "Softplus": _unary(lambda x: np.logaddexp(x, x.dtype.type(0))),
        "Sqrt": _unary(np.sqrt),
        "Sub": _binary(np.subtract),
        "Tanh": _unary(np.tanh),
    }
)


@operator("Max", "Min", "Sum")
def _variadic(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    function = {"Max": np.maximum, "Min": np.minimum, "Sum": np.add}[node.op]
    total = inputs[0]
    for x in inputs[1:]:
        total = function(total, x)
    return [np.asarray(total)]


@operator("Where")
def _where(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    condition, x, y = inputs
    return [np.asarray(np.where(condition, x, y))]


@operator("LeakyRelu", "Elu", "HardSigmoid", "PRelu")
def _sloped(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x = inputs[0]
    if node.op == "PRelu":
        return [np.where(x < 0, x * inputs[1], x)]
    default = {"LeakyRelu": 0.01, "Elu": 1.0, "HardSigmoid": 0.2}[node.op]
    alpha = np.float32(node.attrs.get("alpha", default))
    if node.op == "LeakyRelu":
        return [np.where(x < 0, x * alpha, x)]
    if node.op == "Elu":
        return [np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)]
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
    axis = int(node.attrs.get("axis", -1))
    shifted = x - x.max(axis=axis, keepdims=True)
    total = np.exp(shifted).sum(axis=axis, keepdims=True)
    if node.op == "LogSoftmax":
        return [shifted - np.log(total)]
    return [np.exp(shifted) / total]


@operator("BatchNormalization")
def _batch_norm(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x, scale, bias, mean, variance = inputs[:5]
    shape = (1, -1) + (1,) * (x.ndim - 2)
    factor = scale / np.sqrt(variance + np.float32(node.attrs.get("epsilon", 1e-5)))
    return [(x - mean.reshape(shape)) * factor.reshape(shape) + bias.reshape(shape)]


@operator("LayerNormalization")
def _layer_norm(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x, scale = inputs[:2]
    axis = int(node.attrs.get("axis", -1)) % x.ndim
    axes = tuple(range(axis, x.ndim))
    centred = x - x.mean(axis=axes, keepdims=True)
    variance = (centred * centred).mean(axis=axes, keepdims=True)
    y = centred / np.sqrt(variance + np.float32(node.attrs.get("epsilon", 1e-5))) * scale
    if len(inputs) > 2 and inputs[2] is not None:
        y = y + inputs[2]
    return [y]


@operator("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceProd")
def _reduce(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x = inputs[0]
    axes = axes_of(node, inputs, 1)
    if axes is None and node.attrs.get("noop_with_empty_axes", 0):
        return [x]
    keep = bool(node.attrs.get("keepdims", 1))
    if node.op == "ReduceL2":
        return [np.sqrt((x * x).sum(axis=axes, keepdims=keep))]
    functions: dict[str, Any] = {
        "ReduceMean": np.mean,
        "ReduceSum": np.sum,
        "ReduceMax": np.max,
        "ReduceMin": np.min,
        "ReduceProd": np.prod,
    }
    return [np.asarray(functions[node.op](x, axis=axes, keepdims=keep), dtype=x.dtype)]


@operator("ArgMax")
def _argmax(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    axis = int(node.attrs.get("axis", 0))
    keep = bool(node.attrs.get("keepdims", 1))
    return [np.asarray(np.argmax(inputs[0], axis=axis, keepdims=keep), np.int64)]


@operator("Cast")
def _cast(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    to = int(node.attrs["to"])
    if to not in _CAST:
        raise ValueError(f"{node.name}: Cast to ONNX type {to} is not supported")
    return [np.asarray(inputs[0]).astype(_CAST[to])]


@operator("Dropout")
def _dropout(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    return [inputs[0]]  # inference


# onnx.TensorProto.DataType; FP16 and FP64 compute in float32 like everything else here
_CAST = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float32,
    11: np.float32,
}
