"""The memory system in numbers: how long DRAM takes, what a tile of a feature map occupies.

DRAM moves whole bursts, spread over the channels burst by burst; a request's latency is paid once,
because requests of one phase are outstanding together. A tile of a convolution's input is fetched
as the rows of the feature map that its windows touch: a tile within one output row takes just the
columns it needs, a larger one whole rows. Padding is never read. Feature maps are stored group by
group with the channel innermost, so whole rows are one contiguous run.

These functions are compiled and called by the phase loop (`hwsim.phases`).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.models.work import ConvGeometry, Gemm

__all__ = ["burst_bytes", "dram_cycles", "geometry_array", "input_bytes", "run_bytes"]

_PLAIN = 0  # first entry of a geometry array: A is a matrix


def geometry_array(gemm: Gemm) -> NDArray[np.int64]:
    """A product's window as integers for the compiled functions; all zero for a plain matrix."""
    g = gemm.conv
    if g is None:
        return np.zeros(14, np.int64)
    return np.array(_fields(g), np.int64)


def _fields(g: ConvGeometry) -> tuple[int, ...]:
    return (
        1,
        g.height,
        g.width,
        g.channels,
        g.kernel_h,
        g.kernel_w,
        g.stride_h,
        g.stride_w,
        g.dilation_h,
        g.dilation_w,
        g.pad_top,
        g.pad_left,
        g.out_h,
        g.out_w,
    )


@njit(cache=True)
def burst_bytes(amount, burst):  # pragma: no cover - compiled
    """`amount` bytes of one contiguous run in whole bursts."""
    return -(-amount // burst) * burst


@njit(cache=True)
def run_bytes(runs, amount, burst):  # pragma: no cover - compiled
    """`runs` contiguous runs of `amount` bytes each in whole bursts."""
    return runs * burst_bytes(amount, burst)


@njit(cache=True)
def dram_cycles(moved, bytes_per_cycle, channels, latency, burst):  # pragma: no cover - compiled
    """Cycles to move `moved` bytes (whole bursts); 0 for nothing or unlimited bandwidth."""
    if moved == 0:
        return 0
    bursts = -(-(moved // burst) // channels)
    return latency + int(np.ceil(bursts * burst / (bytes_per_cycle / channels)))


@njit(cache=True)
def input_bytes(geometry, m0, m1, k, k_all, size):  # pragma: no cover - compiled
    """(runs, bytes a run) of A's rows m0..m1 with `k` of `k_all` columns, `size` bytes an element.

    A convolution takes the smaller of its windows' bounding rows and the gathered patch.
    """
    if geometry[0] == _PLAIN:
        if k == k_all:
            return 1, (m1 - m0) * k * size
        return m1 - m0, k * size
    height, width, channels = geometry[1], geometry[2], geometry[3]
    reach_y = (geometry[4] - 1) * geometry[8] + 1
    reach_x = (geometry[5] - 1) * geometry[9] + 1
    stride_y, stride_x = geometry[6], geometry[7]
    top, left = geometry[10], geometry[11]
    out_h, out_w = geometry[12], geometry[13]
    plane = out_h * out_w
    elements = 0
    image = m0 // plane
    at = m0
    while at < m1:
        end = min(m1, (image + 1) * plane)
        first, last = at - image * plane, end - 1 - image * plane
        y0, y1 = first // out_w, last // out_w
        low = max(0, y0 * stride_y - top)
        high = min(height, y1 * stride_y - top + reach_y)
        if y0 == y1:
            x0 = max(0, (first % out_w) * stride_x - left)
            x1 = min(width, (last % out_w) * stride_x - left + reach_x)
        else:
            x0, x1 = 0, width
        elements += max(0, high - low) * max(0, x1 - x0)
        at = end
        image += 1
    held = channels if k == k_all else min(channels, k)
    return 1, min(elements * held, (m1 - m0) * k) * size
