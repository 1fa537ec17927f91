"""The output pass of a layer: max-pool, bias, ReLU and requantisation, from sums to codes.

The max-pool takes sums instead of codes: bias, ReLU and requantisation never change the order of
two sums of a channel, so the code of the largest sum is the largest code.
"""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.models.delta_shape import DeltaShape, FactorBits
from hwsim.rtl.delta_parts import (
    config_layout,
    items_layout,
    parameter_layout,
    scaled_product,
    window_layout,
)
from hwsim.rtl.rowwise_parts import instance

__all__ = [
    "DELTA_CODE",
    "DELTA_OUTPUT",
    "OUTPUT_DEPTH",
    "CodeLane",
    "OutputPass",
    "output_signature",
]

DELTA_CODE = "delta_code"
DELTA_OUTPUT = "delta_output"

OUTPUT_DEPTH = 4
"""Steps from a window's last word of sums to its word of codes: largest, bias and ReLU, product,
rounding."""


def code_signature(shape: DeltaShape) -> wiring.Signature:
    """Ports of `CodeLane`."""
    return wiring.Signature(
        {
            "step": In(1),
            "enter": In(1),
            "first": In(1),
            "sum": In(signed(shape.accumulator_bits)),
            "bias": In(signed(shape.accumulator_bits)),
            "factor": In(FactorBits.MULTIPLIER),
            "shift": In(FactorBits.SHIFT),
            "relu": In(1),
            "code": Out(signed(shape.item_bits)),
        }
    )


class CodeLane(wiring.Component):
    """One lane of the output pass, `OUTPUT_DEPTH` steps.

    Ports:
        step: the lane advances in this cycle.
        enter: `sum` counts; `first`: it is its window's first.
        bias, factor: of the sum that entered one step ago.
        shift, relu: constant.
    """

    def __init__(self, shape: DeltaShape) -> None:
        self.shape = shape
        super().__init__(code_signature(shape))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        acc, bits = self.shape.accumulator_bits, self.shape.activation_bits
        largest = Signal(signed(acc))
        biased = Signal(signed(acc + 1))
        factor = Signal(FactorBits.MULTIPLIER)
        product = Signal(signed(acc + 1 + FactorBits.MULTIPLIER))
        z = Signal(signed(acc + 1))
        m.d.comb += z.eq(largest + self.bias)
        scaled = scaled_product(m, product, self.shift, "scaled")
        low = Mux(self.relu, 0, -(1 << (bits - 1)))
        high = Mux(self.relu, (1 << bits) - 1, (1 << (bits - 1)) - 1)
        with m.If(self.step & self.enter & (self.first | (self.sum > largest))):
            m.d.sync += largest.eq(self.sum)
        with m.If(self.step):
            m.d.sync += [
                biased.eq(Mux(self.relu & (z < 0), 0, z)),
                factor.eq(self.factor),
                product.eq(biased * factor),
                self.code.eq(Mux(scaled > high, high, Mux(scaled < low, low, scaled))),
            ]
        return m


def output_signature(shape: DeltaShape) -> wiring.Signature:
    """Ports of `OutputPass`."""
    return wiring.Signature(
        {
            "config": In(config_layout(shape)),
            "parameters": In(stream.Signature(parameter_layout(shape))),
            "i": In(stream.Signature(window_layout(shape))),
            "o": Out(stream.Signature(items_layout(shape, shape.lanes))),
        }
    )


class OutputPass(wiring.Component):
    """`lanes` lanes and the memory of biases and factors; instantiates `DELTA_CODE`.

    Ports:
        config: constant from reset.
        parameters: from reset, one word for each word of channels; always ready. They must have
            come before the first frame has ended.
        i: words of sums, a pool's window in a row.
        o: a word of codes for each window.

    A lockstep pipeline: it stands still while a result waits at `o`.
    """

    def __init__(self, shape: DeltaShape) -> None:
        self.shape = shape
        super().__init__(output_signature(shape))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self.shape
        m.submodules.memory = store = memory.Memory(
            shape=parameter_layout(shape).size, depth=shape.parameter_words, init=[]
        )
        write, read = store.write_port(), store.read_port()
        step = Signal()
        valid = Signal(OUTPUT_DEPTH)
        loaded = Signal(shape.parameter_bits)
        m.d.comb += [
            step.eq(self.o.ready | ~self.o.valid),
            self.i.ready.eq(step),
            self.o.valid.eq(valid[-1]),
            self.parameters.ready.eq(1),
            write.en.eq(self.parameters.valid),
            write.addr.eq(loaded),
            write.data.eq(self.parameters.payload.as_value()),
            read.en.eq(step),
            read.addr.eq(self.i.payload.word),
        ]
        with m.If(self.parameters.valid):
            m.d.sync += loaded.eq(loaded + 1)
        with m.If(step):
            m.d.sync += valid.eq((valid << 1) | (self.i.valid & self.i.payload.last))
        parameters = data.View(parameter_layout(shape), read.data)
        for i in range(shape.lanes):
            lane = instance(m, DELTA_CODE, f"code{i}", code_signature(shape))
            m.d.comb += [
                lane.step.eq(step),
                lane.enter.eq(self.i.valid),
                lane.first.eq(self.i.payload.first),
                lane.sum.eq(self.i.payload.sums[i]),
                lane.bias.eq(parameters[i].bias),
                lane.factor.eq(parameters[i].factor),
                lane.shift.eq(self.config.shift),
                lane.relu.eq(self.config.relu),
                self.o.payload[i].eq(lane.code),
            ]
        return m
