"""The fast operations of a hardware-exact training step: the golden bits, compiled.

`FAST` takes the place of `hwsim.models.exact_kernels.GOLDEN` in every function of
`hwsim.models.exact_train`. It is made for small networks: one thread, because the products are too
short to share, and conversions between FP16 and FP32 that the compiler turns into vector code.
Gathered operands lie [k, m] in memory, so that the outputs of a column advance together. Exchanging
the factors of every product and transposing changes no bit, because each sum keeps its order.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hwsim.models.exact_kernels import Kernels, Mask, Operand
from hwsim.models.exact_layers import Layer
from hwsim.models.formats import FP16
from hwsim.models.nm import Compact, NMPattern
from hwsim.models.update import fp16_copy, momentum_update

__all__ = ["FAST", "gather", "gather_back", "half", "post", "product", "prune"]


def product(a: NDArray, b: Operand) -> NDArray[np.float32]:
    """Z[m, n] = A[m, k] B[k, n] of FP16 operands, bit for bit the golden product.

    Raises:
        ValueError: an operand is not FP16, or the shapes do not agree.
    """
    k = b.k if isinstance(b, Compact) else len(b)
    values = b.values if isinstance(b, Compact) else b
    if a.dtype != np.float16 or values.dtype != np.float16:
        raise ValueError(f"operands must be float16, but got {a.dtype} and {values.dtype}")
    if a.ndim != 2 or values.ndim != 2 or a.shape[1] != k:
        raise ValueError(f"A[m, k] and B[k, n] must share k, but got {a.shape} and k={k}")
    with np.errstate(all="ignore"):  # for runs without the compiler: NaNs arise
        return _product(a, b)


def gather(x: NDArray, layer: Layer) -> NDArray:
    """As `hwsim.models.exact_layers.gather` for FP16, column-major.

    Raises:
        ValueError: X is not the layer's FP16 map.
    """
    bits = _map_bits(x, layer.input_shape(len(x)), "X", layer)
    out = np.zeros((layer.k, len(x) * layer.positions), np.uint16)
    _gather(bits, layer.kernel, layer.stride, layer.pad, layer.out_height, layer.out_width, out)
    return out.view(np.float16).T


def gather_back(dy: NDArray, layer: Layer) -> NDArray:
    """As `hwsim.models.exact_layers.gather_back` for FP16, column-major.

    Raises:
        ValueError: dY is not the layer's FP16 output map.
    """
    bits = _map_bits(dy, layer.output_shape(len(dy)), "dY", layer)
    out = np.zeros((layer.k_back, len(dy) * layer.height * layer.width), np.uint16)
    _gather_back(bits, layer.kernel, layer.stride, layer.pad, layer.height, layer.width, out)
    return out.view(np.float16).T


def prune(b: NDArray, pattern: NMPattern, within: Mask | None = None) -> tuple[Mask, Compact]:
    """Kept mask and compact form of B[k, n], by magnitude of the FP16 bits, lowest index first.

    Raises:
        ValueError: B is no FP16 matrix, or the mask has another shape.
    """
    if b.ndim != 2 or b.dtype != np.float16:
        raise ValueError(f"B must be a matrix of float16, but got {b.dtype} {b.shape}")
    if within is not None and within.shape != b.shape:
        raise ValueError(f"the mask must be {b.shape}, but got {within.shape}")
    k, columns = b.shape
    slots = pattern.groups(k) * pattern.n
    mask = np.zeros(b.shape, np.bool_)
    values = np.zeros((slots, columns), np.uint16)
    indices = np.zeros((slots, columns), np.uint8)
    allowed = np.ones(b.shape, np.bool_) if within is None else np.ascontiguousarray(within)
    bits = np.ascontiguousarray(b).view(np.uint16)
    _prune(bits, allowed, pattern.n, pattern.m, mask, values, indices)
    return mask, Compact(values.view(np.float16), indices, pattern, k)


def half(x: NDArray) -> NDArray:
    """To FP16, round to nearest even, NaN canonical; FP32 or wider."""
    if x.dtype != np.float32 or not x.flags.forc:
        return fp16_copy(x)
    out = np.empty_like(x, np.float16)  # in the memory order of x
    flat = x.ravel(order="K")
    with np.errstate(all="ignore"):  # for runs without the compiler: integers wrap
        _narrow(flat, flat.view(np.uint32), out.ravel(order="K").view(np.uint16))
    return out


def post(z: NDArray, what: str, gate: NDArray | None = None) -> NDArray:
    """What is stored of FP32 Z: as `hwsim.models.exact_kernels.Kernels.post`."""
    if what == "fp32":
        return z
    out = half(z)
    bits = out.view(np.uint16)
    if what == "relu":
        bits *= bits < 0x8000
    elif what == "gate" and gate is not None:
        bits *= (gate.view(np.uint16) & 0x7FFF) != 0
    return out


FAST = Kernels(
    product=product,
    gather=gather,
    gather_back=gather_back,
    prune=prune,
    update=momentum_update,
    half=half,
    post=post,
)
"""The golden bits at more than a hundred million multiply-accumulates a second and core."""


def _map_bits(x: NDArray, shape: tuple[int, ...], what: str, layer: Layer) -> NDArray[np.uint16]:
    if x.dtype != np.float16 or x.shape != shape:
        raise ValueError(
            f"{layer.name}: {what} must be float16 {shape}, but got {x.dtype} {x.shape}"
        )
    return np.ascontiguousarray(x).view(np.uint16)


def _product(a: NDArray, b: Operand) -> NDArray[np.float32]:
    if isinstance(b, Compact):
        k, m, n = b.k, a.shape[0], b.values.shape[1]
        depth = b.pattern.groups(k) * b.pattern.m
        columns = np.zeros((depth, m), np.float32)
        _widen_into(a.T, columns[:k])
        base = np.arange(b.values.shape[0]) // b.pattern.n * b.pattern.m
        picks = np.ascontiguousarray((base[:, None] + b.indices).T)
        turned = np.zeros((n, m), np.float32)
        _compact(columns, _widened(b.values.T), picks, turned)
        return FP16.finish(turned).T
    m, n = a.shape[0], b.shape[1]
    if a.flags.f_contiguous:  # gathered: the rows of A lie side by side
        turned = np.zeros((n, m), np.float32)
        _dense(_widened(b.T), _widened(a.T), turned)
        return FP16.finish(turned).T
    z = np.zeros((m, n), np.float32)
    _dense(_widened(a), _widened(b), z)
    return FP16.finish(z)


def _widened(x: NDArray) -> NDArray[np.float32]:
    """FP16 to C-contiguous FP32, exactly."""
    out = np.empty(x.shape, np.float32)
    _widen_into(x, out)
    return out


def _widen_into(x: NDArray, out: NDArray[np.float32]) -> None:
    bits = np.ascontiguousarray(x).view(np.uint16).ravel()
    flat = out.reshape(-1)
    _widen(bits, flat.view(np.uint32), flat)


_ROWS = 4  # rows of A that share a pass over B
_COLUMNS = 512  # columns of 2 kB that stay in the first cache while k advances
_BLOCK = 2048  # elements converted at a time
_LAST_PLACE = np.float32(2.0**-24)  # of an FP16 subnormal
_BIAS = np.uint32(127 - 15 << 23)  # the difference of the exponents' biases, in FP32's field


@njit(cache=True)
def _widen(bits, wide_bits, wide):  # pragma: no cover - compiled
    # `wide_bits` and `wide` are the same memory. Subnormals by conversion from integers, because
    # processors are slow on FP32 subnormals; the rest by moving the fields and the bias.
    for low in range(0, bits.size, _BLOCK):
        high = min(low + _BLOCK, bits.size)
        block, block_bits, block_values = bits[low:high], wide_bits[low:high], wide[low:high]
        for i in range(block.size):
            block_values[i] = np.float32(np.int32(block[i] & 0x7FFF)) * _LAST_PLACE
        for i in range(block.size):
            h = np.uint32(block[i])
            exponent = h & np.uint32(0x7C00)
            value = ((h & np.uint32(0x7FFF)) << np.uint32(13)) + _BIAS
            if exponent == np.uint32(0):
                value = block_bits[i]
            if exponent == np.uint32(0x7C00):
                value = np.uint32(0x7F800000) | ((h & np.uint32(0x3FF)) << np.uint32(13))
            block_bits[i] = value | ((h & np.uint32(0x8000)) << np.uint32(16))


@njit(cache=True)
def _narrow(x, bits, out):  # pragma: no cover - compiled
    # `bits` is the memory of `x`. Below 2^-14, adding 0.5 rounds at the last place of an FP16
    # subnormal, 2^-24; above, half of the dropped bits less one plus the last kept bit is what
    # rounds to nearest even.
    for i in range(out.size):
        u = bits[i]
        size = u & np.uint32(0x7FFFFFFF)
        rounded = (abs(x[i]) + np.float32(0.5)) - np.float32(0.5)
        small = np.uint32(np.int32(min(rounded, np.float32(1)) * np.float32(1 << 24)))
        odd = (size >> np.uint32(13)) & np.uint32(1)
        h = (size - np.uint32(0x38000000) + np.uint32(0xFFF) + odd) >> np.uint32(13)
        if size < np.uint32(0x38800000):
            h = small
        if size >= np.uint32(0x477FF000):
            h = np.uint32(0x7C00)
        h |= (u >> np.uint32(16)) & np.uint32(0x8000)
        if size > np.uint32(0x7F800000):
            h = np.uint32(0x7E00)
        out[i] = np.uint16(h)


@njit(cache=True)
def _dense(a, b, z):  # pragma: no cover - compiled
    m, k = a.shape
    n = b.shape[1]
    for n0 in range(0, n, _COLUMNS):
        n1 = min(n0 + _COLUMNS, n)
        for m0 in range(0, m - m % _ROWS, _ROWS):
            z0 = z[m0, n0:n1]
            z1 = z[m0 + 1, n0:n1]
            z2 = z[m0 + 2, n0:n1]
            z3 = z[m0 + 3, n0:n1]
            for s in range(k):
                row = b[s, n0:n1]
                a0 = a[m0, s]
                a1 = a[m0 + 1, s]
                a2 = a[m0 + 2, s]
                a3 = a[m0 + 3, s]
                for c in range(n1 - n0):
                    z0[c] += a0 * row[c]
                    z1[c] += a1 * row[c]
                    z2[c] += a2 * row[c]
                    z3[c] += a3 * row[c]
        for i in range(m - m % _ROWS, m):
            zi = z[i, n0:n1]
            for s in range(k):
                row = b[s, n0:n1]
                ai = a[i, s]
                for c in range(n1 - n0):
                    zi[c] += ai * row[c]


@njit(cache=True)
def _compact(columns, values, picks, z):  # pragma: no cover - compiled
    # columns [k, m]; values and picks [n, slots]; z [n, m]
    n, slots = values.shape
    m = columns.shape[1]
    for m0 in range(0, m, _COLUMNS):
        m1 = min(m0 + _COLUMNS, m)
        for j in range(n):
            out = z[j, m0:m1]
            for s in range(slots):
                row = columns[picks[j, s], m0:m1]
                v = values[j, s]
                for i in range(m1 - m0):
                    out[i] += row[i] * v


@njit(cache=True)
def _gather(x, kernel, stride, pad, high, wide, out):  # pragma: no cover - compiled
    batch, height, width, channels = x.shape
    for r in range(kernel):
        for c in range(kernel):
            for channel in range(channels):
                line = out[(r * kernel + c) * channels + channel]
                for b in range(batch):
                    for oy in range(high):
                        y = oy * stride + r - pad
                        if y < 0 or y >= height:
                            continue
                        at = (b * high + oy) * wide
                        for ox in range(wide):
                            xx = ox * stride + c - pad
                            if 0 <= xx < width:
                                line[at + ox] = x[b, y, xx, channel]


@njit(cache=True)
def _gather_back(dy, kernel, stride, pad, height, width, out):  # pragma: no cover - compiled
    batch, high, wide, channels = dy.shape
    for r in range(kernel):
        for c in range(kernel):
            for channel in range(channels):
                line = out[(r * kernel + c) * channels + channel]
                for b in range(batch):
                    for oy in range(high):
                        y = oy * stride + r - pad
                        if y < 0 or y >= height:
                            continue
                        at = (b * height + y) * width
                        for ox in range(wide):
                            x = ox * stride + c - pad
                            if 0 <= x < width:
                                line[at + x] = dy[b, oy, ox, channel]


@njit(cache=True)
def _prune(bits, allowed, n, m, mask, values, indices):  # pragma: no cover - compiled
    # The selector's streaming insertion: an element goes before the first that it exceeds, so of
    # equal magnitudes the earlier stays and the latest of the smallest falls out.
    k, columns = bits.shape
    sizes = np.empty(n, np.int64)
    places = np.empty(n, np.int64)
    for group in range((k + m - 1) // m):
        low, high = group * m, min((group + 1) * m, k)
        for column in range(columns):
            count = 0
            for i in range(low, high):
                size = np.int64(bits[i, column] & 0x7FFF) if allowed[i, column] else 0
                if count < n:
                    at = count
                    count += 1
                elif size > sizes[n - 1]:
                    at = n - 1
                else:
                    continue
                while at > 0 and sizes[at - 1] < size:
                    sizes[at] = sizes[at - 1]
                    places[at] = places[at - 1]
                    at -= 1
                sizes[at] = size
                places[at] = i
            kept = np.int64(0)
            for i in range(count):
                kept |= np.int64(1) << (places[i] - low)
            slot = group * n
            for i in range(low, high):
                if (kept >> (i - low)) & 1 and allowed[i, column]:
                    mask[i, column] = True
                    values[slot, column] = bits[i, column]
                    indices[slot, column] = i - low
                    slot += 1
