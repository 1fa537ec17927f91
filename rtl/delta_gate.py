"""The gate unit of the GRU engine: from the four sums of a unit and its old state to the new state.

Sigmoid and tanh are tables; numbers and roundings are those of `hwsim.models.delta_gru`.
"""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value, signed
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.models.delta_gru import GATE_FRACTION, sigmoid_table, tanh_table
from hwsim.models.delta_shape import DeltaShape
from hwsim.rtl.delta_parts import items_layout, round_shift, saturate, sums_layout
from hwsim.rtl.rowwise_parts import instance
from hwsim.rtl.stream import delay

__all__ = ["DELTA_GATE", "DELTA_GATES", "GATE_BEATS", "GATE_DEPTH", "GateLane", "GateUnit"]

DELTA_GATE = "delta_gate"
DELTA_GATES = "delta_gates"

GATE_BEATS = 5
"""Words a group of units takes: r, z, the input's part of n, the state's part, the old state."""

GATE_DEPTH = 8
"""Steps from a group's last word to its result."""

_R, _Z, _INPUT, _STATE, _OLD = range(GATE_BEATS)


def gate_signature(shape: DeltaShape) -> wiring.Signature:
    """Ports of `GateLane`."""
    return wiring.Signature(
        {
            "step": In(1),
            "enter": In(GATE_BEATS),
            "i": In(signed(shape.accumulator_bits)),
            "o": Out(signed(shape.activation_bits)),
        }
    )


class GateLane(wiring.Component):
    """One lane: a sigmoid and a tanh table, a multiplier for r and one for z.

    Ports:
        step: the lane advances in this cycle.
        enter: one bit for what enters with the step, in the order of `GATE_BEATS`; none is a
            bubble, which may stand between any two words.
        i: a sum, or the old state.
        o: the new state, `GATE_DEPTH` steps after the old one entered.
    """

    def __init__(self, shape: DeltaShape) -> None:
        self.shape = shape
        super().__init__(gate_signature(shape))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape, step = self.shape, self.step
        acc, bits = shape.accumulator_bits, shape.activation_bits
        gate_bits = GATE_FRACTION + 1  # a gate is below 1 and not negative: a sign bit of 0
        late = [delay(m, step, self.enter, steps, f"enter{steps}_") for steps in (2, 4)]

        gate = self._table(m, "sigmoid", self.i, sigmoid_table(shape).tolist(), gate_bits)
        r, z, z_kept = (Signal(signed(gate_bits), name=name) for name in ("r", "z", "z_kept"))
        part, total = Signal(signed(acc)), Signal(signed(acc))
        reset = Signal(signed(acc + gate_bits))  # r times the state's part of n
        old = Signal(signed(bits))
        summed = saturate(m, part + round_shift(reset, GATE_FRACTION), acc, "summed")
        new = self._table(m, "tanh", total, tanh_table(shape).tolist(), bits)
        n = Signal(signed(bits))
        change = Signal(signed(bits + 1))
        product, product2 = (
            Signal(signed(bits + 1 + gate_bits), name=f"update{i}") for i in (1, 2)
        )
        with m.If(step):
            m.d.sync += [
                reset.eq(r * self.i),
                total.eq(summed),
                change.eq(old - n),
                product.eq(z_kept * change),
                product2.eq(product),
                self.o.eq(n + round_shift(product2, GATE_FRACTION)),
            ]
            with m.If(late[0][_R]):
                m.d.sync += r.eq(gate)
            with m.If(late[0][_Z]):
                m.d.sync += z.eq(gate)
            with m.If(self.enter[_INPUT]):
                m.d.sync += part.eq(self.i)
            with m.If(late[1][_STATE]):
                m.d.sync += n.eq(new)
            with m.If(self.enter[_OLD]):  # the next group's z may come before this one's is used
                m.d.sync += [old.eq(self.i), z_kept.eq(z)]
        return m

    def _table(self, m: Module, name: str, x: Value, entries: list[int], bits: int) -> Value:
        """The entry nearest to a sum, two steps later."""
        shape = self.shape
        shift = shape.sum_fraction - (shape.table_bits - 1 - shape.table_range_bits)
        number = saturate(m, round_shift(x, shift), shape.table_bits, f"{name}_number")
        kept = Signal(shape.table_bits, name=f"{name}_entry")
        with m.If(self.step):
            m.d.sync += kept.eq(number)
        m.submodules[name] = table = memory.Memory(
            shape=signed(bits), depth=len(entries), init=entries
        )
        read = table.read_port()
        m.d.comb += [read.addr.eq(kept), read.en.eq(self.step)]
        return read.data


class GateUnit(wiring.Component):
    """`lanes` lanes behind one stream; instantiates `DELTA_GATE`.

    Ports:
        i: `GATE_BEATS` words for each group of `lanes` units.
        o: their new states.

    A lockstep pipeline: it stands still while a result waits at `o`.
    """

    def __init__(self, shape: DeltaShape) -> None:
        self.shape = shape
        super().__init__(gates_signature(shape))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self.shape
        step = Signal()
        valid = Signal(GATE_DEPTH)
        turn = Signal(GATE_BEATS, init=1)
        m.d.comb += [
            step.eq(self.o.ready | ~self.o.valid),
            self.i.ready.eq(step),
            self.o.valid.eq(valid[-1]),
        ]
        with m.If(step):
            m.d.sync += valid.eq((valid << 1) | (self.i.valid & turn[_OLD]))
            with m.If(self.i.valid):
                m.d.sync += turn.eq(turn.rotate_left(1))
        for i in range(shape.lanes):
            lane = instance(m, DELTA_GATE, f"gate{i}", gate_signature(shape))
            m.d.comb += [
                lane.step.eq(step),
                lane.enter.eq(turn & self.i.valid.replicate(GATE_BEATS)),
                lane.i.eq(self.i.payload[i]),
                self.o.payload[i].eq(lane.o),
            ]
        return m


def gates_signature(shape: DeltaShape) -> wiring.Signature:
    """Ports of `GateUnit`."""
    return wiring.Signature(
        {
            "i": In(stream.Signature(sums_layout(shape))),
            "o": Out(stream.Signature(items_layout(shape, shape.lanes))),
        }
    )
