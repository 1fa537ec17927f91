"""The weight update vector engine: momentum SGD in FP32 on `lanes` weights a cycle.

Each lane is the golden update of `hwsim.models.update`, operation for operation, every one rounded
to nearest even by itself, as a pipeline without feedback:

    multiply   p <- gradient * scale     q <- c * w     (c: decay if the weight is kept, or else
    add        g <- p + q                                pruned_decay)
    add        v <- momentum * v + g     (its product is made beside g)
    multiply   r <- rate * v
    add        w <- w - r
    cast       copy <- FP16 of w

`hwsim.dataflows.wuve.update_depth` is its latency; a beat enters every step.
"""

from __future__ import annotations

from amaranth.hdl import (
    ClockSignal,
    Instance,
    Module,
    Mux,
    ResetSignal,
    Signal,
    Value,
)
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.models.formats import FP16
from hwsim.rtl.arithmetic import adder_pipeline, fp32_add
from hwsim.rtl.float32 import fp32_multiplier_pipeline, fp32_multiply, fp32_negate, fp32_to_fp16
from hwsim.rtl.stream import delay, lockstep

__all__ = [
    "FP32_STEPS",
    "SCALARS",
    "WUVE_LANE",
    "UpdateEngine",
    "UpdateLane",
    "update_in_layout",
    "update_out_layout",
]

WUVE_LANE = "wuve_lane"
"""Name of the module that every lane is an instance of; Verilog holds it once."""

FP32_STEPS = 2
"""Steps that an FP32 multiplication takes beyond an FP16 one: a subnormal factor is moved up before
it, and the product is rounded. Without them it is what limits the clock (34 MHz against 47 MHz of
one lane on ECP5, latencies 2 and 4); no weight depends on another, so they cost registers only."""

SCALARS = ("rate", "momentum", "decay", "pruned_decay", "scale")
"""FP32 inputs, the fields of `hwsim.models.update.UpdateRule`."""


def update_in_layout() -> data.StructLayout:
    """What a lane takes: FP32 `w`, `v` and `gradient`, and whether the weight is kept."""
    return data.StructLayout({"w": 32, "v": 32, "gradient": 32, "keep": 1})


def update_out_layout() -> data.StructLayout:
    """What a lane gives: FP32 `w` and `v`, and `copy`, the new w in FP16."""
    return data.StructLayout({"w": 32, "v": 32, "copy": 16})


class UpdateLane(wiring.Component):
    """One lane.

    Args:
        multiplier_latency: steps of an FP16 multiplication in the array; the FP32 ones here take
            `FP32_STEPS` more.
        adder_latency: steps of an addition.

    Ports:
        en: the lane advances in this cycle.
        rate, momentum, decay, pruned_decay, scale: FP32, constant while weights are in flight.
        i: `update_in_layout`, packed.
        o: `update_out_layout`, packed, two multiplications, three additions and a step later.

    Raises:
        ValueError: a latency below 1.
    """

    def __init__(self, *, multiplier_latency: int, adder_latency: int) -> None:
        _check(1, multiplier_latency, adder_latency)
        self.product_latency = multiplier_latency + FP32_STEPS
        self.adder_latency = adder_latency
        super().__init__(
            {
                "en": In(1),
                **{name: In(32) for name in SCALARS},
                "i": In(update_in_layout().size),
                "o": Out(update_out_layout().size),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        multiply, add = self.product_latency, self.adder_latency
        given = data.View(update_in_layout(), self.i)
        decay = Signal(32)
        m.d.comb += decay.eq(Mux(given.keep, self.decay, self.pruned_decay))

        p = self._multiply(m, "p", given.gradient, self.scale)
        q = self._multiply(m, "q", decay, given.w)
        g = self._add(m, "g", p, q)
        # late by one addition, so that it meets g
        v_before = self._delay(m, given.v, add, "v_before")
        kept = self._multiply(m, "kept", self.momentum, v_before)
        v = self._add(m, "v_new", kept, g)
        r = self._multiply(m, "r", self.rate, v)
        w_before = self._delay(m, given.w, 2 * multiply + 2 * add, "w_before")
        w = self._add(m, "w_new", w_before, fp32_negate(r))

        out = data.View(update_out_layout(), self.o)
        v_late = self._delay(m, v, multiply + add, "v_late")
        copy = fp32_to_fp16(m, w)
        with m.If(self.en):
            m.d.sync += [out.w.eq(w), out.v.eq(v_late), out.copy.eq(copy)]
        return m

    def _multiply(self, m: Module, name: str, a: Value, b: Value) -> Value:
        m.submodules[name] = inner = Module()
        pipe = fp32_multiplier_pipeline(inner, self.en, self.product_latency)
        return fp32_multiply(inner, a, b, pipe)

    def _add(self, m: Module, name: str, a: Value, b: Value) -> Value:
        m.submodules[name] = inner = Module()
        pipe = adder_pipeline(inner, self.en, FP16, self.adder_latency)
        return fp32_add(inner, a, b, pipe)

    def _delay(self, m: Module, value: Value, steps: int, name: str) -> Value:
        return delay(m, self.en, value, steps, name)


class UpdateEngine(wiring.Component):
    """`lanes` lanes behind one stream; instantiates `WUVE_LANE`.

    Args:
        lanes: weights updated a cycle.
        multiplier_latency, adder_latency: as of `UpdateLane`.

    Ports:
        rate, momentum, decay, pruned_decay, scale: FP32, constant while beats are in flight.
        i: a beat of `update_in_layout` for every lane.
        o: a beat of `update_out_layout` for every lane.

    Latency: `depth` steps, as `hwsim.dataflows.wuve.update_depth`; throughput: a beat a step. All
    lanes advance or stand still together, see `hwsim.rtl.stream.lockstep`.

    Raises:
        ValueError: lanes < 1 or a latency below 1.
    """

    def __init__(self, *, lanes: int, multiplier_latency: int, adder_latency: int) -> None:
        _check(lanes, multiplier_latency, adder_latency)
        self.lanes = lanes
        self.depth = 2 * (multiplier_latency + FP32_STEPS) + 3 * adder_latency + 1
        super().__init__(
            {
                **{name: In(32) for name in SCALARS},
                "i": In(stream.Signature(data.ArrayLayout(update_in_layout(), lanes))),
                "o": Out(stream.Signature(data.ArrayLayout(update_out_layout(), lanes))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        en = lockstep(m, self.i, self.o, self.depth)
        for lane in range(self.lanes):
            m.submodules[f"lane{lane}"] = Instance(
                WUVE_LANE,
                i_clk=ClockSignal(),
                i_rst=ResetSignal(),
                i_en=en,
                **{f"i_{name}": getattr(self, name) for name in SCALARS},
                i_i=self.i.payload[lane].as_value(),
                o_o=self.o.payload[lane].as_value(),
            )
        return m


def _check(lanes: int, multiplier_latency: int, adder_latency: int) -> None:
    for name, value in (
        ("lanes", lanes),
        ("multiplier_latency", multiplier_latency),
        ("adder_latency", adder_latency),
    ):
        if value < 1:
            raise ValueError(f"{name} >= 1 must hold, but got {value}")
