"""What a layer asks of an accelerator: matrix products and element-wise passes, as shapes.

Tensors follow Z[m, n] = A[m, k] B[k, n]: A the activations, B the weights (or the second
activation operand of attention). A convolution's k runs over kernel row, kernel column, input
channel, with the channel innermost, so N:M groups lie along input channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["ROLES", "ConvGeometry", "Gemm", "Update", "Vector", "Work"]

ROLES = ("a", "at", "b", "bt")
"""What of a product is the gathered matrix X[positions, taps x channels] of `Gemm.conv`: A, A
transposed, B, B transposed. Without a window, `at` and `b` say that the contracted axis is the
outer one in memory, as in a weight gradient, and `bt` that B is an activation stored by columns."""

_TURNED = {"a": "bt", "bt": "a", "at": "b", "b": "at"}


@dataclass(frozen=True, kw_only=True)
class ConvGeometry:
    """The window that a convolution's A operand is gathered through (per group of channels).

    Attributes:
        batch, height, width, channels: the input feature map (channels of one group).
        kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w: the window.
        pad_top, pad_left, pad_bottom, pad_right: zeros around the map, never read from memory;
            negative where a window starts or ends inside the map.
        out_h, out_w: the output map; m = batch * out_h * out_w.
    """

    batch: int
    height: int
    width: int
    channels: int
    kernel_h: int
    kernel_w: int
    stride_h: int = 1
    stride_w: int = 1
    dilation_h: int = 1
    dilation_w: int = 1
    pad_top: int = 0
    pad_left: int = 0
    pad_bottom: int = 0
    pad_right: int = 0
    out_h: int
    out_w: int


@dataclass(frozen=True, kw_only=True)
class Gemm:
    """`count` independent products Z[m, n] = A[m, k] B[k, n] of one layer and stage.

    Attributes:
        layer: the layer's name, unique in the network.
        stage: `FF` forward, `BP` backward to the activations, `WU` weight gradient.
        op: the operator it came from, in ONNX's spelling (`Conv`, `Gemm`, `MatMul`, `LSTM`, ...).
        m, n, k: the shape; all at least 1.
        count: how many products of this shape (channel groups, attention heads times batch, time
            steps of a recurrence).
        weights: B is a trained tensor, so it can be pruned along k.
        shared: all `count` products have the same B (time steps of a recurrence).
        first: the network's first layer with weights, which N:M training leaves dense.
        conv: the window that the operand of `role` is gathered through, None for plain matrices.
        role: see `ROLES`; a forward product has `a`.
        z_bits: of an output as it is stored, None for the operand format, 0 if it stays on chip.
        side_read_bits, side_write_bits: what element-wise work on the way out of the array reads
            and writes for every output (masks, kept maps, gradients that are added).
        online: B is stored dense and reduced to N:M on its way in.
    """

    layer: str
    stage: str = "FF"
    op: str
    m: int
    n: int
    k: int
    count: int = 1
    weights: bool = True
    shared: bool = False
    first: bool = False
    conv: ConvGeometry | None = None
    role: str = "a"
    z_bits: int | None = None
    side_read_bits: int = 0
    side_write_bits: int = 0
    online: bool = False

    def turned(self) -> Gemm:
        """The same product as Z^T = B^T A^T."""
        return replace(self, m=self.n, n=self.m, role=_TURNED[self.role])

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the dense product, padding taps included."""
        return self.m * self.n * self.k * self.count


@dataclass(frozen=True, kw_only=True)
class Vector:
    """An element-wise, pooling, normalising or data-moving pass over tensors.

    Attributes:
        layer, stage, op: as in `Gemm`.
        elements_in, elements_out: tensor elements read and written.
        operations: arithmetic operations in all (a k x k pooling does k*k an output).
        fused: it can be done on the way out of the product before it (bias, batch-norm, ReLU) and
            then moves no data of its own.
        lane_steps: elements that go through a lane, once or, where sums come first, twice: the
            cycles of a lane that does all of a pass's operations in a pipeline; None where nobody
            asks.
        read_bits, write_bits: moved beside the elements: masks, indices of pooling.
    """

    layer: str
    stage: str = "FF"
    op: str
    elements_in: int
    elements_out: int
    operations: int
    fused: bool = False
    lane_steps: int | None = None
    read_bits: int = 0
    write_bits: int = 0


@dataclass(frozen=True, kw_only=True)
class Update:
    """The weight update of one layer, and the copies of its weights for the next step.

    Attributes:
        layer, op: as in `Gemm`.
        weights: elements of the trained operand of the layer's product.
        others: other trained elements (biases, scales): updated, never pruned, kept in FP32.
        forward, backward: the products that read the weights, in FF and in BP; empty without.
        on_chip: the weight gradient is in the output buffer; else it is read from DRAM.
    """

    layer: str
    stage: str = "WUVE"
    op: str
    weights: int
    others: int = 0
    forward: tuple[Gemm, ...] = ()
    backward: tuple[Gemm, ...] = ()
    on_chip: bool = False


Work = Gemm | Vector | Update
