"""Delta Activation Layer in PyTorch: any conv or linear network as one that computes on change.

After the equations of arXiv 2107.07305, a layer is

    sigma     s(t) = sum of the layer's products with the deltas up to t
    output    O(t) = pool(Q(activation(s(t) + bias))), Q(z) = round(z / q) q, q = |threshold|
    delta     O(t) - O(t-1), O(-1) = 0

with the gradients dL/dz = dL/dO (straight through) and dL/dq = -sum dL/dO round(z/q), whose sign
lets a sparsity loss push the step q up. The threshold is learned per channel, layer or neuron. The
bias lies behind the sum and the max-pool behind the quantiser, as neither is linear in deltas.
The loss that makes deltas rare is rate * fan_out * mean |O(t) - O(t+1)|, summed over the layers:
fan_out, the products that an element enters, weights a layer by the work that it saves.

Deltas telescope, so the product with whole frames gives the same outputs; `forward` takes that
short way unless told `explicit=True`. round is floor(x + 1/2), the hardware's, so that
`dal_export.py` gives integers for `delta.py`. Three methods share the class: `dal`, and without
quantisers `relu` and `l1`, whose loss is rate * fan_out * mean |O(t)|. Tensors are
[batch, steps, ...]. Needs the extra `train`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = [
    "GRANULARITIES",
    "METHODS",
    "DeltaLayer",
    "DeltaNet",
    "Quantiser",
    "delta_network",
    "deltas",
]

METHODS = ("relu", "l1", "dal")
GRANULARITIES = ("channel", "layer", "neuron")


class Quantiser(nn.Module):
    """Q(z) = floor(z / q + 1/2) q with the learned step q = |threshold|.

    Args:
        shape: of z without batch and steps.
        granularity: one threshold a channel (the first axis), layer or neuron.
        step: initial threshold.

    Raises:
        ValueError: an unknown granularity, or a step that is not positive.
    """

    def __init__(
        self, shape: tuple[int, ...], granularity: str = "channel", step: float = 1.0
    ) -> None:
        super().__init__()
        if granularity not in GRANULARITIES:
            raise ValueError(
                f"granularity must be one of {', '.join(GRANULARITIES)}, but got {granularity!r}"
            )
        if not step > 0:
            raise ValueError(f"step must be positive, but got {step}")
        ones = (1,) * len(shape)
        size = {"channel": (shape[0], *ones[1:]), "layer": ones, "neuron": shape}[granularity]
        self.threshold = nn.Parameter(torch.full(size, float(step)))

    def forward(self, z: Tensor) -> Tensor:
        """Quantised z [batch, steps, *shape], and the codes' gradient rule on the way back."""
        return _Round.apply(z, self.threshold.abs())

    @torch.no_grad()
    def calibrate(self, z: Tensor, fraction: float) -> None:
        """Set every threshold to `fraction` of the root mean square of the z that it serves, and
        that of a channel which is nearly silent to a sixteenth of the mean threshold."""
        shape = self.threshold.shape
        power = z.detach().pow(2).sum_to_size(shape) / (z.numel() / self.threshold.numel())
        steps = fraction * power.sqrt()
        self.threshold.copy_(steps.clamp_min(max(float(steps.mean()) / 16, 1e-6)))


class DeltaLayer(nn.Module):
    """A convolution or linear layer without bias, and what stands behind it.

    Args:
        product: Conv2d or Linear; its bias, if any, moves into this layer.
        shape: of an output frame before the pool.
        relu: activation.
        pool: side and stride of the max-pool, 1 for none.
        flatten: the input becomes a vector first.
        quantiser: of the output, or None.
    """

    def __init__(
        self,
        product: nn.Conv2d | nn.Linear,
        shape: tuple[int, ...],
        *,
        relu: bool,
        pool: int = 1,
        flatten: bool = False,
        quantiser: Quantiser | None = None,
    ) -> None:
        super().__init__()
        self.product = product
        bias = product.bias
        product.bias = None
        value = torch.zeros(shape[0]) if bias is None else bias.detach().clone()
        self.bias = nn.Parameter(value.reshape(-1, *(1,) * (len(shape) - 1)))
        self.relu, self.pool, self.flatten, self.quantiser = relu, pool, flatten, quantiser

    def sums(self, x: Tensor) -> Tensor:
        """The product with every frame, or with every delta, of [batch, steps, ...]."""
        frames = x.flatten(0, 1)
        if self.flatten:
            frames = frames.flatten(1)
        return self.product(frames).unflatten(0, x.shape[:2])

    def output(self, sums: Tensor) -> Tensor:
        """Bias, activation, quantiser and max-pool."""
        z = sums + self.bias
        if self.relu:
            z = z.relu()
        if self.quantiser is not None:
            z = self.quantiser(z)
        if self.pool > 1:
            pooled = nn.functional.max_pool2d(z.flatten(0, 1), self.pool)
            z = pooled.unflatten(0, z.shape[:2])
        return z

    @property
    def fan_out(self) -> float:
        """Products that an input element enters, borders aside."""
        p = self.product
        if isinstance(p, nn.Linear):
            return float(p.out_features)
        taps = p.kernel_size[0] * p.kernel_size[1] / (p.stride[0] * p.stride[1])
        return taps * p.out_channels / p.groups

    @torch.no_grad()
    def macs(self, x: Tensor) -> int:
        """Multiply-accumulates that the non-zeros of x [batch, steps, ...] cause, borders exact."""
        used = (x != 0).flatten(0, 1).to(torch.float64)
        p = self.product
        if isinstance(p, nn.Linear):
            return int(used.sum()) * p.out_features
        group = used.unflatten(1, (p.groups, -1)).sum(2).flatten(0, 1)[:, None]
        ones = torch.ones(1, 1, *p.kernel_size, dtype=torch.float64)
        taps = nn.functional.conv2d(group, ones, stride=p.stride, padding=p.padding)
        return int(taps.sum()) * (p.out_channels // p.groups)


class DeltaNet(nn.Module):
    """An input quantiser and delta layers in a row.

    Attributes:
        method: of METHODS.
        entry: the input's quantiser, None unless `dal`.
        layers: in order; the last has neither ReLU nor quantiser.
    """

    def __init__(self, method: str, entry: Quantiser | None, layers: list[DeltaLayer]) -> None:
        super().__init__()
        self.method, self.entry = method, entry
        self.layers = nn.ModuleList(layers)

    def layer(self, i: int) -> DeltaLayer:
        """Layer i, typed."""
        found = self.layers[i]
        assert isinstance(found, DeltaLayer)
        return found

    def stages(self, x: Tensor, *, explicit: bool = False) -> list[Tensor]:
        """What enters every layer and, last, the network's result.

        Args:
            x: [batch, steps, *input shape].
            explicit: compute on deltas, and return deltas, the result excepted.
        """
        value = x if self.entry is None else self.entry(x)
        found = []
        for layer in self.layers:
            assert isinstance(layer, DeltaLayer)
            if explicit:
                value = deltas(value)
            found.append(value)
            sums = layer.sums(value)
            value = layer.output(sums.cumsum(1) if explicit else sums)
        return [*found, value]

    def forward(self, x: Tensor, *, explicit: bool = False) -> Tensor:
        """Results [batch, steps, classes] of streams [batch, steps, *input shape]."""
        return self.stages(x, explicit=explicit)[-1]

    def sparsity_loss(self, stages: list[Tensor], rate: float) -> Tensor:
        """The method's penalty of `stages` of whole frames: 0 for `relu`.

        `l1` leaves the input out: it is not the network's to change.
        """
        total = stages[0].new_zeros(())
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, DeltaLayer)
            x = stages[i]
            if self.method == "dal":
                total = total + rate * layer.fan_out * (x[:, :-1] - x[:, 1:]).abs().mean()
            elif self.method == "l1" and i:
                total = total + rate * layer.fan_out * x.abs().mean()
        return total

    @torch.no_grad()
    def calibrate(self, x: Tensor, fraction: float) -> None:
        """Set every step to `fraction` of its signal's root mean square, layer after layer."""
        if self.entry is None:
            return
        self.entry.calibrate(x, fraction)
        value = self.entry(x)
        for layer in self.layers:
            assert isinstance(layer, DeltaLayer)
            z = layer.sums(value) + layer.bias
            if layer.quantiser is not None:
                layer.quantiser.calibrate(z.relu() if layer.relu else z, fraction)
            value = layer.output(z - layer.bias)


def deltas(x: Tensor) -> Tensor:
    """x(t) - x(t-1) along axis 1, with x(-1) = 0."""
    return torch.cat([x[:, :1], x[:, 1:] - x[:, :-1]], 1)


def delta_network(
    network: nn.Sequential,
    shape: tuple[int, ...],
    *,
    method: str = "dal",
    granularity: str = "channel",
    step: float = 1.0,
) -> DeltaNet:
    """The delta version of a plain network; its weights are copied.

    Args:
        network: of Conv2d, Linear, ReLU, MaxPool2d (stride = side) and Flatten; every product
            with dilation 1 and zero padding, ReLU before the pool.
        shape: of an input frame, [channels, height, width] or [features].
        method: of METHODS; only `dal` quantises.
        granularity, step: of the quantisers.

    Raises:
        ValueError: an unknown method, or a module that has no delta version.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, but got {method!r}")
    modules = list(network)
    entry = Quantiser(shape, granularity, step) if method == "dal" else None
    layers: list[DeltaLayer] = []
    at, frame, flatten = 0, tuple(shape), False
    while at < len(modules):
        module = modules[at]
        at += 1
        if isinstance(module, nn.Flatten):
            flatten = True
            continue
        product = _product(module)
        flat = (int(np.prod(frame)),) if flatten else frame
        with torch.no_grad():
            frame = tuple(product(torch.zeros(1, *flat)).shape[1:])
        inside, relu, pool = frame, False, 1
        while at < len(modules) and isinstance(modules[at], nn.ReLU | nn.MaxPool2d):
            follower = modules[at]
            if isinstance(follower, nn.ReLU) and pool == 1:
                relu = True
            elif isinstance(follower, nn.MaxPool2d) and pool == 1:
                pool = _pool_side(follower)
                frame = (frame[0], frame[1] // pool, frame[2] // pool)
            else:
                raise ValueError(f"a layer takes ReLU and then one pool, but got {follower} behind")
            at += 1
        last = not any(isinstance(m, nn.Conv2d | nn.Linear) for m in modules[at:])
        q = None if last or method != "dal" else Quantiser(inside, granularity, step)
        layers.append(
            DeltaLayer(product, inside, relu=relu, pool=pool, flatten=flatten, quantiser=q)
        )
        flatten = False
    if not layers:
        raise ValueError("a delta network must have at least one convolution or linear layer")
    return DeltaNet(method, entry, layers)


def _product(module: nn.Module) -> Any:
    """A copy of a convolution or linear layer that has a delta version."""
    if isinstance(module, nn.Linear):
        fresh: nn.Module = nn.Linear(module.in_features, module.out_features,
                                     bias=module.bias is not None)  # fmt: skip
    elif (
        isinstance(module, nn.Conv2d)
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and module.stride[0] == module.stride[1]
        and isinstance(module.padding, tuple)
        and module.padding[0] == module.padding[1]
    ):
        kernel = (module.kernel_size[0], module.kernel_size[1])
        fresh = nn.Conv2d(
            module.in_channels,
            module.out_channels,
            kernel,
            module.stride[0],
            int(module.padding[0]),
            groups=module.groups,
            bias=module.bias is not None,
        )
    else:
        raise ValueError(
            "a delta network is made of Conv2d (equal strides and zero padding, dilation 1), "
            f"Linear, ReLU, MaxPool2d and Flatten, but got {module}"
        )
    fresh.load_state_dict(module.state_dict())
    return fresh


def _pool_side(pool: nn.MaxPool2d) -> int:
    side, stride = pool.kernel_size, pool.stride
    if not isinstance(side, int) or stride != side or pool.padding or pool.ceil_mode:
        raise ValueError(f"a pool must be square with stride = side and no padding, but got {pool}")
    return side


class _Round(torch.autograd.Function):
    """floor(z / q + 1/2) q; straight through to z, and -sum dL/dO round(z/q) to q."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, q: Tensor) -> Tensor:
        codes = torch.floor(z / q + 0.5)
        ctx.save_for_backward(codes)
        ctx.shape = q.shape
        return codes * q

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        (codes,) = ctx.saved_tensors
        return gradient, -(gradient * codes).sum_to_size(ctx.shape)
