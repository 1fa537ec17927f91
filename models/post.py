"""What happens to a beat of sums on its way out of the array: bias, rounding, activation.

    y <- FP16 of (sum + bias), or of the sum alone
    pass   y
    ReLU   y where y > 0 (or NaN), else +0
    gate   y where the gate bit is set, else +0: the backward pass of ReLU

The mask that leaves beside it is "y is positive or NaN", taken after rounding: so it is what the
stored FP16 activation shows, and a backward pass needs no other memory of it. In FP16 a sum that
rounds to zero counts as not positive.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from hwsim.models.update import fp16_copy

__all__ = ["PostMode", "post"]


class PostMode(IntEnum):
    """What becomes of the rounded sum; the numbers are the hardware's."""

    PASS = 0
    RELU = 1
    GATE = 2


def post(
    sums: NDArray[np.float32],
    mode: PostMode,
    *,
    bias: NDArray[np.float32] | None = None,
    gate: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """The FP16 results and the mask of positive ones.

    Args:
        sums: FP32, any shape.
        mode: what to do.
        bias: FP32, broadcast to `sums`; none is added when None.
        gate: bool, the shape of `sums`; needed in `PostMode.GATE` and read in no other mode.

    Raises:
        ValueError: wrong dtypes or shapes, or no gate in gate mode.
    """
    if sums.dtype != np.float32:
        raise ValueError(f"sums must be float32, but got {sums.dtype}")
    if bias is not None and bias.dtype != np.float32:
        raise ValueError(f"bias must be float32, but got {bias.dtype}")
    with np.errstate(all="ignore"):  # infinities and NaNs go through as in hardware
        total = sums if bias is None else sums + bias
    if total.shape != sums.shape:
        raise ValueError(f"bias must broadcast to {sums.shape}, but gives {total.shape}")
    y = fp16_copy(total)
    positive = ~(y <= 0)
    if mode == PostMode.PASS:
        return y, positive
    kept = positive
    if mode == PostMode.GATE:
        if gate is None or gate.shape != sums.shape:
            raise ValueError(f"gate mode needs a gate of shape {sums.shape}")
        kept = gate
    return np.where(kept, y, np.float16(0)), positive
