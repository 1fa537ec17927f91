"""The weight update in mixed precision, as the weight-update vector engine does it.

FP32 master weights and momenta, every operation rounded to nearest even by itself (no fused
multiply-add), in this order for each weight:

    g <- gradient * scale           scale undoes the loss scale
    g <- g + c * w                  c: decay where the mask keeps the weight, else pruned_decay
    v <- momentum * v + g
    w <- w - rate * v

and the FP16 copy is the new w rounded to nearest even, infinite above 65504. Momentum SGD with
mixed precision as in arXiv 2309.13015; pruned_decay = decay + lambda is the gradient term of
SR-STE, arXiv 2102.04010.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsim.models.formats import FP16

__all__ = ["UpdateRule", "fp16_copy", "momentum_update"]


@dataclass(frozen=True, kw_only=True)
class UpdateRule:
    """The scalars of an update; each is rounded to FP32 once, when it is made.

    Attributes:
        rate: learning rate.
        momentum: what remains of the momentum.
        decay: weight decay of kept weights.
        pruned_decay: that of pruned weights.
        scale: what gradients are multiplied with, 1 / loss scale.

    Raises:
        ValueError: a scalar that is not finite in FP32.
    """

    rate: float
    momentum: float = 0.9
    decay: float = 0.0
    pruned_decay: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        for name in ("rate", "momentum", "decay", "pruned_decay", "scale"):
            with np.errstate(over="ignore"):
                value = np.float32(getattr(self, name))
            if not np.isfinite(value):
                raise ValueError(f"{name} must be finite in FP32, but got {getattr(self, name)}")
            object.__setattr__(self, name, float(value))


def momentum_update(
    w: NDArray[np.float32],
    v: NDArray[np.float32],
    gradient: NDArray[np.float32],
    rule: UpdateRule,
    mask: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The new weights and momenta, NaNs canonical.

    Args:
        w, v, gradient: FP32, one shape.
        rule: the scalars.
        mask: kept weights; None keeps all.

    Raises:
        ValueError: the shapes or dtypes differ.
    """
    for name, x in (("w", w), ("v", v), ("gradient", gradient)):
        if x.dtype != np.float32 or x.shape != w.shape:
            raise ValueError(f"{name} must be float32 {w.shape}, but got {x.dtype} {x.shape}")
    if mask is not None and mask.shape != w.shape:
        raise ValueError(f"mask must be {w.shape}, but got {mask.shape}")
    f = np.float32
    kept = np.ones(w.shape, bool) if mask is None else mask
    c: NDArray[np.float32] = np.where(kept, f(rule.decay), f(rule.pruned_decay))
    with np.errstate(all="ignore"):  # infinities and NaNs go through as in hardware
        g = gradient * f(rule.scale)
        g = g + c * w
        v_new = f(rule.momentum) * v + g
        w_new = w - f(rule.rate) * v_new
    return FP16.finish(w_new), FP16.finish(v_new)


def fp16_copy(w: NDArray[np.float32]) -> NDArray[np.float16]:
    """FP32 to FP16, round to nearest even, NaNs made canonical (0x7E00)."""
    with np.errstate(all="ignore"):
        copy = w.astype(np.float16)
    copy[np.isnan(w)] = np.uint16(0x7E00).view(np.float16)
    return copy
