"""Golden convolutions, matrix products and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.models.im2col import im2col, kernel_matrix, out_size, pad_image, resolve_pads, windows
from hwsim.models.network import Node
from hwsim.models.ops import Context, Inputs, attr_ints, operator

__all__ = ["WindowParameters", "conv_transpose_pads", "window_parameters"]


class WindowParameters:
    """Kernel, strides, dilations, pads and output size of a convolution or pooling node."""

    def __init__(self, node: Node, sizes: Sequence[int], kernel: Sequence[int]) -> None:
        rank = len(sizes)
        self.kernel = tuple(int(k) for k in kernel)
        self.strides = attr_ints(node, "strides", (1,) * rank)
        self.dilations = attr_ints(node, "dilations", (1,) * rank)
        self.pads = resolve_pads(
            str(node.attrs.get("auto_pad", "NOTSET")),
            attr_ints(node, "pads", (0,) * (2 * rank)),
            tuple(sizes),
            self.kernel,
            self.strides,
            self.dilations,
        )
        ceil = bool(node.attrs.get("ceil_mode", 0))
        try:
            out = [
                out_size(s, k, st, d, sum(p), ceil=ceil)
                for s, k, st, d, p in zip(
                    sizes, self.kernel, self.strides, self.dilations, self.pads, strict=True
                )
            ]
        except ValueError as error:
            raise ValueError(f"{node.name}: {error}") from None
        if ceil:  # a window that starts in the end padding is left out
            out = [
                o - 1 if (o - 1) * st >= s + p[0] else o
                for o, s, st, p in zip(out, sizes, self.strides, self.pads, strict=True)
            ]
        self.out = tuple(out)

    def view(self, x: NDArray, fill: float = 0.0) -> NDArray:
        """Windows of `x` after padding with `fill`, [batch, channels, out..., kernel...]."""
        pads = []
        for i, (before, after) in enumerate(self.pads):
            span = self.dilations[i] * (self.kernel[i] - 1) + 1
            need = (self.out[i] - 1) * self.strides[i] + span - x.shape[2 + i] - before
            pads.append((before, max(after, need)))
        padded = np.ascontiguousarray(pad_image(x, tuple(pads), fill))
        return windows(padded, self.kernel, self.strides, self.dilations, self.out)


def window_parameters(node: Node, sizes: Sequence[int], kernel: Sequence[int]) -> WindowParameters:
    """The window of a node over spatial `sizes`; `kernel` from the weight or `kernel_shape`."""
    return WindowParameters(node, sizes, kernel)


@operator("Conv")
def _conv(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x, w = inputs[:2]
    groups = int(node.attrs.get("group", 1))
    filters, channels = w.shape[:2]
    if x.shape[1] != channels * groups or filters % groups:
        raise ValueError(
            f"{node.name}: input channels must be group * kernel channels and filters divisible "
            f"by group, but got {x.shape[1]} channels, kernel {w.shape}, group {groups}"
        )
    window = window_parameters(node, x.shape[2:], w.shape[2:])
    view = window.view(x)
    share = filters // groups
    parts = [
        context.gemm(
            node,
            im2col(view[:, g * channels : (g + 1) * channels]),
            kernel_matrix(w[g * share : (g + 1) * share]),
        )
        for g in range(groups)
    ]
    z = parts[0] if groups == 1 else np.concatenate(parts, axis=1)
    if len(inputs) > 2 and inputs[2] is not None:
        z = z + inputs[2]
    return [np.moveaxis(z.reshape(x.shape[0], *window.out, filters), -1, 1)]


@operator("ConvTranspose")
def _conv_transpose(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x, w = inputs[:2]
    groups = int(node.attrs.get("group", 1))
    batch, channels, *sizes = x.shape
    share = w.shape[1]
    kernel = w.shape[2:]
    rank = len(sizes)
    strides = attr_ints(node, "strides", (1,) * rank)
    dilations = attr_ints(node, "dilations", (1,) * rank)
    pads, out = conv_transpose_pads(node, sizes, kernel)
    full = [
        (s - 1) * st + d * (k - 1) + 1
        for s, st, d, k in zip(sizes, strides, dilations, kernel, strict=True)
    ]
    room = [max(f, o + p[0]) for f, o, p in zip(full, out, pads, strict=True)]
    y = np.zeros((batch, share * groups, *room), np.float32)
    flat = np.moveaxis(x, 1, -1).reshape(-1, channels)
    each = channels // groups
    for g in range(groups):
        b = w[g * each : (g + 1) * each].reshape(each, -1)  # [k, filters * taps]
        z = context.gemm(node, flat[:, g * each : (g + 1) * each], b)
        taps = np.moveaxis(z.reshape(batch, *sizes, share, *kernel), 1 + rank, 1)
        for tap in np.ndindex(*kernel):
            place = tuple(
                slice(t * d, t * d + (s - 1) * st + 1, st)
                for t, d, s, st in zip(tap, dilations, sizes, strides, strict=True)
            )
            index = (slice(None), slice(None), *(slice(None),) * rank, *tap)
            y[(slice(None), slice(g * share, (g + 1) * share), *place)] += taps[index]
    cut = tuple(slice(p[0], p[0] + o) for p, o in zip(pads, out, strict=True))
    y = y[(slice(None), slice(None), *cut)]
    if len(inputs) > 2 and inputs[2] is not None:
        y = y + inputs[2].reshape((1, -1) + (1,) * rank)
    return [y]


def conv_transpose_pads(
    node: Node, sizes: Sequence[int], kernel: Sequence[int]
) -> tuple[tuple[tuple[int, int], ...], tuple[int, ...]]:
    """Pads and output sizes of a transposed convolution.

    `output_shape` and `auto_pad` settle the padding; an odd one has its extra element at the
    start, at the end for `SAME_UPPER`. An output longer than the windows reach ends in zeros.

    Raises:
        ValueError: an unknown `auto_pad`.
    """
    rank = len(sizes)
    strides = attr_ints(node, "strides", (1,) * rank)
    dilations = attr_ints(node, "dilations", (1,) * rank)
    extra = attr_ints(node, "output_padding", (0,) * rank)
    flat = attr_ints(node, "pads", (0,) * (2 * rank))
    rule = str(node.attrs.get("auto_pad", "NOTSET"))
    if rule not in ("", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise ValueError(f"{node.name}: auto_pad must be one of ONNX's four, but got {rule!r}")
    full = tuple(
        st * (s - 1) + e + (k - 1) * d + 1
        for s, st, e, k, d in zip(sizes, strides, extra, kernel, dilations, strict=True)
    )
    if "output_shape" not in node.attrs and not rule.startswith("SAME"):
        if rule == "VALID":
            flat = (0,) * (2 * rank)
        pads = tuple((flat[i], flat[i + rank]) for i in range(rank))
        return pads, tuple(f - sum(p) for f, p in zip(full, pads, strict=True))
    asked = attr_ints(node, "output_shape", ())
    same = tuple(s * st for s, st in zip(sizes, strides, strict=True))
    out = asked[-rank:] if asked else same
    totals = [max(f - o, 0) for f, o in zip(full, out, strict=True)]
    if rule == "SAME_UPPER":
        return tuple((t // 2, t - t // 2) for t in totals), out
    return tuple((t - t // 2, t // 2) for t in totals), out


@operator("Gemm")
def _gemm(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    a = inputs[0].T if node.attrs.get("transA", 0) else inputs[0]
    b = inputs[1].T if node.attrs.get("transB", 0) else inputs[1]
    z = context.gemm(node, a, b)
    alpha, beta = node.attrs.get("alpha", 1.0), node.attrs.get("beta", 1.0)
    if alpha != 1.0:
        z = z * np.float32(alpha)
    if len(inputs) > 2 and inputs[2] is not None:
        c = inputs[2]
        z = z + (c if beta == 1.0 else c * np.float32(beta))
    return [z]


@operator("MatMul")
def _matmul(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    a, b = inputs
    if b.ndim == 1 or (b.ndim == 2 and a.ndim >= 2):  # one product over all leading axes
        matrix = b if b.ndim == 2 else b[:, None]
        z = context.gemm(node, a.reshape(-1, a.shape[-1]), matrix)
        return [z.reshape((*a.shape[:-1], *b.shape[1:]))]
    wide_a = a[None, :] if a.ndim == 1 else a
    batch = np.broadcast_shapes(wide_a.shape[:-2], b.shape[:-2])
    left = np.broadcast_to(wide_a, (*batch, *wide_a.shape[-2:]))
    right = np.broadcast_to(b, (*batch, *b.shape[-2:]))
    out = np.empty((*batch, left.shape[-2], right.shape[-1]), np.float32)
    for index in np.ndindex(*batch):
        out[index] = context.gemm(node, left[index], right[index])
    return [out[..., 0, :] if a.ndim == 1 else out]


@operator("MaxPool", "AveragePool")
def _pool(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x = inputs[0]
    window = window_parameters(node, x.shape[2:], attr_ints(node, "kernel_shape", ()))
    axes = tuple(range(-len(window.kernel), 0))
    if node.op == "MaxPool":
        least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        return [window.view(x, least).max(axis=axes)]
    total = window.view(x).sum(axis=axes, dtype=np.float32)
    if node.attrs.get("count_include_pad", 0):
        # padding counts, but not what ceil_mode adds beyond it
        ones = pad_image(np.ones((1, 1, *x.shape[2:]), np.float32), window.pads, 1.0)
        bare: Any = WindowParameters.__new__(WindowParameters)
        bare.__dict__.update(window.__dict__, pads=((0, 0),) * len(window.kernel))
        return [total / bare.view(ones).sum(axis=axes)]
    return [total / window.view(np.ones((1, 1, *x.shape[2:]), np.float32)).sum(axis=axes)]


@operator("GlobalAveragePool", "GlobalMaxPool")
def _global_pool(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x = inputs[0]
    axes = tuple(range(2, x.ndim))
    if node.op == "GlobalMaxPool":
        return [x.max(axis=axes, keepdims=True)]
    return [x.mean(axis=axes, keepdims=True, dtype=np.float32)]
