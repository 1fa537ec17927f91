"""N:M training methods: which operand is pruned in which stage, and how its mask is made.

A training step has three products. Groups of M lie along the contracted axis of each:

    FF  Y = X W        contracts input channels (and kernel taps)
    BP  dX = dY W^T    contracts output channels (and kernel taps)
    WU  dW = X^T dY    dense in every method

| method | FF | BP |
|---|---|---|
| dense | | |
| sr_ste | W along inputs; gradient of W decays pruned weights | |
| sdgp | | dY along output channels |
| sdwp | | W along outputs |
| bdwp | W along inputs | W along outputs |

Sources: SR-STE arXiv 2102.04010, SDGP arXiv 2202.00774, BDWP arXiv 2309.13015 (which operand in
which stage), the nested backward mask after Bi-Mask arXiv 2302.06058, decaying masks arXiv
2402.04744. Transposable masks are the greedy 2-approximation of the literature; its bound is a test
here. Weights are [out, in, kernel...].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsim.models.nm import NMPattern, nm_mask

__all__ = [
    "METHODS",
    "Method",
    "backward_mask",
    "decay_factor",
    "forward_mask",
    "sr_ste_gradient",
    "stepwise_pattern",
    "transposable_mask",
]

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Method:
    """What a training method prunes.

    Attributes:
        name: as in configurations.
        forward: W is pruned in FF.
        backward: the operand pruned in BP, `weights`, `gradients` or none (empty).
        decay: the factor lambda with which SR-STE pulls pruned weights towards zero, 0 for none.
    """

    name: str
    forward: bool
    backward: str = ""
    decay: float = 0.0


METHODS = {
    method.name: method
    for method in (
        Method(name="dense", forward=False),
        Method(name="sr_ste", forward=True, decay=2e-4),  # the authors' code
        Method(name="sdgp", forward=False, backward="gradients"),
        Method(name="sdwp", forward=False, backward="weights"),
        Method(name="bdwp", forward=True, backward="weights"),
    )
}
"""Methods by name."""


def forward_mask(w: NDArray, pattern: NMPattern) -> Mask:
    """Kept weights in FF: groups along input channels, from the dense weights.

    A fully connected or convolutional weight [out, in, kernel...] whose input channels M does not
    divide is grouped along the whole contracted axis, kernel taps outside input channels inside.

    Raises:
        ValueError: `w` has fewer than two axes or holds NaN.
    """
    return _contracted_mask(w, pattern, inside=1)


def backward_mask(w: NDArray, pattern: NMPattern, *, nested: Mask | None = None) -> Mask:
    """Kept weights in BP: groups along output channels.

    Args:
        nested: a forward mask; the backward mask is then taken from the weights that it keeps and
            keeps no other, as Bi-Mask does. None takes it from the dense weights.

    Raises:
        ValueError: `w` has fewer than two axes or holds NaN, or the masks differ in shape.
    """
    if nested is None:
        return _contracted_mask(w, pattern, inside=0)
    if nested.shape != w.shape:
        raise ValueError(
            f"the nested mask must have the weights' shape {w.shape}, but got {nested.shape}"
        )
    return _contracted_mask(np.where(nested, w, 0), pattern, inside=0) & nested


def sr_ste_gradient(gradient: NDArray, w: NDArray, mask: Mask, decay: float) -> NDArray:
    """g + lambda (1 - m) W: pruned weights decay; taken before momentum.

    Raises:
        ValueError: a negative or infinite lambda.
    """
    if not 0.0 <= decay < np.inf:
        raise ValueError(f"0 <= lambda must hold and be finite, but got {decay}")
    return gradient + np.asarray(decay, gradient.dtype) * np.where(mask, 0, w).astype(w.dtype)


def decay_factor(schedule: str, step: int, rate: float) -> float:
    """What pruned weights are multiplied with at a step, in W (m + (1 - m) v).

    Args:
        schedule: `linear`, v = max(0, 1 - rate * step), or `exponential`, v = exp(-rate * step).
        step: from 0.
        rate: a step's decay, not negative.

    Raises:
        ValueError: an unknown schedule, a negative step or rate.
    """
    if step < 0 or rate < 0:
        raise ValueError(f"step >= 0 and rate >= 0 must hold, but got {step} and {rate}")
    if schedule == "linear":
        return max(0.0, 1.0 - rate * step)
    if schedule == "exponential":
        return float(np.exp(-rate * step))
    raise ValueError(f"schedule must be linear or exponential, but got {schedule!r}")


def stepwise_pattern(target: NMPattern, step: int, steps: int) -> NMPattern:
    """The stepwise schedule: (M-1):M, M/2:M, M/4:M, ... N:M, each for an equal share of `steps`.

    For 1:8 that is 7:8, 4:8, 2:8, 1:8.

    Raises:
        ValueError: `step` outside 0..steps-1.
    """
    if not 0 <= step < steps:
        raise ValueError(f"0 <= step < steps must hold, but got {step} and {steps}")
    keeps = [target.m - 1] if target.m - 1 > target.n else []
    keep = target.m // 2
    while keep > target.n:
        if keep not in keeps:
            keeps.append(keep)
        keep //= 2
    keeps.append(target.n)
    return NMPattern(keeps[step * len(keeps) // steps], target.m)


def transposable_mask(w: NDArray, pattern: NMPattern) -> Mask:
    """At most N of M in every row and every column of each M x M block of a matrix.

    Greedy: entries in falling magnitude, lowest row and column first among equals, each taken if
    its row and its column have room; the kept magnitude is at least half of the best possible.

    Raises:
        ValueError: not a matrix, a side that M does not divide, or a NaN.
    """
    n, m = pattern.n, pattern.m
    if w.ndim != 2 or w.shape[0] % m or w.shape[1] % m:
        raise ValueError(f"a matrix with sides divisible by M={m} is needed, but got {w.shape}")
    if w.dtype.kind == "f" and np.isnan(w).any():
        raise ValueError("weights must not hold NaN: a magnitude order needs comparable values")
    mask = np.zeros(w.shape, bool)
    size = np.abs(w.astype(np.float64))
    for top in range(0, w.shape[0], m):
        for left in range(0, w.shape[1], m):
            block = size[top : top + m, left : left + m]
            rows, columns = np.zeros(m, int), np.zeros(m, int)
            for flat in np.argsort(-block.ravel(), kind="stable"):
                r, c = divmod(int(flat), m)
                if rows[r] < n and columns[c] < n:
                    mask[top + r, left + c] = True
                    rows[r] += 1
                    columns[c] += 1
    return mask


def _contracted_mask(w: NDArray, pattern: NMPattern, *, inside: int) -> Mask:
    """Groups along the axes that a product contracts: kernel taps outside, axis `inside` inside."""
    if w.ndim < 2:
        raise ValueError(f"weights must be [out, in, kernel...], but got {w.ndim} axes")
    kept_axis = 1 - inside
    order = (kept_axis, *range(2, w.ndim), inside)
    lines = np.transpose(w, order)
    mask = nm_mask(lines.reshape(lines.shape[0], -1), pattern.n, pattern.m, 1)
    return np.transpose(mask.reshape(lines.shape), np.argsort(order))
