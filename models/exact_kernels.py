"""The operations of a hardware-exact training step, in the form that fast versions replace.

`GOLDEN` is what the hardware computes, slowly. `hwsim.dataflows.exact_train.FAST` gives the same
bits. `FLOAT32` is a path for training alone: products of BLAS in float32 without any rounding to
FP16, in BLAS's order; RTL is never compared with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsim.models.exact_layers import Layer, gather, gather_back
from hwsim.models.formats import FP16
from hwsim.models.gemm import gemm, gemm_compact
from hwsim.models.nm import Compact, NMPattern, compress, nm_mask
from hwsim.models.post import PostMode, post
from hwsim.models.update import UpdateRule, fp16_copy, momentum_update

__all__ = ["FLOAT32", "GOLDEN", "Kernels", "Mask", "Operand"]

Operand = NDArray | Compact
"""A product's B."""

Mask = NDArray[np.bool_]
Prune = Callable[[NDArray, NMPattern, Mask | None], tuple[Mask, Compact]]
Updater = Callable[
    [NDArray, NDArray, NDArray, UpdateRule, Mask | None],
    tuple[NDArray[np.float32], NDArray[np.float32]],
]


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """The operations of a step.

    Attributes:
        product: (A[m, k], B[k, n] dense or compact) to FP32 Z[m, n].
        gather, gather_back: as in `hwsim.models.exact_layers`.
        prune: (B[k, n] FP16, pattern, mask within which to keep or None) to the kept mask and the
            compact B.
        update: as `hwsim.models.update.momentum_update`.
        half: to the operand type: FP16, round to nearest even, canonical NaN.
        post: (FP32 Z, what to do with it, gate or None) to what is stored: `fp32` is Z itself;
            `half`, `relu` and `gate` are the modes of `hwsim.models.post`, and what is gated is
            where the gate's activation is zero.
    """

    product: Callable[[NDArray, Operand], NDArray]
    gather: Callable[[NDArray, Layer], NDArray]
    gather_back: Callable[[NDArray, Layer], NDArray]
    prune: Prune
    update: Updater
    half: Callable[[NDArray], NDArray]
    post: Callable[[NDArray, str, NDArray | None], NDArray]


def _golden_product(a: NDArray, b: Operand) -> NDArray:
    return gemm_compact(a, b, FP16) if isinstance(b, Compact) else gemm(a, b, FP16)


def _golden_post(z: NDArray, what: str, gate: NDArray | None) -> NDArray:
    if what == "fp32":
        return z
    return post(z, _POST[what], gate=None if gate is None else gate != 0)[0]


def _golden_prune(b: NDArray, pattern: NMPattern, within: Mask | None) -> tuple[Mask, Compact]:
    magnitude = (b.view(np.uint16) & 0x7FFF).astype(np.int32)
    if within is None:
        mask = nm_mask(magnitude, pattern.n, pattern.m, 0)
    else:
        mask = nm_mask(np.where(within, magnitude, 0), pattern.n, pattern.m, 0) & within
    return mask, compress(b, pattern.n, pattern.m, mask)


def _float32_half(x: NDArray) -> NDArray:
    return x.astype(np.float32)


def _float32_post(z: NDArray, what: str, gate: NDArray | None) -> NDArray:
    zero = np.float32(0)
    if what == "relu":
        return np.where(np.signbit(z), zero, z)
    return z if gate is None else np.where(gate != 0, z, zero)


def _float32_product(a: NDArray, b: Operand) -> NDArray:
    with np.errstate(all="ignore"):
        return np.matmul(a, b.dense() if isinstance(b, Compact) else b)


def _float32_prune(b: NDArray, pattern: NMPattern, within: Mask | None) -> tuple[Mask, Compact]:
    # selected as the hardware would, so that both paths keep the same weights
    mask, _ = _golden_prune(fp16_copy(b), pattern, within)
    return mask, compress(b, pattern.n, pattern.m, mask)


_POST = {"half": PostMode.PASS, "relu": PostMode.RELU, "gate": PostMode.GATE}

GOLDEN = Kernels(
    product=_golden_product,
    gather=gather,
    gather_back=gather_back,
    prune=_golden_prune,
    update=momentum_update,
    half=fp16_copy,
    post=_golden_post,
)
"""The reference: every bit as in the hardware, slow."""

FLOAT32 = Kernels(
    product=_float32_product,
    gather=gather,
    gather_back=gather_back,
    prune=_float32_prune,
    update=momentum_update,
    half=_float32_half,
    post=_float32_post,
)
"""The fast path of training: BLAS in float32, nothing rounded to FP16, sums in BLAS's order."""
