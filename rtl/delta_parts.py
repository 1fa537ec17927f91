"""Words and the event queue of the delta engine.

Every unit's `valid` and `ready` at the engine's ports depend on registers alone, so engines chain
without a combinational path through them. `hwsim.rtl.rowwise_parts.Queue` stands where two units
must not see one another's handshake in the same cycle.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.models.delta_shape import DeltaShape, FactorBits

__all__ = [
    "EventQueue",
    "config_layout",
    "entry_layout",
    "event_layout",
    "items_layout",
    "parameter_layout",
    "round_shift",
    "saturate",
    "scaled_product",
    "sums_layout",
    "weights_layout",
    "window_layout",
]

KERNEL_BITS = 4  # kernels up to 15 x 15
STRIDE_BITS = 3  # strides and pools up to 7


def config_layout(shape: DeltaShape) -> data.StructLayout:
    """What a run holds constant: the layer's geometry and its factors.

    A GRU: `input_words` of `detector_width` items of x and `state_words` of h, `groups` of `lanes`
    units, `column` words of weights an item, `theta`.

    A layer: `channel_words` of a pixel, `width` and `height` of the input; `start_q`, `start_r`,
    the quotient and rest of pad / `stride`; `kernel_h`, `kernel_w`; `last_y`, `last_x`, the last
    row and column of sums; `out_words` of a pixel of sums; words of weights from one channel
    (`weight_channel`) and kernel row (`weight_row`) to the next; words of sums in a row
    (`sigma_row`), in `pool` rows (`pool_row`), in `pool` pixels (`pool_step`) and in all
    (`sigma_words`); `pooled_h`, `pooled_w` of the result; the encoder's `factor`, `factor_shift`,
    `signed` and `theta`; `shift` and `relu` of the output pass.
    """
    channel, coordinate = shape.channel_bits, shape.coordinate_bits
    if shape.gru:
        return data.StructLayout(
            {
                "input_words": channel + 1,
                "state_words": channel + 1,
                "groups": shape.sigma_bits + 1,
                "column": shape.address_bits,
                "theta": shape.item_bits,
            }
        )
    return data.StructLayout(
        {
            "channel_words": channel + 1,
            "width": coordinate,
            "height": coordinate,
            "start_q": coordinate,
            "start_r": STRIDE_BITS,
            "stride": STRIDE_BITS,
            "kernel_h": KERNEL_BITS,
            "kernel_w": KERNEL_BITS,
            "last_y": coordinate,
            "last_x": coordinate,
            "out_words": shape.parameter_bits + 1,
            "weight_channel": shape.address_bits,
            "weight_row": shape.address_bits,
            "sigma_row": shape.sigma_bits + 1,
            "sigma_words": shape.sigma_bits + 1,
            "pool": STRIDE_BITS,
            "pool_row": shape.sigma_bits + 1,
            "pool_step": shape.sigma_bits + 1,
            "pooled_h": coordinate,
            "pooled_w": coordinate,
            "factor": FactorBits.MULTIPLIER,
            "factor_shift": FactorBits.SHIFT,
            "signed": 1,
            "theta": shape.item_bits,
            "shift": FactorBits.SHIFT,
            "relu": 1,
        }
    )


def items_layout(shape: DeltaShape, count: int) -> data.ArrayLayout:
    """`count` elements of a frame."""
    return data.ArrayLayout(signed(shape.item_bits), count)


def event_layout(shape: DeltaShape) -> data.StructLayout:
    """A difference and where it stands; `last` closes the frame, a zero comes only to do that."""
    place: dict[str, Any] = {"channel": shape.channel_bits}
    if shape.gru:
        place["state"] = 1  # an item of h, not of x
    else:
        for axis in "yx":
            place[f"q{axis}"] = shape.coordinate_bits + 1  # (coordinate + pad) / stride
            place[f"r{axis}"] = STRIDE_BITS  # and its rest
    return data.StructLayout({"delta": signed(shape.delta_bits), "nonzero": 1, "last": 1, **place})


def entry_layout(shape: DeltaShape) -> data.StructLayout:
    """A word of weights on its way: where its products go. Without `weights` it only takes time."""
    return data.StructLayout(
        {
            "address": shape.sigma_bits,
            "delta": signed(shape.delta_bits),
            "weights": 1,
            "last": 1,
        }
    )


def weights_layout(shape: DeltaShape) -> data.ArrayLayout:
    """A word of weights."""
    return data.ArrayLayout(signed(shape.weight_bits), shape.lanes)


def sums_layout(shape: DeltaShape) -> data.ArrayLayout:
    """A word of sums."""
    return data.ArrayLayout(signed(shape.accumulator_bits), shape.lanes)


def window_layout(shape: DeltaShape) -> data.StructLayout:
    """A word of sums on its way out: of which channels, and its place in the pool's window."""
    return data.StructLayout(
        {"sums": sums_layout(shape), "word": shape.parameter_bits, "first": 1, "last": 1}
    )


def parameter_layout(shape: DeltaShape) -> data.ArrayLayout:
    """Biases and factors of `lanes` channels."""
    lane = data.StructLayout(
        {"bias": signed(shape.accumulator_bits), "factor": FactorBits.MULTIPLIER}
    )
    return data.ArrayLayout(lane, shape.lanes)


class EventQueue(wiring.Component):
    """A first-in first-out queue that takes a word when it is full and one leaves.

    `i.ready` depends on `o.ready` in the same cycle; latency 1, a word a cycle.

    Args:
        shape: of a word.
        depth: words held, at least 1.

    Raises:
        ValueError: depth < 1.
    """

    def __init__(self, shape: Any, depth: int) -> None:
        if depth < 1:
            raise ValueError(f"depth >= 1 must hold, but got {depth}")
        self.shape = shape
        self.depth = depth
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = len(Value.cast(self.i.payload))
        m.submodules.words = words = memory.Memory(shape=width, depth=self.depth, init=[])
        read, write = words.read_port(domain="comb"), words.write_port()
        level, first, free = (
            Signal(range(self.depth + 1)),
            Signal(range(self.depth)),
            Signal(range(self.depth)),
        )
        put, get = Signal(), Signal()
        m.d.comb += [
            self.o.valid.eq(level != 0),
            get.eq(self.o.valid & self.o.ready),
            self.i.ready.eq((level != self.depth) | get),
            put.eq(self.i.valid & self.i.ready),
            read.addr.eq(first),
            Value.cast(self.o.payload).eq(read.data),
            write.addr.eq(free),
            write.data.eq(Value.cast(self.i.payload)),
            write.en.eq(put),
        ]
        m.d.sync += level.eq(level + put - get)
        with m.If(put):
            m.d.sync += free.eq(Mux(free == self.depth - 1, 0, free + 1))
        with m.If(get):
            m.d.sync += first.eq(Mux(first == self.depth - 1, 0, first + 1))
        return m


def round_shift(x: Value, shift: int) -> Value:
    """x / 2**shift to nearest, ties towards plus infinity; `shift` is fixed."""
    return (x + ((1 << shift) >> 1)) >> shift


def saturate(m: Module, x: Value, bits: int, name: str) -> Signal:
    """`x` in two's complement of `bits`, its ends where it does not fit."""
    out = Signal(signed(bits), name=name)
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    m.d.comb += out.eq(Mux(x > high, high, Mux(x < low, low, x)))
    return out


def scaled_product(m: Module, product: Value, shift: Value, name: str) -> Signal:
    """product / 2**shift to nearest, ties towards plus infinity; `shift` is a signal."""
    out = Signal(signed(len(product) + 1), name=name)
    # half of 2**shift may be wider than the product: then the quotient rounds to 0
    half = ((1 << shift) >> 1).as_unsigned()
    m.d.comb += out.eq((product + half) >> shift)
    return out
