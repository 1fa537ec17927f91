"""Golden operators that move, cut and join data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hwsim.models.network import Node
from hwsim.models.ops import Context, Inputs, axes_of, operator

__all__: list[str] = []


@operator("Reshape")
def _reshape(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x = inputs[0]
    shape = inputs[1] if len(inputs) > 1 else node.attrs["shape"]
    sizes = [int(s) for s in np.atleast_1d(shape)]
    if not node.attrs.get("allowzero", 0):
        sizes = [x.shape[i] if s == 0 else s for i, s in enumerate(sizes)]
    return [x.reshape(sizes)]


@operator("Flatten")
def _flatten(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x = inputs[0]
    axis = int(node.attrs.get("axis", 1))
    axis = axis + x.ndim if axis < 0 else axis
    return [x.reshape(int(np.prod(x.shape[:axis], dtype=np.int64)), -1)]


@operator("Transpose")
def _transpose(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    return [np.transpose(inputs[0], node.attrs.get("perm"))]


@operator("Squeeze")
def _squeeze(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    return [np.squeeze(inputs[0], axis=axes_of(node, inputs, 1))]


@operator("Unsqueeze")
def _unsqueeze(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    axes = axes_of(node, inputs, 1)
    if axes is None:
        raise ValueError(f"{node.name}: Unsqueeze needs axes")
    return [np.expand_dims(inputs[0], axes)]


@operator("Concat")
def _concat(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    return [np.concatenate([np.asarray(x) for x in inputs], axis=int(node.attrs["axis"]))]


@operator("Split")
def _split(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x = inputs[0]
    axis = int(node.attrs.get("axis", 0))
    sizes = inputs[1] if len(inputs) > 1 else node.attrs.get("split")
    if sizes is None:
        parts = len(node.outputs)
        chunk = -(-x.shape[axis] // parts)
        return np.split(x, range(chunk, x.shape[axis], chunk), axis=axis)
    return np.split(x, np.cumsum(np.asarray(sizes))[:-1], axis=axis)


@operator("Slice")
def _slice(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x = inputs[0]
    if len(inputs) > 1:
        starts, ends = (np.atleast_1d(inputs[i]) for i in (1, 2))
        axes = inputs[3] if len(inputs) > 3 and inputs[3] is not None else range(len(starts))
        steps = inputs[4] if len(inputs) > 4 and inputs[4] is not None else [1] * len(starts)
    else:
        starts, ends = node.attrs["starts"], node.attrs["ends"]
        axes, steps = node.attrs.get("axes", range(len(starts))), [1] * len(starts)
    cut = [slice(None)] * x.ndim
    for start, end, axis, step in zip(
        starts, ends, np.atleast_1d(axes), np.atleast_1d(steps), strict=True
    ):
        size, lo, hi = x.shape[int(axis)], int(start), int(end)
        if step < 0 and lo < -size:  # ONNX starts at the first element, a Python slice nowhere
            lo = 0
        if step < 0 and hi < -size:  # before the first element: a Python slice has None for that
            cut[int(axis)] = slice(lo, None, int(step))
        else:
            cut[int(axis)] = slice(lo, hi, int(step))
    return [x[tuple(cut)]]


@operator("Gather")
def _gather(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    axis = int(node.attrs.get("axis", 0))
    return [np.asarray(np.take(inputs[0], np.asarray(inputs[1], np.int64), axis=axis))]


@operator("Expand")
def _expand(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x = inputs[0]
    shape = np.broadcast_shapes(x.shape, tuple(int(s) for s in inputs[1]))
    return [np.ascontiguousarray(np.broadcast_to(x, shape))]


@operator("Tile")
def _tile(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    return [np.tile(inputs[0], tuple(int(s) for s in inputs[1]))]


@operator("Shape")
def _shape(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    shape = inputs[0].shape[node.attrs.get("start", 0) : node.attrs.get("end")]
    return [np.array(shape, np.int64)]


@operator("Size")
def _size(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    return [np.array(inputs[0].size, np.int64)]


@operator("Constant")
def _constant(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        if name in node.attrs:
            dtype = {"value_float": np.float32, "value_floats": np.float32}.get(name)
            return [np.asarray(node.attrs[name], dtype)]
    raise ValueError(f"{node.name}: a Constant of {', '.join(node.attrs)} is not supported")


@operator("ConstantOfShape")
def _constant_of_shape(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    value = np.asarray(node.attrs.get("value", np.zeros(1, np.float32)))
    return [np.full(tuple(int(s) for s in inputs[0]), value.ravel()[0], value.dtype)]


@operator("Range")
def _range(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    start, stop, step = (np.asarray(x).ravel()[0] for x in inputs)
    return [np.arange(start, stop, step, dtype=np.asarray(inputs[0]).dtype)]


@operator("Pad")
def _pad(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x = inputs[0]
    given = inputs[1] if len(inputs) > 1 else node.attrs["pads"]
    pads = [int(p) for p in np.atleast_1d(given)]
    axes = inputs[3] if len(inputs) > 3 and inputs[3] is not None else range(x.ndim)
    axes = [int(a) % x.ndim for a in np.atleast_1d(axes)]
    before, after = [0] * x.ndim, [0] * x.ndim
    for i, axis in enumerate(axes):
        before[axis], after[axis] = pads[i], pads[i + len(axes)]
    cut = tuple(
        slice(max(0, -b), s - max(0, -a)) for b, a, s in zip(before, after, x.shape, strict=True)
    )
    widths = [(max(0, b), max(0, a)) for b, a in zip(before, after, strict=True)]
    mode = str(node.attrs.get("mode", "constant"))
    if mode == "constant":
        value = (
            inputs[2] if len(inputs) > 2 and inputs[2] is not None else node.attrs.get("value", 0)
        )
        fill = x.dtype.type(np.asarray(value).ravel()[0])
        return [np.pad(x[cut], widths, constant_values=fill)]
    if mode not in ("reflect", "edge", "wrap"):
        raise ValueError(f"{node.name}: Pad mode {mode!r} is not supported")
    return [np.pad(x[cut], widths, mode=mode)]  # type: ignore[call-overload]


@operator("DepthToSpace")
def _depth_to_space(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x = inputs[0]
    b, c, h, w = x.shape
    s = int(node.attrs["blocksize"])
    if str(node.attrs.get("mode", "DCR")) == "DCR":
        y = x.reshape(b, s, s, c // (s * s), h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        y = x.reshape(b, c // (s * s), s, s, h, w).transpose(0, 1, 4, 2, 5, 3)
    return [y.reshape(b, c // (s * s), h * s, w * s)]


@operator("SpaceToDepth")
def _space_to_depth(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x = inputs[0]
    b, c, h, w = x.shape
    s = int(node.attrs["blocksize"])
    order = (
        (0, 3, 5, 1, 2, 4) if str(node.attrs.get("mode", "DCR")) == "DCR" else (0, 1, 3, 5, 2, 4)
    )
    y = x.reshape(b, c, h // s, s, w // s, s).transpose(order)
    return [y.reshape(b, c * s * s, h // s, w // s)]


@operator("GatherElements")
def _gather_elements(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x, axis = inputs[0], int(node.attrs.get("axis", 0))
    index = np.asarray(inputs[1], np.int64)
    whole = [slice(None)] * x.ndim
    for other in range(x.ndim):  # the index may be shorter along the other axes
        if other != axis % x.ndim:
            whole[other] = slice(index.shape[other])
    index = np.where(index < 0, index + x.shape[axis], index)
    return [np.take_along_axis(x[tuple(whole)], index, axis=axis)]


@operator("Trilu")
def _trilu(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    k = int(inputs[1]) if len(inputs) > 1 and inputs[1] is not None else 0
    return [np.triu(inputs[0], k) if node.attrs.get("upper", 1) else np.tril(inputs[0], k)]


@operator("CumSum")
def _cumsum(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    x, axis = inputs[0], int(np.ravel(inputs[1])[0])
    if node.attrs.get("reverse", 0):
        x = np.flip(x, axis)
    y = np.cumsum(x, axis=axis, dtype=x.dtype)
    if node.attrs.get("exclusive", 0):
        y = y - x
    return [np.flip(y, axis) if node.attrs.get("reverse", 0) else y]
