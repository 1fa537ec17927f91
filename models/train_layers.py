"""Layers with N:M pruned operands in PyTorch: the fast path, FP32 on BLAS and oneDNN.

It computes what `models/pruning.py` defines, but with the library's order of accumulation, so it is
for training studies and never what hardware is compared with. The masks are exactly those of
`pruning.py`: taken anew from the dense FP32 master weights in every step, ties to the lowest index.

    FF  Y  = X (W * forward mask)
    BP  dX = dY (W * backward mask)^T, or with dY itself pruned (SDGP)
    WU  dW = X^T dY with everything dense, straight through to the master weights

SR-STE prunes only the forward weights. Its BP takes the same pruned weights, as in its authors'
code, where autograd differentiates the product that FF computed; their groups lie along the axis
that BP does not contract, so hardware gains nothing there. `dense_backward` takes the dense weights
instead, as `exact_train.py` does. Its dW adds lambda (1 - m) W.

Needs the extra `train` (PyTorch). Sources: those of `pruning.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from hwsim.models.nm import NMPattern
from hwsim.models.pruning import METHODS, decay_factor, stepwise_pattern

__all__ = [
    "Pruner",
    "Sparsity",
    "Stages",
    "backward_mask",
    "forward_mask",
    "group_mask",
    "sparsify",
]

_DEFAULT = NMPattern(2, 8)  # the pattern of the published headline
SCHEDULES = ("none", "linear", "exponential", "stepwise")


@dataclass(frozen=True, kw_only=True)
class Sparsity:
    """What is pruned during training.

    Attributes:
        method: a key of `pruning.METHODS`.
        pattern: N kept of M.
        nested: take the backward mask from the weights that the forward mask keeps.
        dense_backward: where the method prunes FF but not BP, let BP take the dense weights.
        decay: lambda of the SR-STE term; None takes the method's (2e-4 for sr_ste, else 0).
        schedule: how pruned weights fade: `none` (zero at once), `linear`, `exponential`
            (W (m + (1 - m) v), `pruning.decay_factor`) or `stepwise` (`pruning.stepwise_pattern`).
        rate: a step's decay for `linear` and `exponential`.

    Raises:
        ValueError: an unknown method or schedule, a negative lambda or rate.
    """

    method: str = "dense"
    pattern: NMPattern = _DEFAULT
    nested: bool = False
    dense_backward: bool = False
    decay: float | None = None
    schedule: str = "none"
    rate: float = 0.0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, but got {self.method!r}")
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f"schedule must be one of {', '.join(SCHEDULES)}, but got {self.schedule!r}"
            )
        if not 0.0 <= self.rate < math.inf:
            raise ValueError(f"0 <= rate must hold and be finite, but got {self.rate}")
        if self.decay is not None and not 0.0 <= self.decay < math.inf:
            raise ValueError(f"0 <= lambda must hold and be finite, but got {self.decay}")

    @property
    def sr_ste(self) -> float:
        """lambda of the SR-STE term."""
        return METHODS[self.method].decay if self.decay is None else self.decay

    def __str__(self) -> str:
        return self.method if self.method == "dense" else f"{self.method} {self.pattern}"


def group_mask(x: Tensor, pattern: NMPattern, axis: int) -> Tensor:
    """The N largest magnitudes in every group of M along `axis`: `nm.nm_mask` for tensors.

    An element is kept when fewer than N of its group go before it: a larger magnitude, or an equal
    one at a lower index. Comparing whole slices of the group costs M passes over the tensor and
    is faster here than sorting groups of 4 to 16.

    Args:
        x: any shape, floating point, no NaN.
        pattern: N and M.
        axis: that groups run along; a last, shorter group keeps min(N, its length).

    Returns:
        bool, the shape of `x`.
    """
    n, m = pattern.n, pattern.m
    length = x.shape[axis]
    lines = x.detach().movedim(axis, 0).abs()
    short = -length % m
    if short:
        lines = torch.cat([lines, lines.new_full((short, *lines.shape[1:]), -1.0)])
    grouped = lines.unflatten(0, (-1, m)).transpose(0, 1).contiguous()
    before = torch.zeros(grouped.shape, dtype=torch.int8)
    for j in range(m):
        before[:j] += grouped[j] > grouped[:j]
        before[j + 1 :] += grouped[j] >= grouped[j + 1 :]
    kept = (before < n).transpose(0, 1).flatten(0, 1)
    return kept[:length].movedim(0, axis)


def forward_mask(w: Tensor, pattern: NMPattern) -> Tensor:
    """`pruning.forward_mask` of [out, in, kernel...]: groups along input channels."""
    return _contracted_mask(w, pattern, inside=1)


def backward_mask(w: Tensor, pattern: NMPattern, *, nested: Tensor | None = None) -> Tensor:
    """`pruning.backward_mask` of [out, in, kernel...]: groups along output channels."""
    if nested is None:
        return _contracted_mask(w, pattern, inside=0)
    return _contracted_mask(w * nested, pattern, inside=0) & nested


class Pruner:
    """Makes the weights of each stage from the master weights, for all layers of a network.

    Attributes:
        sparsity: what is pruned.
        step, steps: where the training stands; schedules follow it.
    """

    def __init__(self, sparsity: Sparsity) -> None:
        self.sparsity = sparsity
        self.step = 0
        self.steps = 1

    @property
    def pattern(self) -> NMPattern:
        """The pattern of this step."""
        target = self.sparsity.pattern
        if self.sparsity.schedule == "stepwise":
            return stepwise_pattern(target, self.step, self.steps)
        return target

    @property
    def faded(self) -> float:
        """What pruned weights are multiplied with in this step."""
        if self.sparsity.schedule in ("linear", "exponential"):
            return decay_factor(self.sparsity.schedule, self.step, self.sparsity.rate)
        return 0.0

    @torch.no_grad()
    def stages(self, w: Tensor, *, backward: bool) -> Stages:
        """What each stage takes, from the master weights [out, in, kernel...].

        Args:
            w: master weights.
            backward: whether BP will run; without it nothing is made for BP.
        """
        method = METHODS[self.sparsity.method]
        pattern = self.pattern
        stages = Stages(w, w)
        ff = None
        if method.forward:
            ff = forward_mask(w, pattern)
            pruned = self._pruned(w, ff)
            bp = w if self.sparsity.dense_backward else pruned
            stages = Stages(pruned, bp, kept=ff, decay=self.sparsity.sr_ste)
        if backward and method.backward == "weights":
            nested = ff if self.sparsity.nested else None
            stages = replace(
                stages, backward=self._pruned(w, backward_mask(w, pattern, nested=nested))
            )
        elif method.backward == "gradients":
            stages = replace(stages, gradient=pattern)
        return stages

    def _pruned(self, w: Tensor, mask: Tensor) -> Tensor:
        faded = self.faded
        return w * mask if faded == 0.0 else w * torch.where(mask, 1.0, faded)


@dataclass(frozen=True)
class Stages:
    """The weights of FF and of BP, the pattern of dY in BP, and SR-STE's mask and lambda."""

    forward: Tensor
    backward: Tensor
    gradient: NMPattern | None = None
    kept: Tensor | None = None
    decay: float = 0.0


class PrunedLinear(nn.Linear):
    """A fully connected layer whose stages take pruned operands; `pruner` is set by `sparsify`."""

    pruner: Pruner

    def forward(self, x: Tensor) -> Tensor:
        stages = self.pruner.stages(self.weight, backward=torch.is_grad_enabled())
        flat = x.reshape(-1, self.in_features)
        y = _LinearProduct.apply(flat, self.weight, stages)
        if self.bias is not None:
            y = y + self.bias
        return y.reshape(*x.shape[:-1], self.out_features)


class PrunedConv2d(nn.Conv2d):
    """A convolution whose stages take pruned operands; `pruner` is set by `sparsify`."""

    pruner: Pruner

    def forward(self, x: Tensor) -> Tensor:
        stages = self.pruner.stages(self.weight, backward=torch.is_grad_enabled())
        y = _ConvProduct.apply(x, self.weight, stages, self.stride, self.padding, self.dilation)
        return y if self.bias is None else y + self.bias[:, None, None]


def sparsify(
    network: nn.Module, sparsity: Sparsity, *, dense_first: bool = True, dense_last: bool = True
) -> Pruner:
    """Give every `nn.Linear` and `nn.Conv2d` of a network pruned stages, in place.

    Args:
        network: its layers in the order in which they run.
        sparsity: what is pruned.
        dense_first: leave the first of them as it is, as BDWP does.
        dense_last: leave the last of them, the classifier, as it is, as SDGP's authors do.

    Raises:
        ValueError: a grouped convolution, or one not padded with a number of zeros.
    """
    pruner = Pruner(sparsity)
    layers = [
        (parent, name, layer)
        for parent in network.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, (nn.Linear, nn.Conv2d))
    ]
    order = [layer for layer in network.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
    skipped = order[: int(dense_first)] + order[len(order) - int(dense_last) :]
    for parent, name, layer in layers:
        if any(layer is other for other in skipped):
            continue
        pruned = _conv_like(layer) if isinstance(layer, nn.Conv2d) else _linear_like(layer)
        pruned.weight, pruned.bias = layer.weight, layer.bias
        pruned.pruner = pruner
        setattr(parent, name, pruned)
    return pruner


def _linear_like(layer: Any) -> Any:
    return PrunedLinear(layer.in_features, layer.out_features, bias=layer.bias is not None)


def _conv_like(layer: Any) -> Any:
    if layer.groups != 1 or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise ValueError(
            f"a pruned convolution must have one group and zeros for padding, but got {layer}"
        )
    return PrunedConv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.dilation,
        bias=layer.bias is not None,
    )


class _LinearProduct(torch.autograd.Function):
    """Y = X W^T of x [n, in] and w [out, in], each stage with its own operands."""

    @staticmethod
    def forward(ctx, x: Tensor, w: Tensor, stages: Stages) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.stages = stages
        return x @ stages.forward.T

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor):
        x, w = ctx.saved_tensors
        stages: Stages = ctx.stages
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = _pruned_gradient(dy, stages) @ stages.backward
        if ctx.needs_input_grad[1]:
            dw = _decayed(dy.T @ x, w, stages)
        return dx, dw, None


class _ConvProduct(torch.autograd.Function):
    """A convolution of x [n, in, h, w] with w [out, in, kernel], each stage with its operands."""

    @staticmethod
    def forward(ctx, x: Tensor, w: Tensor, stages: Stages, stride, padding, dilation) -> Tensor:
        ctx.save_for_backward(x, w)
        ctx.stages = stages
        ctx.geometry = (list(stride), list(padding), list(dilation))
        return nn.functional.conv2d(x, stages.forward, None, stride, padding, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor):
        x, w = ctx.saved_tensors
        stages: Stages = ctx.stages
        dx = dw = None

        def gradient(g: Tensor, what: tuple[bool, bool, bool]) -> tuple[Tensor, Tensor, Tensor]:
            return torch.ops.aten.convolution_backward(
                g, x, stages.backward, None, *ctx.geometry, False, [0, 0], 1, what
            )

        if ctx.needs_input_grad[0]:
            dx = gradient(_pruned_gradient(dy, stages), (True, False, False))[0]
        if ctx.needs_input_grad[1]:
            dw = _decayed(gradient(dy, (False, True, False))[1], w, stages)
        return dx, dw, None, None, None, None


def _pruned_gradient(dy: Tensor, stages: Stages) -> Tensor:
    """dY [n, out, ...] as BP takes it: SDGP prunes it along output channels."""
    return dy if stages.gradient is None else dy * group_mask(dy, stages.gradient, 1)


def _decayed(dw: Tensor, w: Tensor, stages: Stages) -> Tensor:
    """dW with SR-STE's term, `pruning.sr_ste_gradient`."""
    if stages.kept is None or stages.decay == 0.0:
        return dw
    return dw + stages.decay * (w * ~stages.kept)


def _contracted_mask(w: Tensor, pattern: NMPattern, *, inside: int) -> Tensor:
    """Groups along `inside`; where M does not divide it, along kernel taps and channels at once."""
    if w.shape[inside] % pattern.m == 0:
        return group_mask(w, pattern, inside)
    order = (1 - inside, *range(2, w.ndim), inside)
    lines = w.permute(order)
    mask = group_mask(lines.flatten(1), pattern, 1)
    back = np.argsort(order).tolist()
    return mask.reshape(lines.shape).permute(back)
