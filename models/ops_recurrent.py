"""Golden LSTM and GRU, with ONNX's gate orders (i, o, f, c and z, r, h).

The input projection of all time steps is one product and the recurrent projection one a step, which
is how an accelerator runs them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.models.network import Node
from hwsim.models.ops import Context, Inputs, operator
from hwsim.models.ops_elementwise import _sigmoid

__all__ = ["check_recurrent"]


def _optional(inputs: Inputs, position: int) -> Any:
    return inputs[position] if len(inputs) > position else None


def check_recurrent(node: Node) -> None:
    """Refuse the forms that are not computed here.

    Raises:
        ValueError: other activations, clipping, peepholes or the batch-first layout.
    """
    given = [str(a) for a in node.attrs.get("activations", [])]
    usual = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"]}[node.op]
    if given and given != usual * (len(given) // len(usual)):
        raise ValueError(f"{node.name}: {node.op} with activations {given} is not supported")
    for name in ("clip", "layout", "input_forget"):
        if node.attrs.get(name, 0):
            value = node.attrs[name]
            raise ValueError(f"{node.name}: {node.op} with {name}={value} is not supported")
    if len(node.inputs) > 7 and node.inputs[7]:
        raise ValueError(f"{node.name}: LSTM with peepholes is not supported")


def _check(node: Node, inputs: Inputs) -> None:
    check_recurrent(node)
    lengths = _optional(inputs, 4)
    if lengths is not None and (np.asarray(lengths) != inputs[0].shape[0]).any():
        raise ValueError(f"{node.name}: {node.op} with ragged sequence_lens is not supported")


@operator("LSTM")
def _lstm(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    _check(node, inputs)
    x = inputs[0]
    steps, batch, _ = x.shape
    directions, hidden4 = inputs[1].shape[:2]
    hidden = hidden4 // 4
    outs, hs, cs = [], [], []
    for d in range(directions):
        gates, recurrent, h = _start(node, inputs, context, d, hidden)
        c0 = _optional(inputs, 6)
        c = c0[d] if c0 is not None else np.zeros((batch, hidden), np.float32)
        y = np.empty((steps, batch, hidden), np.float32)
        for t in _order(node, d, steps):
            z = gates[t] + context.gemm(node, h, recurrent)
            i, o, f = (_sigmoid(z[:, k * hidden : (k + 1) * hidden]) for k in range(3))
            c = f * c + i * np.tanh(z[:, 3 * hidden :])
            h = o * np.tanh(c)
            y[t] = h
        outs.append(y)
        hs.append(h)
        cs.append(c)
    return [np.stack(outs, axis=1), np.stack(hs), np.stack(cs)]


@operator("GRU")
def _gru(node: Node, inputs: Inputs, context: Context) -> Sequence[NDArray]:
    _check(node, inputs)
    x = inputs[0]
    steps, batch, _ = x.shape
    directions, hidden3 = inputs[1].shape[:2]
    hidden = hidden3 // 3
    before = bool(node.attrs.get("linear_before_reset", 0))
    outs, hs = [], []
    for d in range(directions):
        bias = _optional(inputs, 3)
        rb = bias[d, hidden3:] if bias is not None else np.zeros(hidden3, np.float32)
        gates, recurrent, h = _start(node, inputs, context, d, hidden)
        y = np.empty((steps, batch, hidden), np.float32)
        for t in _order(node, d, steps):
            if before:
                z = context.gemm(node, h, recurrent) + rb
                candidate_in = z[:, 2 * hidden :]
            else:
                z = context.gemm(node, h, recurrent[:, : 2 * hidden]) + rb[: 2 * hidden]
            update = _sigmoid(gates[t, :, :hidden] + z[:, :hidden])
            reset = _sigmoid(gates[t, :, hidden : 2 * hidden] + z[:, hidden : 2 * hidden])
            if before:
                candidate = np.tanh(gates[t, :, 2 * hidden :] + reset * candidate_in)
            else:
                inner = context.gemm(node, reset * h, recurrent[:, 2 * hidden :])
                candidate = np.tanh(gates[t, :, 2 * hidden :] + inner + rb[2 * hidden :])
            h = (1 - update) * candidate + update * h
            y[t] = h
        outs.append(y)
        hs.append(h)
    return [np.stack(outs, axis=1), np.stack(hs)]


def _start(
    node: Node, inputs: Inputs, context: Context, d: int, hidden: int
) -> tuple[NDArray, NDArray, NDArray]:
    """Input projections [steps, batch, gates], the recurrent matrix, the first hidden state."""
    x, w, r = inputs[:3]
    steps, batch, size = x.shape
    gates = context.gemm(node, x.reshape(-1, size), w[d].T).reshape(steps, batch, -1)
    bias = _optional(inputs, 3)
    if bias is not None:
        width = w.shape[1]
        gates = gates + bias[d, :width]
        if node.op == "LSTM":
            gates = gates + bias[d, width:]
    h0 = _optional(inputs, 5)
    h = h0[d] if h0 is not None else np.zeros((batch, hidden), np.float32)
    return gates, r[d].T, h


def _order(node: Node, d: int, steps: int) -> range:
    backwards = node.attrs.get("direction", "forward") == "reverse" or d == 1
    return range(steps - 1, -1, -1) if backwards else range(steps)
