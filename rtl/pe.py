"""The unified sparse processing element: one (value, index) pair a cycle picks an activation.

The same hardware serves dense and N:M, output and weight stationary. Every cycle with `en` is a
step of the whole array. A group of activations passes to the right and a pair passes down, a
register each; the pair's index picks one activation of the group, the picked one is multiplied and
the product added, in three pipeline stages:

    select    picked activation and value         <- group, and the passing or the held pair
    multiply  product
    add       acc <- (0 | acc | link from above) + product

Output stationary adds to `acc` and, with the last product, copies the sum to the drain register,
from which it moves down the column. Weight stationary holds the pair, adds to what comes from
above and passes the sum down. Control arrives from the left, already skewed to the stage that
needs it, and is passed on with one register.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hwsim.models.formats import NumberFormat
from hwsim.rtl.arithmetic import add, multiply, product_bits

__all__ = ["PE_LATENCY", "ProcessingElement", "control_layout"]

PE_LATENCY = 3
"""Steps from a group's arrival at a PE to the sum that contains its product."""


def control_layout() -> data.StructLayout:
    """What steers a PE in one step.

    Fields: `valid` a product is added; `first` it starts a sum; `last` it ends one, which moves to
    the drain register; `shift` the drain register takes what comes from above; `load` the passing
    pair is taken in; `swap` the pair taken in becomes the held one.
    """
    return data.StructLayout({"valid": 1, "first": 1, "last": 1, "shift": 1, "load": 1, "swap": 1})


class ProcessingElement(wiring.Component):
    """One PE of the array.

    Args:
        fmt: the number format.
        group: activations in a group, the hardware's M.

    Ports:
        en: the array advances in this cycle.
        stationary: 1 weight stationary, 0 output stationary; constant while work is in flight.
        group_in, group_out: `group` activations, packed, element 0 lowest.
        value_in, value_out, index_in, index_out: the pair.
        control_in, control_out: `control_layout()`, packed.
        link_in, link_out: the sum that moves down the column.
    """

    def __init__(self, fmt: NumberFormat, group: int) -> None:
        if group < 1:
            raise ValueError(f"group >= 1 must hold, but got {group}")
        self.fmt = fmt
        self.group = group
        word = group * fmt.operand_bits
        index = max(1, (group - 1).bit_length())
        control = control_layout().size
        super().__init__(
            {
                "en": In(1),
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

        held_value = Signal(bits)
        held_index = Signal.like(self.index_in)
        value = Signal(bits)
        index = Signal.like(self.index_in)
        m.d.comb += [
            value.eq(Mux(self.stationary, held_value, self.value_in)),
            index.eq(Mux(self.stationary, held_index, self.index_in)),
        ]

        picked = Signal(bits)
        factor = Signal(bits)
        product = Signal(product_bits(fmt))
        acc = Signal(fmt.accumulator_bits)
        drain = Signal(fmt.accumulator_bits)
        addend = Signal(fmt.accumulator_bits)
        m.d.comb += addend.eq(Mux(self.stationary, self.link_in, Mux(control.first, 0, acc)))
        exact = multiply(m, fmt, picked, factor)
        total = add(m, fmt, addend, product)

        with m.If(self.en):
            m.d.sync += [
                self.group_out.eq(self.group_in),
                self.control_out.eq(self.control_in),
                picked.eq(self.group_in.word_select(index, bits)),
                factor.eq(value),
                product.eq(exact),
            ]
            with m.If(control.load):
                m.d.sync += Cat(self.value_out, self.index_out).eq(
                    Cat(self.value_in, self.index_in)
                )
            with m.If(control.swap):
                m.d.sync += Cat(held_value, held_index).eq(Cat(self.value_out, self.index_out))
            with m.If(control.valid | self.stationary):
                m.d.sync += acc.eq(total)
            with m.If(control.last):
                m.d.sync += drain.eq(total)
            with m.Elif(control.shift):
                m.d.sync += drain.eq(self.link_in)
        m.d.comb += self.link_out.eq(Mux(self.stationary, acc, drain))
        return m
