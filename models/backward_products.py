"""The products of a backward pass, from the forward product they belong to.

Y = X W gives dX = dY W^T (stage BP) and dW = X^T dY (stage WU). The backward of a convolution with
stride s is cut into the s x s phases of its input map: the positions with equal remainder by s see
the same subset of taps, so each phase is a convolution of stride 1 over dY, and no product with a
zero that striding would insert is done. Its k runs over taps with the output channel innermost, so
N:M groups lie along output channels, the contracted axis of dX.
"""

from __future__ import annotations

from dataclasses import replace
from math import gcd
from typing import NamedTuple

from hwsim.models.work import ConvGeometry, Gemm

__all__ = ["activation_gradients", "input_gradient", "weight_gradient"]


class _Phase(NamedTuple):
    """One remainder of an axis of the input map.

    `outputs` positions, `taps` of the kernel that reach them, `dilation` and padding of the window
    over dY that they are gathered through.
    """

    start: int
    outputs: int
    taps: int
    dilation: int
    before: int
    after: int


def input_gradient(forward: Gemm) -> tuple[list[Gemm], int]:
    """dX = dY W^T of a forward product with weights.

    Returns:
        the products, one a phase of a strided convolution, and the elements of dX that no tap
        reaches, which are zero (three quarters of the map behind a 1 x 1 of stride 2).

    Raises:
        ValueError: a convolution over three or more axes, whose window is not described.
    """
    whole = replace(forward, stage="BP", first=False)
    g = forward.conv
    if g is None:
        if forward.op == "Conv":
            raise ValueError(
                f"training of convolution {forward.layer} needs one or two spatial axes"
            )
        return [replace(whole, n=forward.k, k=forward.n)], 0
    rows = _phases(g.height, g.kernel_h, g.stride_h, g.dilation_h, g.pad_top, g.out_h)
    columns = _phases(g.width, g.kernel_w, g.stride_w, g.dilation_w, g.pad_left, g.out_w)
    found, covered = [], 0
    for y in rows:
        for x in columns:
            m = g.batch * y.outputs * x.outputs
            if not y.taps or not x.taps:
                continue
            covered += m
            several = len(rows) * len(columns) > 1
            found.append(
                replace(
                    whole,
                    layer=f"{forward.layer}[{y.start},{x.start}]" if several else forward.layer,
                    m=m,
                    n=g.channels,
                    k=y.taps * x.taps * forward.n,
                    conv=ConvGeometry(
                        batch=g.batch,
                        height=g.out_h,
                        width=g.out_w,
                        channels=forward.n,
                        kernel_h=y.taps,
                        kernel_w=x.taps,
                        dilation_h=y.dilation,
                        dilation_w=x.dilation,
                        pad_top=y.before,
                        pad_left=x.before,
                        pad_bottom=y.after,
                        pad_right=x.after,
                        out_h=y.outputs,
                        out_w=x.outputs,
                    ),
                )
            )
    missing = (g.batch * g.height * g.width - covered) * g.channels * forward.count
    return found, missing


def weight_gradient(forward: Gemm) -> Gemm:
    """dW[k, n] = X^T dY, contracted over batch and positions, dense in every method."""
    return replace(
        forward, stage="WU", m=forward.k, k=forward.m, weights=False, first=False, role="at"
    )


def activation_gradients(forward: Gemm) -> tuple[Gemm, Gemm]:
    """dA = dZ B^T and dB = A^T dZ of a product of two activations, both dense."""
    whole = replace(forward, stage="BP", first=False, weights=False)
    return (
        replace(whole, layer=f"{forward.layer}.dA", n=forward.k, k=forward.n),
        replace(whole, layer=f"{forward.layer}.dB", m=forward.k, k=forward.m, role="at"),
    )


def _phases(size: int, kernel: int, stride: int, dilation: int, pad: int, out: int) -> list[_Phase]:
    """The phases of one axis: input position stride * u + start reads dY[u + offset] for each tap.

    From y_in = stride * y_out - pad + tap * dilation.
    """
    found = []
    for start in range(min(stride, size)):
        outputs = -(-(size - start) // stride)
        offsets = [
            (start + pad - tap * dilation) // stride
            for tap in range(kernel)
            if (start + pad - tap * dilation) % stride == 0
        ]
        if not offsets:
            found.append(_Phase(start, outputs, 0, 1, 0, 0))
            continue
        low, high = min(offsets), max(offsets)
        found.append(
            _Phase(
                start,
                outputs,
                len(offsets),
                dilation // gcd(stride, dilation),
                -low,
                outputs - 1 + high - (out - 1),
            )
        )
    return found
