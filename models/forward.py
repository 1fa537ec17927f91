"""Runs a network: golden values in the arithmetic of the hardware, or fast in float32.

`fp16` rounds both operands of every product to FP16 and accumulates in FP32 in ascending k, exactly
as the engine does. `int8` quantises both operands of every product symmetrically, one scale a
tensor (largest magnitude to 127, round to nearest even), accumulates in INT32 and scales back.
`float32` is BLAS: fast, its order of accumulation is the library's own, and it is never what
hardware is compared with. Between products everything is float32 in all three.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsim.models import gemm as golden
from hwsim.models.formats import FP16, INT8, NumberFormat
from hwsim.models.network import Network, Node
from hwsim.models.ops import OPS, Context, load_all

__all__ = ["Arithmetic", "float32", "forward", "fp16", "int8", "quantise"]

Exact = Callable[[NDArray, NDArray, NumberFormat], NDArray]
Hook = Callable[[Node, NDArray, NDArray, NDArray], None]


@dataclass(frozen=True)
class Arithmetic:
    """How the products of a network are computed.

    Attributes:
        name: `float32`, `fp16` or `int8`.
        product: float32 A[m, k], B[k, n] -> the operands as used, the accumulator, and Z in
            float32.
    """

    name: str
    product: Callable[[NDArray, NDArray], tuple[NDArray, NDArray, NDArray, NDArray]]


def float32() -> Arithmetic:
    """BLAS in float32: the fast path."""

    def product(a: NDArray, b: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        z = a @ b
        return a, b, z, z

    return Arithmetic("float32", product)


def fp16(gemm: Exact = golden.gemm) -> Arithmetic:
    """FP16 x FP16 + FP32 in ascending k; `gemm` is the golden one or a kernel of the same bits."""

    def product(a: NDArray, b: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        small_a, small_b = FP16.operand(a), FP16.operand(b)
        z = gemm(small_a, small_b, FP16)
        return small_a, small_b, z, z

    return Arithmetic("fp16", product)


def int8(gemm: Exact = golden.gemm) -> Arithmetic:
    """INT8 x INT8 + INT32 with one scale a tensor."""

    def product(a: NDArray, b: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        (qa, scale_a), (qb, scale_b) = quantise(a), quantise(b)
        z = gemm(qa, qb, INT8)
        return qa, qb, z, z.astype(np.float32) * (scale_a * scale_b)

    return Arithmetic("int8", product)


def quantise(x: NDArray) -> tuple[NDArray[np.int8], np.float32]:
    """Symmetric INT8: `x` is near values * scale, scale = largest magnitude / 127."""
    top = np.float32(np.abs(x).max(initial=0))
    scale = top / np.float32(127) if top else np.float32(1)
    return np.rint(x / scale).astype(np.int8), scale


def forward(
    network: Network,
    inputs: Mapping[str, NDArray],
    arithmetic: Arithmetic | None = None,
    *,
    hook: Hook | None = None,
    keep: bool = False,
) -> dict[str, NDArray]:
    """The network's outputs by name, or with `keep` every tensor that was computed.

    Args:
        inputs: an array for every network input, of its shape.
        arithmetic: `float32()` when None.
        hook: called with (node, A, B, Z accumulator) of every product, operands as used.

    Raises:
        ValueError: an input is missing, has another shape or holds NaN, or an operator is unknown.
    """
    load_all()
    rule = arithmetic or float32()
    values: dict[str, NDArray] = {}
    for name in network.inputs:
        if name not in inputs:
            raise ValueError(f"{network.name} needs an input {name!r}")
        x = np.asarray(inputs[name])
        if tuple(x.shape) != tuple(network.shapes[name]):
            raise ValueError(
                f"input {name!r} must have shape {tuple(network.shapes[name])}, "
                f"but got {tuple(x.shape)}"
            )
        if x.dtype.kind == "f" and np.isnan(x).any():
            raise ValueError(f"input {name!r} must not hold NaN")
        values[name] = x.astype(np.float32) if x.dtype.kind == "f" else x

    def gemm(node: Node, a: NDArray, b: NDArray) -> NDArray:
        used_a, used_b, raw, z = rule.product(a, b)
        if hook is not None:
            hook(node, used_a, used_b, raw)
        return z

    context = Context(gemm)
    last_use = {name: i for i, node in enumerate(network.nodes) for name in node.inputs}
    with np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore"):
        for i, node in enumerate(network.nodes):
            if node.op not in OPS:
                raise ValueError(f"{node.name}: operator {node.op} is not supported")
            args = [_argument(network, values, name) for name in node.inputs]
            for name, y in zip(node.outputs, OPS[node.op](node, args, context), strict=False):
                values[name] = np.asarray(y)
            if not keep:
                for name in node.inputs:
                    if last_use[name] == i and name not in network.outputs:
                        values.pop(name, None)
    if keep:
        return values
    return {
        name: values[name] if name in values else network.value(name) for name in network.outputs
    }


def _argument(network: Network, values: Mapping[str, NDArray], name: str) -> NDArray | None:
    if not name:
        return None
    if name in values:
        return values[name]
    return network.value(name)
