"""A trained delta network in integers: what `delta.py` runs and hardware computes.

Steps are folded into the weights behind them, weights rounded with one scale a filter, and every
step becomes a multiplier and a shift. `integer_stages` runs the result over many clips at once, on
PyTorch's convolutions in FP64, which are exact on integers below 2**53. Needs the extra `train`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from hwsim.models.dal_torch import DeltaLayer, DeltaNet
from hwsim.models.delta import Conv, DeltaEncoder, Linear, Output, requantise

__all__ = ["export", "integer_stages", "widen"]

_MULTIPLIER_BITS = 15  # an error of 2**-15 in a step is far below a weight's


@torch.no_grad()
def widen(network: DeltaNet, sample: Tensor, *, code_bits: int = 8) -> None:
    """Raise steps, in place, until every code of a sample fits `code_bits` unsigned.

    Where the sparsity loss does not hold it back, training makes a step as small as it likes;
    eight bits would clip such a channel. A step also becomes at least 2**-8 of its layer's largest,
    so that one shift leaves every multiplier of a layer some bits.

    Args:
        network: of method `dal`.
        sample: input [clips, steps, ...] that shows every signal's range.
        code_bits: of a code.
    """
    top = (1 << code_bits) - 1
    value = sample
    for at in range(-1, len(network.layers)):
        if at >= 0:
            layer = network.layer(at)
            z = layer.sums(value) + layer.bias
            quantiser = layer.quantiser
        else:
            z, quantiser = value, network.entry
        if quantiser is not None:
            step = quantiser.threshold
            largest = z.flatten(0, 1).amax(0)
            for axis, size in enumerate(step.shape):
                if size == 1:
                    largest = largest.amax(axis, keepdim=True)
            steps = torch.maximum(step.abs(), largest / top)
            step.copy_(steps.clamp_min(float(steps.max()) / 256))
        value = z if at < 0 else layer.output(z - layer.bias)
        if at < 0 and quantiser is not None:
            value = quantiser(z)


def export(
    network: DeltaNet,
    *,
    input_scale: float = 1.0,
    weight_bits: int = 8,
    code_bits: int = 8,
    result_bits: int = 16,
) -> tuple[DeltaEncoder, list[Linear | Conv]]:
    """The encoder of pixels and the layers in integers.

    The last layer's weights have one scale for all its outputs, so that classes compare; its sums
    are shifted right until the largest possible one has `result_bits`.

    Args:
        network: of method `dal`, its input quantised with one step.
        input_scale: the network's input is input_scale * pixel.
        weight_bits: of a weight, two's complement without the lowest value.
        code_bits: of the input's and every layer's codes, unsigned.
        result_bits: of the last layer's codes, two's complement.

    Raises:
        ValueError: another method, or an input with several steps.
    """
    if network.method != "dal" or network.entry is None:
        raise ValueError(f"only a dal network has codes to export, but got {network.method!r}")
    if network.entry.threshold.numel() != 1:
        raise ValueError(f"the input must have one step, but got {network.entry.threshold.numel()}")
    step = float(network.entry.threshold.abs().detach())
    multiplier, shift = _fixed(np.array([input_scale / step]))
    encoder = DeltaEncoder(multiplier=int(multiplier[0]), shift=shift, bits=code_bits, signed=False)
    steps = np.array([step])  # of what enters the layer, by channel or element
    found: list[Linear | Conv] = []
    for layer in network.layers:
        assert isinstance(layer, DeltaLayer)
        found.append(_integers(layer, steps, weight_bits, code_bits, result_bits))
        if layer.quantiser is not None:
            steps = _numpy(layer.quantiser.threshold.abs()).reshape(-1)
    return encoder, found


@torch.no_grad()
def integer_stages(
    encoder: DeltaEncoder, layers: list[Linear | Conv], pixels: np.ndarray
) -> list[np.ndarray]:
    """Codes that enter every layer and, last, the result's, of whole clips without saturation.

    Args:
        encoder, layers: of `export`; the encoder's state is not used.
        pixels: integers [clips, steps, ...].

    Returns:
        int64 arrays [clips, steps, ...]; differences along axis 1 are the engine's events.
    """
    shape = pixels.shape[:2]
    flat = pixels.reshape(-1, *pixels.shape[2:])
    codes = requantise(
        flat, encoder.multiplier, encoder.shift, bits=encoder.bits, signed=encoder.signed
    )
    found = [codes]
    for layer in layers:
        x = torch.from_numpy(codes).double()
        w = torch.from_numpy(np.asarray(layer.weight)).double()
        if isinstance(layer, Linear):
            sums = x.flatten(1) @ w.T
        else:
            sums = nn.functional.conv2d(
                x, w, stride=layer.stride, padding=layer.pad, groups=layer.groups
            )
        whole = sums.numpy().astype(np.int64)
        codes = np.stack([layer.output.codes(frame) for frame in whole])
        found.append(codes)
    return [c.reshape(*shape, *c.shape[1:]) for c in found]


def _integers(
    layer: DeltaLayer, steps: np.ndarray, weight_bits: int, code_bits: int, result_bits: int
) -> Linear | Conv:
    p = layer.product
    weight = _numpy(p.weight)
    filters = len(weight)
    if isinstance(p, nn.Conv2d):
        inputs = np.broadcast_to(steps, p.in_channels).reshape(p.groups, 1, -1, 1, 1)
        grouped = weight.reshape(p.groups, -1, *weight.shape[1:]) * inputs
        weight = grouped.reshape(weight.shape)
    else:
        weight = weight * np.repeat(steps, weight.shape[1] // len(steps))
    top = (1 << (weight_bits - 1)) - 1
    scale = np.abs(weight).reshape(filters, -1).max(1) / top
    if layer.quantiser is None:
        scale = np.full(filters, scale.max())
    scale = np.where(scale > 0, scale, 1.0)
    q = np.rint(weight / scale.reshape(-1, *(1,) * (weight.ndim - 1))).astype(np.int64)
    bias = np.rint(_numpy(layer.bias).reshape(-1) / scale).astype(np.int64)
    if layer.quantiser is None:
        largest = np.abs(q).reshape(filters, -1).sum(1) * ((1 << code_bits) - 1) + np.abs(bias)
        shift = max(0, int(largest.max()).bit_length() + 1 - result_bits)
        ones = np.ones(filters, np.int64)
        output = Output(bias, ones, shift, result_bits, relu=layer.relu, pool=layer.pool)
    else:
        out = np.broadcast_to(_numpy(layer.quantiser.threshold.abs()).reshape(-1), filters)
        multiplier, shift = _fixed(scale / out)
        output = Output(bias, multiplier, shift, code_bits, relu=layer.relu, pool=layer.pool)
    if isinstance(p, nn.Linear):
        return Linear(q, output)
    return Conv(q, output, p.stride[0], int(p.padding[0]), p.groups)


def _fixed(ratio: np.ndarray) -> tuple[np.ndarray, int]:
    """ratio as multiplier / 2**shift: the largest shift whose multipliers have 15 bits."""
    shift = int(np.floor(np.log2(((1 << _MULTIPLIER_BITS) - 1) / ratio.max())))
    shift = min(max(shift, 0), 31)
    return np.rint(ratio * 2.0**shift).astype(np.int64), shift


def _numpy(x: Tensor) -> np.ndarray:
    return x.detach().double().numpy()
