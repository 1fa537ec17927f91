"""The delta engines: scanner, event FIFO, column streamer, lanes, then output pass or gate unit.

`LayerEngine` is a linear or convolutional layer, `GruEngine` a GRU layer; both are made of the same
units. docs/delta-engine.md says what happens in which cycle; `hwsim.dataflows.delta_sim` counts
them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Member, Out

from hwsim.models.delta_shape import DeltaShape
from hwsim.rtl.delta_gate import (
    DELTA_GATE,
    DELTA_GATES,
    GateLane,
    GateUnit,
    gates_signature,
)
from hwsim.rtl.delta_lanes import DELTA_LANE, DELTA_LANES, DeltaLane, DeltaLanes, lanes_signature
from hwsim.rtl.delta_output import (
    DELTA_CODE,
    DELTA_OUTPUT,
    CodeLane,
    OutputPass,
    output_signature,
)
from hwsim.rtl.delta_parts import (
    EventQueue,
    config_layout,
    event_layout,
    items_layout,
    parameter_layout,
    sums_layout,
    weights_layout,
)
from hwsim.rtl.delta_scanner import DELTA_SCANNER, DeltaScanner, scanner_signature
from hwsim.rtl.delta_streamer import DELTA_STREAMER, ColumnStreamer, streamer_signature
from hwsim.rtl.rowwise_parts import instance

__all__ = [
    "DELTA_BLOCKS",
    "DELTA_ENGINE",
    "DELTA_MODULES",
    "DELTA_TOP",
    "DeltaChain",
    "DeltaEngine",
    "chain_members",
    "delta_members",
    "delta_parts",
]

DELTA_ENGINE = "delta_engine"
DELTA_TOP = "delta_top"

DELTA_BLOCKS = {
    "scanner": "delta encoder with its references, and non-zero detector",
    "streamer": "address generator of weight columns with its queues",
    "lanes": "multiply-accumulate lanes with the sigma state memory",
    "output": "max-pool, bias, ReLU and requantisation",
    "gates": "GRU gate unit with tables of sigmoid and tanh",
    "engine": "delta engine, the whole",
}
"""Blocks by name, with what each is; an engine has `output` or `gates`."""

DELTA_MODULES = {
    "scanner": (DELTA_SCANNER,),
    "streamer": (DELTA_STREAMER,),
    "lanes": (DELTA_LANE, DELTA_LANES),
    "output": (DELTA_CODE, DELTA_OUTPUT),
    "gates": (DELTA_GATE, DELTA_GATES),
}
"""Modules of each block but the engine, its top last."""


def delta_parts(shape: DeltaShape, chain: int = 1) -> dict[str, Callable[[], wiring.Component]]:
    """What makes each component of a design, by module name, its top last.

    Args:
        shape: of every engine.
        chain: engines in a row.
    """
    front: dict[str, Callable[[], wiring.Component]] = {
        DELTA_SCANNER: lambda: DeltaScanner(shape),
        DELTA_STREAMER: lambda: ColumnStreamer(shape),
        DELTA_LANE: lambda: DeltaLane(shape),
        DELTA_LANES: lambda: DeltaLanes(shape),
    }
    back: dict[str, Callable[[], wiring.Component]]
    if shape.gru:
        back = {DELTA_GATE: lambda: GateLane(shape), DELTA_GATES: lambda: GateUnit(shape)}
    else:
        back = {DELTA_CODE: lambda: CodeLane(shape), DELTA_OUTPUT: lambda: OutputPass(shape)}
    if chain == 1:
        return {**front, **back, DELTA_TOP: lambda: DeltaEngine(shape)}
    return {
        **front,
        **back,
        DELTA_ENGINE: lambda: DeltaEngine(shape),
        DELTA_TOP: lambda: DeltaChain(shape, chain),
    }


def delta_members(shape: DeltaShape) -> dict[str, Member]:
    """Ports of `DeltaEngine`."""
    set_up: dict[str, Member]
    if shape.gru:
        set_up = {"start": In(stream.Signature(sums_layout(shape)))}
    else:
        set_up = {"parameters": In(stream.Signature(parameter_layout(shape)))}
    return {
        "config": In(config_layout(shape)),
        **set_up,
        "x": In(stream.Signature(items_layout(shape, shape.detector_width))),
        "w_request": Out(stream.Signature(shape.address_bits)),
        "w": In(stream.Signature(weights_layout(shape))),
        "o": Out(stream.Signature(items_layout(shape, shape.lanes))),
    }


def chain_members(shape: DeltaShape, chain: int) -> dict[str, Member]:
    """Ports of a design of `chain` engines: those of one engine, or of `DeltaChain`."""
    each = delta_members(shape)
    if chain == 1:
        return each
    ends = {name: each.pop(name) for name in ("x", "o")}
    return {f"{name}{e}": member for e in range(chain) for name, member in each.items()} | ends


class DeltaEngine(wiring.Component):
    """A layer that computes on change; instantiates the units.

    Ports:
        config: constant from reset, `hwsim.rtl.delta_parts.config_layout`.
        parameters: of a layer, biases and factors, a word for each `lanes` channels.
        start: of a GRU, the sums' first values: z, r, the input's part of n, the state's part.
        x: frames, `detector_width` elements a word; every pixel's channels begin a word.
        w_request, w: numbers of words of weights, and the words in the same order, whenever.
        o: a frame's results, `lanes` elements a word: codes, channels innermost, or the state.

    Every output's `valid` and every input's `ready` depend on registers alone.
    """

    def __init__(self, shape: DeltaShape) -> None:
        self.shape = shape
        super().__init__(delta_members(shape))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self.shape
        scanner = instance(m, DELTA_SCANNER, "scanner", scanner_signature(shape))
        m.submodules.events = events = EventQueue(event_layout(shape), shape.capacity)
        streamer = instance(m, DELTA_STREAMER, "streamer", streamer_signature(shape))
        lanes = instance(m, DELTA_LANES, "lanes", lanes_signature(shape))
        _link(m, self.x, scanner.x)
        _link(m, scanner.o, events.i)
        _link(m, events.o, streamer.i)
        _link(m, streamer.request, self.w_request)
        _link(m, streamer.o, lanes.i)
        _link(m, self.w, lanes.weights)
        if shape.gru:
            back = instance(m, DELTA_GATES, "gates", gates_signature(shape))
            _link(m, self.start, lanes.start)
            self._state(m, scanner, lanes)
        else:
            back = instance(m, DELTA_OUTPUT, "output", output_signature(shape))
            _link(m, self.parameters, back.parameters)
        _link(m, lanes.o, back.i)
        _link(m, back.o, self.o)
        for unit in (scanner, streamer, lanes, *([] if shape.gru else [back])):
            m.d.comb += Value.cast(unit.config).eq(Value.cast(self.config))
        return m

    def _state(self, m: Module, scanner: Any, lanes: Any) -> None:
        """The state's memory: written with the results, read by the scanner and the gate unit."""
        width = items_layout(self.shape, self.shape.lanes).size
        m.submodules.state = store = memory.Memory(
            shape=width, depth=max(2, self.shape.sigma_words // 4), init=[]
        )
        write, group = store.write_port(), Signal(self.shape.sigma_bits + 1)
        taken, end = Signal(), Signal()
        m.d.comb += [
            taken.eq(self.o.valid & self.o.ready),
            end.eq(taken & (group + 1 == self.config.groups)),
            scanner.done.eq(end),
            write.en.eq(taken),
            write.addr.eq(group),
            write.data.eq(Value.cast(self.o.payload)),
        ]
        with m.If(taken):
            m.d.sync += group.eq(Mux(end, 0, group + 1))
        for unit in (scanner, lanes):
            read = store.read_port()
            m.d.comb += [
                read.addr.eq(unit.h_word),
                read.en.eq(unit.h_read),
                Value.cast(unit.h).eq(read.data),
            ]


class DeltaChain(wiring.Component):
    """Layer engines in a row, each layer's codes the next one's frames; instantiates
    `DELTA_ENGINE`.

    All work at the same time, on frames that follow one another. Ports are those of the engines
    with their numbers, but x of the first and o of the last.

    Raises:
        ValueError: a GRU, fewer than two engines, or results that are no words of elements.
    """

    def __init__(self, shape: DeltaShape, chain: int) -> None:
        if shape.gru or chain < 2 or shape.lanes != shape.detector_width:
            raise ValueError(
                "a chain must have two layers or more with lanes == detector_width, but got "
                f"gru={shape.gru}, {chain} engines, lanes={shape.lanes}, "
                f"detector_width={shape.detector_width}"
            )
        self.shape = shape
        self.chain = chain
        super().__init__(chain_members(shape, chain))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        signature = wiring.Signature(delta_members(self.shape))
        engines = [instance(m, DELTA_ENGINE, f"engine{e}", signature) for e in range(self.chain)]
        for e, engine in enumerate(engines):
            m.d.comb += Value.cast(engine.config).eq(Value.cast(getattr(self, f"config{e}")))
            _link(m, getattr(self, f"parameters{e}"), engine.parameters)
            _link(m, engine.w_request, getattr(self, f"w_request{e}"))
            _link(m, getattr(self, f"w{e}"), engine.w)
        streams = [self.x, *(engine.o for engine in engines)]
        for source, engine in zip(streams, engines, strict=False):
            _link(m, source, engine.x)
        _link(m, streams[-1], self.o)
        return m


def _link(m: Module, source: Any, sink: Any) -> None:
    """A stream from where it comes to where it goes; signals of instances have no direction."""
    m.d.comb += [
        Value.cast(sink.payload).eq(Value.cast(source.payload)),
        sink.valid.eq(source.valid),
        source.ready.eq(sink.ready),
    ]
