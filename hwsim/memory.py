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

from hwsim.models.work import ROLES, ConvGeometry, Gemm

__all__ = [
    "a_bytes",
    "b_bytes",
    "b_reduced",
    "burst_bytes",
    "dram_cycles",
    "geometry_array",
    "input_bytes",
    "out_bytes",
    "run_bytes",
    "side_bytes",
]

_PLAIN = 0  # first entry of a geometry array: no operand goes through a window
_ROLE, _Z_BITS, _SIDE_READ, _SIDE_WRITE, _ONLINE = 14, 15, 16, 17, 18
_A, _AT, _B, _BT = range(len(ROLES))
_MAP_BITS = 16  # of the maps among what a product reads or writes beside its results


def geometry_array(gemm: Gemm) -> NDArray[np.int64]:
    """What of a product decides its traffic, as integers for the compiled functions.

    The window (14 entries, all zero for plain matrices), then the role of the gathered matrix, bits
    of a stored output (-1: the operand format), bits read and written beside an output, and 1 where
    B is reduced on its way in.
    """
    window = (_PLAIN,) * 14 if gemm.conv is None else _fields(gemm.conv)
    z_bits = -1 if gemm.z_bits is None else gemm.z_bits
    rest = (ROLES.index(gemm.role), z_bits, gemm.side_read_bits, gemm.side_write_bits)
    return np.array((*window, *rest, int(gemm.online)), np.int64)


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


@njit(cache=True)
def a_bytes(geometry, m, k, m0, m1, k0, deep, size):  # pragma: no cover - compiled
    """(runs, bytes a run) of A's tile, rows m0..m1 and columns k0..k0+deep."""
    role = geometry[_ROLE]
    if role == _A:
        return input_bytes(geometry, m0, m1, deep, k, size)
    if role == _AT and geometry[0] != _PLAIN:
        return input_bytes(geometry, k0, k0 + deep, m1 - m0, m, size)
    if role == _BT or m1 - m0 == m:  # weights in tile order, or whole rows of memory
        return 1, (m1 - m0) * deep * size
    return deep, (m1 - m0) * size


@njit(cache=True)
def b_bytes(geometry, n, k, n0, n1, k0, deep, size, compact):  # pragma: no cover - compiled
    """(runs, bytes a run) of B's tile, columns n0..n1 and rows k0..k0+deep.

    Weights are in tile order, `compact` bytes if they are pruned already.
    """
    role, wide = geometry[_ROLE], n1 - n0
    if role == _A:
        return 1, wide * deep * size if geometry[_ONLINE] else compact
    if role == _BT:
        if geometry[0] != _PLAIN:
            return input_bytes(geometry, n0, n1, deep, k, size)
        return (1, wide * k * size) if deep == k else (wide, deep * size)
    if role == _B and geometry[0] != _PLAIN:
        return input_bytes(geometry, k0, k0 + deep, wide, n, size)
    return (1, n * deep * size) if wide == n else (deep, wide * size)


@njit(cache=True)
def b_reduced(geometry, runs, amount, size, deep, wide, lanes):  # pragma: no cover - compiled
    """(elements, cycles) that the selector takes for a tile of B that is reduced on its way in.

    A lane takes one element of a column a cycle, as `hwsim.dataflows.sore`; the elements of a
    gathered map are spread over the lanes as they come.
    """
    if geometry[_ONLINE] == 0:
        return 0, 0
    elements = runs * amount // size
    if geometry[_ROLE] == _A:
        return elements, -(-wide // lanes) * deep
    return elements, -(-elements // lanes)


@njit(cache=True)
def out_bytes(geometry, rows, wide, n, size, burst):  # pragma: no cover - compiled
    """Whole bursts in which rows x wide results and what goes beside them are stored."""
    runs = 1 if wide == n else rows
    bits = size * 8 if geometry[_Z_BITS] < 0 else geometry[_Z_BITS]
    stored = run_bytes(runs, rows * wide // runs * bits // 8, burst)
    return stored + _beside(runs, rows * wide, geometry[_SIDE_WRITE], burst)


@njit(cache=True)
def side_bytes(geometry, rows, wide, n, burst):  # pragma: no cover - compiled
    """Whole bursts that are read beside rows x wide results."""
    return _beside(1 if wide == n else rows, rows * wide, geometry[_SIDE_READ], burst)


@njit(cache=True)
def _beside(runs, outputs, bits, burst):  # pragma: no cover - compiled
    """Maps are stored like the result, masks packed in tile order."""
    maps, mask = bits // _MAP_BITS, bits % _MAP_BITS
    moved = maps * run_bytes(runs, outputs // runs * _MAP_BITS // 8, burst)
    return moved + run_bytes(1, -(-outputs * mask // 8), burst)
