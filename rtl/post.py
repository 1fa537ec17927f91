"""The vector post unit: a beat of sums from the array to FP16, with bias, ReLU or gate.

One lane a column of the array, the rules of `hwsim.models.post`. What to do travels with the beat,
so that tiles of different layers follow one another without draining.
"""

from __future__ import annotations

from amaranth.hdl import (
    Cat,
    ClockSignal,
    Const,
    Instance,
    Module,
    Mux,
    ResetSignal,
    Signal,
)
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.models.formats import FP16
from hwsim.models.post import PostMode
from hwsim.rtl.arithmetic import adder_pipeline, fp32_add
from hwsim.rtl.float32 import fp32_to_fp16
from hwsim.rtl.stream import delay, lockstep

__all__ = ["POST_LANE", "PostLane", "PostUnit", "post_in_layout", "post_out_layout"]

POST_LANE = "post_lane"
"""Name of the module that every lane is an instance of; Verilog holds it once."""

_MINUS_ZERO = 0x80000000  # adding it changes nothing, not even the sign of a zero


def post_in_layout() -> data.StructLayout:
    """What a lane takes: FP32 `sum` and `bias`, and the `gate` bit."""
    return data.StructLayout({"sum": 32, "bias": 32, "gate": 1})


def post_out_layout() -> data.StructLayout:
    """What a lane gives: FP16 `value`, and `positive`, the mask that ReLU keeps by."""
    return data.StructLayout({"value": 16, "positive": 1})


class PostLane(wiring.Component):
    """One lane, `adder_latency` steps for the bias and one for the rest.

    Ports:
        en: the lane advances in this cycle.
        mode: `PostMode`; add_bias: `bias` is added. Both belong to `i`.
        i: `post_in_layout`, packed.
        o: `post_out_layout`, packed.

    Raises:
        ValueError: a latency below 1.
    """

    def __init__(self, *, adder_latency: int) -> None:
        _check(1, adder_latency)
        self.adder_latency = adder_latency
        super().__init__(
            {
                "en": In(1),
                "mode": In(2),
                "add_bias": In(1),
                "i": In(post_in_layout().size),
                "o": Out(post_out_layout().size),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        given = data.View(post_in_layout(), self.i)
        bias = Signal(32)
        m.d.comb += bias.eq(Mux(self.add_bias, given.bias, _MINUS_ZERO))
        m.submodules.adder = inner = Module()
        pipe = adder_pipeline(inner, self.en, FP16, self.adder_latency)
        total = fp32_add(inner, given.sum, bias, pipe)
        late = delay(m, self.en, Cat(self.mode, given.gate), self.adder_latency, "late")
        mode, gate = late[:2], late[2]

        y = fp32_to_fp16(m, total)
        positive, kept = Signal(), Signal()
        m.d.comb += [
            positive.eq(~y[15] & y[:15].any()),  # the canonical NaN has no sign
            kept.eq(
                (mode == PostMode.PASS.value) | Mux(mode == PostMode.RELU.value, positive, gate)
            ),
        ]
        out = data.View(post_out_layout(), self.o)
        with m.If(self.en):
            m.d.sync += [out.value.eq(Mux(kept, y, Const(0, 16))), out.positive.eq(positive)]
        return m


class PostUnit(wiring.Component):
    """`cols` lanes behind one stream; instantiates `POST_LANE`.

    Args:
        cols: lanes, one a column of the array.
        adder_latency: steps of the bias addition.

    Ports:
        i: a beat of `post_in_layout` for every lane, its `mode` and whether to `add_bias`.
        o: a beat of `post_out_layout` for every lane.

    Latency: `adder_latency` + 1 steps; throughput: a beat a step. All lanes advance or stand still
    together, see `hwsim.rtl.stream.lockstep`.

    Raises:
        ValueError: cols < 1 or a latency below 1.
    """

    def __init__(self, *, cols: int, adder_latency: int) -> None:
        _check(cols, adder_latency)
        self.cols = cols
        self.depth = adder_latency + 1
        beat = data.StructLayout(
            {"lane": data.ArrayLayout(post_in_layout(), cols), "mode": 2, "add_bias": 1}
        )
        super().__init__(
            {
                "i": In(stream.Signature(beat)),
                "o": Out(stream.Signature(data.ArrayLayout(post_out_layout(), cols))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        en = lockstep(m, self.i, self.o, self.depth)
        for c in range(self.cols):
            m.submodules[f"lane{c}"] = Instance(
                POST_LANE,
                i_clk=ClockSignal(),
                i_rst=ResetSignal(),
                i_en=en,
                i_mode=self.i.payload.mode,
                i_add_bias=self.i.payload.add_bias,
                i_i=self.i.payload.lane[c].as_value(),
                o_o=self.o.payload[c].as_value(),
            )
        return m


def _check(cols: int, adder_latency: int) -> None:
    for name, value in (("cols", cols), ("adder_latency", adder_latency)):
        if value < 1:
            raise ValueError(f"{name} >= 1 must hold, but got {value}")
