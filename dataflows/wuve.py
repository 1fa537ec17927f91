"""Cycle-exact simulation of the weight update vector engine: values bit for bit, and cycles.

The lanes are a pipeline that advances as a whole; when its beats leave is
`hwsim.dataflows.stream.pipeline_timeline` of `update_depth` steps. The values are computed weight
by weight with scalar FP32 operations in the lane's order, and the FP16 copy by integer rounding: a
second implementation beside the golden model's NumPy, equal to it bit for bit.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.dataflows.stream import pipeline_cycles
from hwsim.models.formats import FP16
from hwsim.models.update import UpdateRule

__all__ = ["half_bits", "update", "update_cycles", "update_depth"]

_CAST_STEPS = 1
_FP32_STEPS = 2  # hwsim.rtl.wuve.FP32_STEPS


def update_depth(multiplier_latency: int, adder_latency: int) -> int:
    """Steps from a weight to its update: two multiplications, three additions, the cast.

    Args:
        multiplier_latency: of the array's FP16 multiplier; the FP32 ones take two steps more, as
            their product is rounded and may be subnormal.
        adder_latency: of an FP32 addition.

    Raises:
        ValueError: a latency below 1.
    """
    for name, value in (
        ("multiplier_latency", multiplier_latency),
        ("adder_latency", adder_latency),
    ):
        if value < 1:
            raise ValueError(f"{name} >= 1 must hold, but got {value}")
    return 2 * (multiplier_latency + _FP32_STEPS) + 3 * adder_latency + _CAST_STEPS


def update_cycles(weights: int, lanes: int, multiplier_latency: int, adder_latency: int) -> int:
    """Cycles of an update without stalls, until the last beat was taken; 0 for no weights."""
    depth = update_depth(multiplier_latency, adder_latency)
    return pipeline_cycles(-(-weights // lanes), depth)


def update(
    w: NDArray[np.float32],
    v: NDArray[np.float32],
    gradient: NDArray[np.float32],
    keep: NDArray[np.bool_],
    rule: UpdateRule,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float16]]:
    """The new weights and momenta and the weights' FP16 copies, NaNs canonical.

    Args:
        w, v, gradient: FP32, one shape.
        keep: the mask, the same shape.
        rule: the scalars.

    Raises:
        ValueError: shapes or dtypes differ.
    """
    for name, x in (("w", w), ("v", v), ("gradient", gradient)):
        if x.dtype != np.float32 or x.shape != w.shape:
            raise ValueError(f"{name} must be float32 {w.shape}, but got {x.dtype} {x.shape}")
    if keep.dtype != np.bool_ or keep.shape != w.shape:
        raise ValueError(f"keep must be bool {w.shape}, but got {keep.dtype} {keep.shape}")
    new_w, new_v = np.empty(w.size, np.float32), np.empty(w.size, np.float32)
    scalars = np.array(
        [rule.rate, rule.momentum, rule.decay, rule.pruned_decay, rule.scale], np.float32
    )
    with np.errstate(all="ignore"):  # for runs without the compiler: infinities and NaNs go through
        _update(w.ravel(), v.ravel(), gradient.ravel(), keep.ravel(), scalars, new_w, new_v)
    new_w, new_v = FP16.finish(new_w), FP16.finish(new_v)
    copy = half_bits(new_w.view(np.uint32)).view(np.float16)
    return new_w.reshape(w.shape), new_v.reshape(w.shape), copy.reshape(w.shape)


def half_bits(single: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """FP32 bit patterns to FP16 ones, round to nearest even, NaN 0x7E00, by integer rounding."""
    out = np.empty(single.size, np.uint16)
    _half_bits(np.ascontiguousarray(single).ravel(), out)
    return out.reshape(single.shape)


@njit(cache=True)
def _update(w, v, gradient, keep, scalars, new_w, new_v):  # pragma: no cover - compiled
    rate, momentum, decay, pruned_decay, scale = (
        scalars[0],
        scalars[1],
        scalars[2],
        scalars[3],
        scalars[4],
    )
    for i in range(w.size):
        c = decay if keep[i] else pruned_decay
        p = gradient[i] * scale
        q = c * w[i]
        g = p + q
        kept = momentum * v[i]
        new_v[i] = kept + g
        r = rate * new_v[i]
        new_w[i] = w[i] - r


@njit(cache=True)
def _half_bits(single, out):  # pragma: no cover - compiled
    for i in range(single.size):
        bits = np.int64(single[i])
        sign = (bits >> 16) & 0x8000
        exponent = (bits >> 23) & 0xFF
        fraction = bits & 0x7FFFFF
        if exponent == 0xFF and fraction:
            out[i] = 0x7E00
        elif exponent > 142:
            out[i] = sign | 0x7C00
        elif exponent < 101:  # below half of the least subnormal
            out[i] = sign
        else:
            # the last place kept is 13 bits up, more for a subnormal; adding its half less one, and
            # its own value, rounds to nearest even
            normal = exponent > 112
            kept = (((exponent - 112) << 23) if normal else np.int64(0x800000)) | fraction
            drop = 13 if normal else 126 - exponent
            out[i] = sign | ((kept + (1 << (drop - 1)) - 1 + ((kept >> drop) & 1)) >> drop)
