"""Golden delta layers in integers: encoders, sigma accumulation of linear and conv2d layers.

A delta network computes on change. The encoder of a stream emits, a frame, the difference of every
element to what it emitted before; a layer adds the weights of every non-zero difference (an event)
into sums that it keeps from frame to frame (sigma); at the frame's end every sum passes bias,
ReLU, requantisation and an optional max-pool, and the difference to the last frame's result goes
to the next layer. Source of the layer: arXiv 2107.07305; of the threshold rule: DeltaGRU and
EdgeDRNN, arXiv 1912.12193.

With the quantise rule the differences telescope: in integers sigma(conv(delta)) equals conv of the
quantised frame exactly, whatever the sequence, as long as no sum saturates. The threshold rule
leaves every element's reference within Theta of the element, so its results differ from the dense
network's.

Two rounding rules, stated once. `requantise` is floor(x * multiplier / 2**shift + 1/2), ties
towards plus infinity: an addition and a shift in hardware. Events are scanned in the order y, x,
channel, the channel innermost; a sum that leaves the accumulator saturates at once, at that event.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hwsim.models.im2col import out_size, windows

__all__ = [
    "Conv",
    "DeltaEncoder",
    "DeltaLayer",
    "DeltaNetwork",
    "Linear",
    "Output",
    "dense_codes",
    "dense_sums",
    "requantise",
    "scan",
]

Ints = NDArray[np.int64]


def requantise(
    x: NDArray, multiplier: NDArray | int, shift: int, *, bits: int, signed: bool = False
) -> Ints:
    """floor(x * multiplier / 2**shift + 1/2), clipped to `bits`.

    Args:
        x: integers, any shape.
        multiplier: integers from 0, broadcast to `x`.
        shift: 0..62.
        bits: of the result, 1..32.
        signed: clip to -2**(bits-1) .. 2**(bits-1) - 1, otherwise to 0 .. 2**bits - 1.

    Returns:
        int64, the shape of `x`.

    Raises:
        ValueError: a shift or width outside its range, or a negative multiplier.
    """
    if not 0 <= shift <= 62:
        raise ValueError(f"shift must be 0..62, but got {shift}")
    if not 1 <= bits <= 32:
        raise ValueError(f"bits must be 1..32, but got {bits}")
    factor = np.asarray(multiplier, np.int64)
    if (factor < 0).any():
        raise ValueError(f"multiplier must not be negative, but got {int(factor.min())}")
    half = (1 << shift) >> 1
    scaled = (np.asarray(x, np.int64) * factor + half) >> shift
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    return np.clip(scaled, low, high)


def scan(delta: NDArray) -> Iterator[tuple[int, tuple[int, ...], int]]:
    """Events of one frame in scan order: position, index and value of every non-zero.

    A vector is scanned from element 0; an image [channels, height, width] in the order y, x,
    channel, so its position is (y * width + x) * channels + channel.
    """
    ordered = delta if delta.ndim == 1 else np.moveaxis(delta, 0, -1)
    for position in np.flatnonzero(ordered):
        place = tuple(int(i) for i in np.unravel_index(position, ordered.shape))
        index = place if delta.ndim == 1 else (place[-1], *place[:-1])
        yield int(position), index, int(delta[index])


@dataclass
class DeltaEncoder:
    """Turns frames of integers into differences; keeps a reference for every element.

    The quantise rule (`theta` None) first maps an element to its code,
    `requantise(x, multiplier, shift)`, and emits the difference to the last code. The threshold
    rule emits x - reference and moves the reference to x where |x - reference| >= theta, else it
    emits 0 and leaves the reference: the reference never is theta or more away from x. References
    begin at 0.

    Attributes:
        theta: threshold in units of the input, or None for the quantise rule.
        multiplier, shift, bits, signed: of `requantise`; the quantise rule's step is
            2**shift / multiplier.
        reference: int64, the shape of a frame after the first; None before it.

    Raises:
        ValueError: Theta is negative.
    """

    theta: int | None = None
    multiplier: int = 1
    shift: int = 0
    bits: int = 16
    signed: bool = True
    reference: Ints | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.theta is not None and self.theta < 0:
            raise ValueError(f"theta must not be negative, but got {self.theta}")

    def step(self, frame: NDArray) -> Ints:
        """The differences of one frame of integers, int64, its shape.

        Raises:
            ValueError: not integers, or another shape than the frames before.
        """
        if not np.issubdtype(frame.dtype, np.integer):
            raise ValueError(f"a frame must hold integers, but got {frame.dtype}")
        if self.reference is None:
            self.reference = np.zeros(frame.shape, np.int64)
        if frame.shape != self.reference.shape:
            raise ValueError(
                f"every frame must have the shape {self.reference.shape}, but got {frame.shape}"
            )
        x = frame.astype(np.int64)
        if self.theta is None:
            x = requantise(x, self.multiplier, self.shift, bits=self.bits, signed=self.signed)
            delta = x - self.reference
        else:
            delta = x - self.reference
            delta[np.abs(delta) < self.theta] = 0
        self.reference = self.reference + delta
        return delta


@dataclass(frozen=True, eq=False)
class Output:
    """The pass over all sums at a frame's end: bias, ReLU, requantise, max-pool.

    Attributes:
        bias: int64 [n], in units of a sum.
        multiplier: int64 [n], from 0; the step of an output's code is 2**shift / multiplier sums.
        shift: of `requantise`, one for the layer.
        bits: of a code: unsigned with ReLU, two's complement without.
        relu: clip sums below 0 to 0.
        pool: side and stride of the max-pool of an image, 1 for none; a last row or column of
            windows that is not whole is left out.
    """

    bias: Ints
    multiplier: Ints
    shift: int
    bits: int = 8
    relu: bool = True
    pool: int = 1

    def __post_init__(self) -> None:
        if self.bias.shape != self.multiplier.shape or self.bias.ndim != 1:
            raise ValueError(
                "bias and multiplier must be vectors of one length, but got shapes "
                f"{self.bias.shape} and {self.multiplier.shape}"
            )
        if self.pool < 1:
            raise ValueError(f"pool must be at least 1, but got {self.pool}")

    def codes(self, sums: Ints) -> Ints:
        """Codes [n] of sums [n], or [n, height / pool, width / pool] of [n, height, width]."""
        shape = (-1,) + (1,) * (sums.ndim - 1)
        z = sums + self.bias.reshape(shape)
        if self.relu:
            z = np.maximum(z, 0)
        codes = requantise(
            z, self.multiplier.reshape(shape), self.shift, bits=self.bits, signed=not self.relu
        )
        if self.pool == 1 or codes.ndim == 1:
            return codes
        high, wide = codes.shape[1] // self.pool, codes.shape[2] // self.pool
        whole = codes[:, : high * self.pool, : wide * self.pool]
        return whole.reshape(len(codes), high, self.pool, wide, self.pool).max((2, 4))


@dataclass(frozen=True, eq=False)
class Linear:
    """Weights [outputs, inputs], integers, and the output pass.

    An input of another rank is taken in its own order, channel outermost, as ONNX flattens.
    """

    weight: Ints
    output: Output

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or len(self.weight) != len(self.output.bias):
            raise ValueError(
                f"weight must be [outputs, inputs] with {len(self.output.bias)} outputs, "
                f"but got {self.weight.shape}"
            )


@dataclass(frozen=True, eq=False)
class Conv:
    """Weights [filters, channels / groups, kernel height, kernel width] and the output pass.

    Attributes:
        stride: of both axes.
        pad: zeros on each of the four sides.
        groups: divides channels and filters.
    """

    weight: Ints
    output: Output
    stride: int = 1
    pad: int = 0
    groups: int = 1

    def __post_init__(self) -> None:
        if self.weight.ndim != 4 or len(self.weight) != len(self.output.bias):
            raise ValueError(
                "weight must be [filters, channels / groups, kernel, kernel] with "
                f"{len(self.output.bias)} filters, but got {self.weight.shape}"
            )
        if self.stride < 1 or self.pad < 0 or self.groups < 1 or len(self.weight) % self.groups:
            raise ValueError(
                "stride and groups must be at least 1, pad at least 0 and groups divide the "
                f"{len(self.weight)} filters, but got stride={self.stride}, pad={self.pad}, "
                f"groups={self.groups}"
            )

    def sums_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """[filters, height, width] of the sums for an input [channels, height, width]."""
        if len(shape) != 3 or shape[0] != self.weight.shape[1] * self.groups:
            raise ValueError(
                f"the input must have {self.weight.shape[1] * self.groups} channels and two axes, "
                f"but got shape {shape}"
            )
        kernel = self.weight.shape[2:]
        sides = (out_size(s, k, self.stride, 1, 2 * self.pad)
                 for s, k in zip(shape[1:], kernel, strict=True))  # fmt: skip
        return (len(self.weight), *sides)


class DeltaLayer:
    """A layer with its state: sums and the codes it last put out, both 0 at first.

    Attributes:
        layer: weights and output pass.
        accumulator_bits: width of a sum, two's complement; None for no limit.
        sigma: int64, the sums; None before the first frame.
        codes: int64, the last frame's codes; None before the first frame.
        saturations: additions that left the accumulator's range so far.
    """

    def __init__(self, layer: Linear | Conv, *, accumulator_bits: int | None = 32) -> None:
        if accumulator_bits is not None and not 2 <= accumulator_bits <= 62:
            raise ValueError(f"accumulator_bits must be 2..62, but got {accumulator_bits}")
        self.layer = layer
        self.accumulator_bits = accumulator_bits
        self.sigma: Ints | None = None
        self.codes: Ints | None = None
        self.saturations = 0

    def step(self, delta: NDArray) -> Ints:
        """Take a frame's differences, give the differences of this layer's codes, int64."""
        if isinstance(self.layer, Linear):
            delta = delta.reshape(-1)
        if self.sigma is None:
            self.sigma = np.zeros(_sums_shape(self.layer, delta.shape), np.int64)
            self.codes = np.zeros_like(self.layer.output.codes(self.sigma))
        for _, index, value in scan(delta):
            self._event(index, value)
        assert self.codes is not None
        codes = self.layer.output.codes(self.sigma)
        changed = codes - self.codes
        self.codes = codes
        return changed

    def _event(self, index: tuple[int, ...], value: int) -> None:
        """Add value times the weights of one input to every sum that reads it."""
        assert self.sigma is not None
        weight = self.layer.weight
        if isinstance(self.layer, Linear):
            self._add((slice(None),), value * weight[:, index[0]])
            return
        channel, y, x = index
        layer = self.layer
        share = len(weight) // layer.groups
        group, inner = divmod(channel, weight.shape[1])
        outputs = slice(group * share, (group + 1) * share)
        for ky in range(weight.shape[2]):
            for kx in range(weight.shape[3]):
                top, left = y + layer.pad - ky, x + layer.pad - kx
                if top % layer.stride or left % layer.stride:
                    continue
                oy, ox = top // layer.stride, left // layer.stride
                if 0 <= oy < self.sigma.shape[1] and 0 <= ox < self.sigma.shape[2]:
                    self._add((outputs, oy, ox), value * weight[outputs, inner, ky, kx])

    def _add(self, place: tuple, products: Ints) -> None:
        assert self.sigma is not None
        total = self.sigma[place] + products
        if self.accumulator_bits is not None:
            top = 1 << (self.accumulator_bits - 1)
            kept = np.clip(total, -top, top - 1)
            self.saturations += int((kept != total).sum())
            total = kept
        self.sigma[place] = total


class DeltaNetwork:
    """An encoder and delta layers in a row.

    Args:
        encoder: of the input; its state is kept.
        layers: weights, in order.
        accumulator_bits: of every layer.
    """

    def __init__(
        self,
        encoder: DeltaEncoder,
        layers: Sequence[Linear | Conv],
        *,
        accumulator_bits: int | None = 32,
    ) -> None:
        self.encoder = encoder
        self.layers = [DeltaLayer(layer, accumulator_bits=accumulator_bits) for layer in layers]

    def step(self, frame: NDArray) -> list[Ints]:
        """Differences of one frame: the input's first, then every layer's.

        The result of the network is `layers[-1].codes`.
        """
        deltas = [self.encoder.step(frame)]
        for layer in self.layers:
            deltas.append(layer.step(deltas[-1]))
        return deltas


def dense_sums(layer: Linear | Conv, codes: NDArray) -> Ints:
    """What the sums are by definition: the layer's product with a whole frame of codes."""
    x = np.asarray(codes, np.int64)
    weight = np.asarray(layer.weight, np.int64)
    if isinstance(layer, Linear):
        return weight @ x.reshape(-1)
    shape = layer.sums_shape(x.shape)
    pads = ((0, 0), (layer.pad, layer.pad), (layer.pad, layer.pad))
    padded = np.ascontiguousarray(np.pad(x, pads))
    stride = (layer.stride, layer.stride)
    seen = windows(padded[None], weight.shape[2:], stride, (1, 1), shape[1:])[0]
    parts = zip(np.split(seen, layer.groups), np.split(weight, layer.groups), strict=True)
    return np.concatenate([np.einsum("cyxij,fcij->fyx", part, w) for part, w in parts])


def dense_codes(layers: Sequence[Linear | Conv], codes: NDArray) -> list[Ints]:
    """Every layer's codes for one frame of input codes, without any state."""
    found = []
    for layer in layers:
        codes = layer.output.codes(dense_sums(layer, codes))
        found.append(codes)
    return found


def _sums_shape(layer: Linear | Conv, shape: tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(layer, Conv):
        return layer.sums_shape(shape)
    if shape != (layer.weight.shape[1],):
        raise ValueError(f"the input must have {layer.weight.shape[1]} elements, but got {shape}")
    return (len(layer.weight),)
