"""The unified sparse processing element: one (value, index) pair a cycle picks an activation.

The same hardware serves dense and N:M, output and weight stationary. Every cycle with `en` is a
step of the whole array. A group of activations passes to the right and a pair passes down, a
register each; the pair's index picks one activation of the group, the picked one is multiplied and
the product added:

    select    picked activation and value         <- group, and the passing or the held pair
    multiply  product                             multiplier_latency steps
    add       (0 | ring | link from above) + product    adder_latency steps

Output stationary, `interleave` outputs are summed in turn: a sum comes back to the adder through a
ring as long as a slot, so an adder of any latency takes a pair in every step that has one. With
the last product of a slot each sum moves into the drain registers, from which all move down the
column. Weight stationary holds the pair, adds to what comes from above and passes the sum down.
Control arrives from the left, already skewed to the stage that needs it, and is passed on with one
register.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwsim.models.array import ArrayShape
from hwsim.models.formats import NumberFormat
from hwsim.rtl.arithmetic import (
    add,
    adder_pipeline,
    multiplier_pipeline,
    multiply,
    product_bits,
)
from hwsim.rtl.rowwise_parts import instance

__all__ = [
    "ENABLE_MODULE",
    "EnableRegister",
    "ProcessingElement",
    "control_layout",
    "enable_signature",
    "registered",
]

ENABLE_MODULE = "stce_enable"
"""Name of the module that every enable register is an instance of."""


def enable_signature() -> wiring.Signature:
    """Ports of an `EnableRegister`."""
    return wiring.Signature({"step": In(1), "en": Out(1)})


class EnableRegister(wiring.Component):
    """The enable of a part of the array, a register.

    A module of its own, so that synthesis does not merge the registers of several parts into one
    with the loads of all.

    Ports:
        step: the array advances in the next cycle.
        en: it advances in this one.
    """

    def __init__(self) -> None:
        super().__init__(enable_signature())

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.en.eq(self.step)
        return m


def registered(m: Module, value: Value, name: str) -> Value:
    """A value in a register of its own, not merged with others of the same value."""
    ports = instance(m, ENABLE_MODULE, name, enable_signature())
    m.d.comb += ports.step.eq(value)
    en: Value = ports.en
    return en


def control_layout() -> data.StructLayout:
    """What steers a PE in one step.

    Fields: `first` the product at the adder starts a sum; `last` the sum that leaves the adder is
    a result, which enters the drain registers; `shift` the drain registers take what comes from
    above; `load` the passing pair is taken in; `swap` the pair taken in becomes the held one.
    """
    return data.StructLayout({"first": 1, "last": 1, "shift": 1, "load": 1, "swap": 1})


class ProcessingElement(wiring.Component):
    """One PE of the array.

    Args:
        fmt: the number format.
        array: the shape of the array that it is part of; rows and cols do not matter here.

    Ports:
        step: the array advances in the next cycle. Every PE keeps the enable in registers of its
            own: one for a whole array would drive thousands of loads across the part.
        stationary: 1 weight stationary, 0 output stationary; constant while work is in flight.
        group_in, group_out: `group` activations, packed, element 0 lowest.
        value_in, value_out, index_in, index_out: the pair.
        control_in, control_out: `control_layout()`, packed.
        link_in, link_out: the sum that moves down the column.
    """

    def __init__(self, fmt: NumberFormat, array: ArrayShape) -> None:
        self.fmt = fmt
        self.array = array
        group = array.group
        word = group * fmt.operand_bits
        index = max(1, (group - 1).bit_length())
        control = control_layout().size
        super().__init__(
            {
                "step": In(1),
                "stationary": In(1),
                "group_in": In(word),
                "group_out": Out(word),
                "value_in": In(fmt.operand_bits),
                "value_out": Out(fmt.operand_bits),
                "index_in": In(index),
                "index_out": Out(index),
                "control_in": In(control),
                "control_out": Out(control),
                "link_in": In(fmt.accumulator_bits),
                "link_out": Out(fmt.accumulator_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fmt = self.fmt
        bits = fmt.operand_bits
        control = data.View(control_layout(), self.control_in)
        parts = ("select", "sum", "drain")
        en_select, en_sum, en_drain = (registered(m, self.step, f"enable_{part}") for part in parts)
        ws_select, ws_sum, ws_drain = (
            registered(m, self.stationary, f"stationary_{part}") for part in parts
        )

        # Data registers are not reset: flags say when what they hold is used.
        pair = Signal(bits + len(self.index_in), reset_less=True)
        held = Signal.like(pair)
        group = Signal(len(self.group_in), reset_less=True)
        m.d.comb += [Cat(self.value_out, self.index_out).eq(pair), self.group_out.eq(group)]
        value = Signal(bits)
        index = Signal.like(self.index_in)
        m.d.comb += [
            value.eq(Mux(ws_select, held[:bits], self.value_in)),
            index.eq(Mux(ws_select, held[bits:], self.index_in)),
        ]

        # select
        picked = Signal(bits, reset_less=True)
        factor = Signal(bits, reset_less=True)
        with m.If(en_select):
            m.d.sync += [
                group.eq(self.group_in),
                self.control_out.eq(self.control_in),
            ]
            with m.If(control.load):
                m.d.sync += pair.eq(Cat(self.value_in, self.index_in))
            with m.If(control.swap):
                m.d.sync += held.eq(pair)
        # with the enable of the product's register: both may then lie in one multiplier block
        with m.If(en_sum):
            m.d.sync += [picked.eq(self.group_in.word_select(index, bits)), factor.eq(value)]

        # multiply, add
        array = self.array
        pipe = multiplier_pipeline(m, en_sum, fmt, array.multiplier_latency)
        product = Signal(product_bits(fmt))
        m.d.comb += product.eq(multiply(m, fmt, picked, factor, pipe))
        total = Signal(fmt.accumulator_bits)
        back = self._shift(m, total, array.slot_steps - array.adder_latency, en_sum, "ring")
        addend = Signal(fmt.accumulator_bits)
        m.d.comb += addend.eq(Mux(ws_sum, self.link_in, Mux(control.first, 0, back)))
        pipe = adder_pipeline(m, en_sum, fmt, array.adder_latency)
        # `total` is the value in the adder's last register; results are taken in front of it
        m.d.comb += total.eq(add(m, fmt, addend, product, pipe))

        # drain
        entering = Mux(control.last, pipe.entering, self.link_in)
        drain = self._shift(
            m, entering, array.interleave, en_drain & (control.last | control.shift), "drain"
        )
        m.d.comb += self.link_out.eq(Mux(ws_drain, total, drain))
        return m

    @staticmethod
    def _shift(m: Module, value: Value, steps: int, en: Value, name: str) -> Value:
        for i in range(steps):
            register = Signal(len(value), name=f"{name}{i}", reset_less=True)
            with m.If(en):
                m.d.sync += register.eq(value)
            value = register
        return value
