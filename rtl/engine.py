"""The training engine: array, post unit, selectors and update engine behind one descriptor list.

The sequencer takes one command after the other. A command is accepted when every result of the one
before has been taken and the array has drained, so that what a command reads from memory is there.
A cycle later its unit starts: the array gets the command's job and its sums leave as they are or
through the post unit; the update engine and the selectors take as many beats as the command says.

`hwsim.dataflows.program` makes descriptor lists, `hwsim.dataflows.program_sim` counts the cycles.
The memory with its address generator is outside: every port is a stream.
"""

from __future__ import annotations

from collections.abc import Callable

from amaranth.hdl import (
    Cat,
    Const,
    Module,
    Mux,
    Signal,
)
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Member, Out

from hwsim.models.array import ArrayShape
from hwsim.models.formats import FP16
from hwsim.models.nm import NMPattern
from hwsim.models.post import PostMode
from hwsim.rtl.post import POST_LANE, PostLane, PostUnit
from hwsim.rtl.sequencer import job_layout
from hwsim.rtl.sore import (
    SORE_LANE,
    TopNLane,
    TopNSelector,
    selection_layout,
    weights_layout,
)
from hwsim.rtl.stce import SparseArray, array_members, array_parts
from hwsim.rtl.wuve import (
    SCALARS,
    WUVE_LANE,
    UpdateEngine,
    UpdateLane,
    update_in_layout,
    update_out_layout,
)

__all__ = [
    "BEAT_BITS",
    "ENGINE_TOP",
    "TrainingEngine",
    "command_layout",
    "engine_members",
    "training_parts",
]

ENGINE_TOP = "sat_engine"
"""Name of the engine's top module."""

BEAT_BITS = 32
"""Width of a command's beat counts."""


def command_layout() -> data.StructLayout:
    """A descriptor.

    Fields: `unit` 0 array, 1 update engine, 2 selectors; `post` what becomes of the array's sums,
    `hwsim.models.post.PostMode` or 3, as they are; `job` of the array; `operands` beats that the
    update engine or the selectors take; `results` beats that leave, at least 1.
    """
    return data.StructLayout(
        {
            "unit": 2,
            "post": 2,
            "job": job_layout(),
            "operands": BEAT_BITS,
            "results": BEAT_BITS,
        }
    )


def training_parts(
    array: ArrayShape, pattern: NMPattern, update_lanes: int, select_lanes: int
) -> dict[str, Callable[[], wiring.Component]]:
    """What makes each component of the engine, by module name; the top is the last."""
    latency = {
        "multiplier_latency": array.multiplier_latency,
        "adder_latency": array.adder_latency,
    }
    return {
        **array_parts(FP16, array),
        POST_LANE: lambda: PostLane(adder_latency=array.adder_latency),
        SORE_LANE: lambda: TopNLane(n_max=pattern.n, m=pattern.m),
        WUVE_LANE: lambda: UpdateLane(**latency),
        ENGINE_TOP: lambda: TrainingEngine(array, pattern, update_lanes, select_lanes),
    }


def engine_members(
    array: ArrayShape, pattern: NMPattern, update_lanes: int, select_lanes: int
) -> dict[str, Member]:
    """The ports of a `TrainingEngine`."""
    operands = array_members(FP16, array)
    selection = data.ArrayLayout(selection_layout(pattern.n, pattern.m), select_lanes)
    return {
        "command": In(stream.Signature(command_layout())),
        "a": operands["a"],
        "b": operands["b"],
        "gate": In(stream.Signature(array.cols)),
        "z": Out(stream.Signature(data.ArrayLayout(32, array.cols))),
        "update": In(stream.Signature(data.ArrayLayout(update_in_layout(), update_lanes))),
        "updated": Out(stream.Signature(data.ArrayLayout(update_out_layout(), update_lanes))),
        "select": In(stream.Signature(weights_layout(select_lanes))),
        "selected": Out(stream.Signature(selection)),
        **{name: In(32) for name in SCALARS},
    }


class TrainingEngine(wiring.Component):
    """The engine; FP16 operands, FP32 sums.

    Args:
        array: the array's shape; `group` is the pattern's M.
        pattern: N and M of the selectors.
        update_lanes, select_lanes: weights updated a cycle; groups reduced at once.

    Ports:
        command: `command_layout()` descriptors.
        a, b: operands of the array, as `SparseArray`'s.
        gate: with `PostMode.GATE`, a bit a column for each result beat.
        z: results of the array, `cols` words of 32 bits: FP32 sums, or FP16 in the lower half.
        update, updated: beats of the update engine in and out.
        select, selected: beats of the selectors in and out.
        rate, momentum, decay, pruned_decay, scale: FP32 scalars of the update, constant while
            updates run.

    Raises:
        ValueError: `array.group` is not the pattern's M, or a lane count below 1.
    """

    def __init__(
        self, array: ArrayShape, pattern: NMPattern, update_lanes: int, select_lanes: int
    ) -> None:
        if array.group != pattern.m:
            raise ValueError(
                f"the group must be the pattern's M, but got {array.group} and {pattern}"
            )
        self.array = array
        self.pattern = pattern
        self.stce = SparseArray(FP16, array)
        self.post = PostUnit(cols=array.cols, adder_latency=array.adder_latency)
        self.update_engine = UpdateEngine(
            lanes=update_lanes,
            multiplier_latency=array.multiplier_latency,
            adder_latency=array.adder_latency,
        )
        self.selector = TopNSelector(lanes=select_lanes, n_max=pattern.n, m=pattern.m)
        super().__init__(engine_members(array, pattern, update_lanes, select_lanes))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.stce = stce = self.stce
        m.submodules.post = post = self.post
        m.submodules.update_engine = engine = self.update_engine
        m.submodules.selector = selector = self.selector

        command = Signal(command_layout())
        operands = Signal(BEAT_BITS)  # beats that the command's unit has still to take
        results = Signal(BEAT_BITS)  # and to give
        taken = Signal()
        with m.If(taken):
            m.d.sync += results.eq(results - 1)
        with m.FSM():
            with m.State("FETCH"):
                m.d.comb += self.command.ready.eq((results == 0) & stce.idle)
                with m.If(self.command.valid & self.command.ready):
                    m.d.sync += [
                        command.eq(self.command.payload),
                        operands.eq(self.command.payload.operands),
                        results.eq(self.command.payload.results),
                    ]
                    m.next = "START"
            with m.State("START"):
                m.d.comb += stce.job.valid.eq(command.unit == 0)
                with m.If(stce.job.ready | (command.unit != 0)):
                    m.next = "FETCH"
        m.d.comb += stce.job.payload.eq(command.job)

        for port in ("a", "b"):
            wiring.connect(m, wiring.flipped(getattr(self, port)), getattr(stce, port))

        # the array's sums, as they are or through the post unit
        raw, gated = Signal(), Signal()
        joined = Signal()  # the post unit's input is complete
        m.d.comb += [
            raw.eq(command.post == 3),
            gated.eq(command.post == PostMode.GATE.value),
            joined.eq(stce.z.valid & ~raw & (self.gate.valid | ~gated)),
            post.i.valid.eq(joined),
            post.i.payload.mode.eq(command.post),
            self.gate.ready.eq(post.i.ready & joined & gated),
            stce.z.ready.eq(Mux(raw, self.z.ready, post.i.ready & joined)),
            post.o.ready.eq(self.z.ready),
            self.z.valid.eq(Mux(raw, stce.z.valid, post.o.valid)),
        ]
        for c in range(self.array.cols):
            lane = post.i.payload.lane[c]
            m.d.comb += [
                lane.sum.eq(stce.z.payload[c]),
                lane.gate.eq(self.gate.payload[c]),
                self.z.payload[c].eq(
                    Mux(raw, stce.z.payload[c], Cat(post.o.payload[c].value, Const(0, 16)))
                ),
            ]

        m.d.comb += [getattr(engine, name).eq(getattr(self, name)) for name in SCALARS]
        m.d.comb += selector.n.eq(self.pattern.n)
        ports = [
            (1, self.update, engine.i, engine.o, self.updated),
            (2, self.select, selector.i, selector.o, self.selected),
        ]
        for unit, source, i, o, sink in ports:
            wanted = (command.unit == unit) & (operands != 0)
            m.d.comb += [
                i.payload.eq(source.payload),
                i.valid.eq(source.valid & wanted),
                source.ready.eq(i.ready & wanted),
                sink.payload.eq(o.payload),
                sink.valid.eq(o.valid),
                o.ready.eq(sink.ready),
            ]
            with m.If(source.valid & source.ready):
                m.d.sync += operands.eq(operands - 1)
        m.d.comb += taken.eq(
            Cat(port.valid & port.ready for port in (self.z, self.updated, self.selected)).any()
        )
        return m
