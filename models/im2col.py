"""A convolution as a matrix product: A gathers windows, B lays the kernel out to match.

The contracted axis k runs over kernel row, kernel column, input channel, the channel innermost, so
that N:M groups lie along input channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["im2col", "kernel_matrix", "out_size", "pad_image", "resolve_pads", "windows"]


def out_size(
    size: int, kernel: int, stride: int, dilation: int, pads: int, *, ceil: bool = False
) -> int:
    """Positions that a window takes along an axis, `pads` elements of padding in all.

    Raises:
        ValueError: the dilated kernel is longer than the padded axis.
    """
    span = dilation * (kernel - 1) + 1
    room = size + pads - span
    if room < 0:
        raise ValueError(
            f"the window must fit: dilation * (kernel - 1) + 1 <= size + padding, "
            f"but got {span} > {size + pads}"
        )
    return (-(-room // stride) if ceil else room // stride) + 1


def resolve_pads(
    auto_pad: str,
    pads: tuple[int, ...],
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> tuple[tuple[int, int], ...]:
    """(begin, end) of each spatial axis from ONNX's `pads` or `auto_pad`.

    Raises:
        ValueError: an unknown `auto_pad`.
    """
    rank = len(sizes)
    if auto_pad in ("", "NOTSET"):
        return tuple((pads[i], pads[i + rank]) for i in range(rank))
    if auto_pad == "VALID":
        return ((0, 0),) * rank
    if auto_pad not in ("SAME_UPPER", "SAME_LOWER"):
        raise ValueError(f"auto_pad must be one of ONNX's four, but got {auto_pad!r}")
    found = []
    for size, k, s, d in zip(sizes, kernel, strides, dilations, strict=True):
        total = max((-(-size // s) - 1) * s + d * (k - 1) + 1 - size, 0)
        small, large = total // 2, total - total // 2
        found.append((small, large) if auto_pad == "SAME_UPPER" else (large, small))
    return tuple(found)


def pad_image(x: NDArray, pads: tuple[tuple[int, int], ...], value: float = 0.0) -> NDArray:
    """`x` [batch, channels, spatial...] with its spatial axes padded."""
    if not any(a or b for a, b in pads):
        return x
    return np.pad(x, ((0, 0), (0, 0), *pads), constant_values=x.dtype.type(value))


def windows(
    x: NDArray,
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    out: tuple[int, ...],
) -> NDArray:
    """A view [batch, channels, out..., kernel...] of padded `x`; nothing is copied."""
    rank = len(kernel)
    spatial = x.strides[2:]
    return np.lib.stride_tricks.as_strided(
        x,
        shape=(*x.shape[:2], *out, *kernel),
        strides=(
            *x.strides[:2],
            *(spatial[i] * strides[i] for i in range(rank)),
            *(spatial[i] * dilations[i] for i in range(rank)),
        ),
        writeable=False,
    )


def im2col(view: NDArray) -> NDArray:
    """A[batch * out, kernel * channels] from `windows`."""
    rank = (view.ndim - 2) // 2
    axes = (0, *range(2, 2 + rank), *range(2 + rank, 2 + 2 * rank), 1)
    batch, channels = view.shape[:2]
    rows = batch * int(np.prod(view.shape[2 : 2 + rank], dtype=np.int64))
    taps = int(np.prod(view.shape[2 + rank :], dtype=np.int64))
    return view.transpose(axes).reshape(rows, taps * channels)


def kernel_matrix(w: NDArray) -> NDArray:
    """B[kernel * channels, filters] from a kernel [filters, channels, kernel...]."""
    return np.moveaxis(w, 1, -1).reshape(w.shape[0], -1).T
