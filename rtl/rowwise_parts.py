"""Words, queues and arbiters of the row-wise SpGEMM engine.

Each unit of the engine talks to the next through a `Queue`, whose `valid` and `ready` depend on
its own fill alone: no combinational path leads through a unit, and a cycle of the whole machine
follows from the fills at its start, which is what the simulator steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, ClockSignal, Instance, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from hwsim.models.rowwise import RowwiseShape

__all__ = [
    "COUNT_BITS",
    "DONE_FIELDS",
    "PORT_QUEUE",
    "Queue",
    "RoundRobin",
    "done_layout",
    "element_layout",
    "entry_layout",
    "instance",
    "job_layout",
    "merge",
    "pointers_layout",
    "product_layout",
    "request_layout",
    "result_layout",
    "token_layout",
]

COUNT_BITS = 32
"""Width of addresses, lengths and counters."""

PORT_QUEUE = 2
"""Words of a queue at a port: the least that passes a word a cycle."""

DONE_FIELDS = (
    "multiplies",
    "skipped",
    "probes",
    "inserts",
    "accumulates",
    "waits",
    "spilled",
    "cycles",
)
"""Counters of a window, in the order in which they stand in the word on `done`."""

_VALUE_BITS = 32


def job_layout(shape: RowwiseShape) -> data.StructLayout:
    """A window: its first row of A and how many rows, at least 1."""
    return data.StructLayout({"start": COUNT_BITS, "rows": shape.row_bits + 1})


def request_layout() -> data.StructLayout:
    """A read of `length` consecutive elements, at least 1, from number `start`."""
    return data.StructLayout({"start": COUNT_BITS, "length": COUNT_BITS})


def element_layout(shape: RowwiseShape) -> data.StructLayout:
    """A non-zero of A or B: its column and value."""
    return data.StructLayout({"column": shape.column_bits, "value": _VALUE_BITS})


def pointers_layout() -> data.StructLayout:
    """Where a row of B begins and ends."""
    return data.StructLayout({"start": COUNT_BITS, "end": COUNT_BITS})


def token_layout(shape: RowwiseShape) -> data.StructLayout:
    """A non-zero A[i,k] and the row k of B: row i in the window, place and length, A's value."""
    return data.StructLayout(
        {
            "row": shape.row_bits,
            "start": COUNT_BITS,
            "length": COUNT_BITS,
            "value": _VALUE_BITS,
        }
    )


def entry_layout(shape: RowwiseShape) -> data.StructLayout:
    """An entry of C or a product: row in the window, column, value."""
    return data.StructLayout(
        {"row": shape.row_bits, "column": shape.column_bits, "value": _VALUE_BITS}
    )


def product_layout(shape: RowwiseShape) -> data.StructLayout:
    """A product with its hash: the bank in the low bits, then the slot."""
    return data.StructLayout({"entry": entry_layout(shape), "hash": shape.hash_bits})


def result_layout(shape: RowwiseShape) -> data.StructLayout:
    """An entry of C; a word with `last` set closes the window and holds no entry."""
    return data.StructLayout({"entry": entry_layout(shape), "last": 1})


def done_layout() -> data.StructLayout:
    """The counters of a window."""
    return data.StructLayout(dict.fromkeys(DONE_FIELDS, COUNT_BITS))


class Queue(wiring.Component):
    """A first-in first-out queue between two streams: a word a cycle, one cycle of latency.

    Args:
        shape: of a word.
        depth: words held, at least 2.

    Raises:
        ValueError: depth < 2.
    """

    def __init__(self, shape: Any, depth: int) -> None:
        if depth < 2:
            raise ValueError(f"depth >= 2 must hold, but got {depth}")
        self.depth = depth
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        given = Value.cast(self.i.payload)
        m.submodules.fifo = fifo = SyncFIFO(width=len(given), depth=self.depth)
        m.d.comb += [
            fifo.w_data.eq(given),
            fifo.w_en.eq(self.i.valid),
            self.i.ready.eq(fifo.w_rdy),
            Value.cast(self.o.payload).eq(fifo.r_data),
            self.o.valid.eq(fifo.r_rdy),
            fifo.r_en.eq(self.o.ready),
        ]
        return m


class RoundRobin(wiring.Component):
    """Fair arbiter: of those that ask, the first behind the one granted last; from reset the first.

    Nobody who keeps asking is passed over by another twice.

    Ports:
        requests: a bit for each that asks.
        enable: a grant is possible in this cycle.
        grant: at most one bit.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__({"requests": In(count), "enable": In(1), "grant": Out(count)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        after = Signal(self.count)  # those behind the one granted last
        behind, pick = Signal(self.count), Signal(self.count)
        m.d.comb += [
            behind.eq(self.requests & after),
            pick.eq(Mux(behind.any(), _lowest(behind), _lowest(self.requests))),
            self.grant.eq(Mux(self.enable, pick, 0)),
        ]
        with m.If(self.grant.any()):
            m.d.sync += after.eq(~(self.grant | (self.grant - 1)))
        return m


def merge(m: Module, name: str, sources: Sequence[Any], ready: Value) -> tuple[Value, Value]:
    """Joins streams round robin: whether a word passes in this cycle, and the word's bits.

    Args:
        m: the module under construction.
        name: of the arbiter.
        sources: streams to read.
        ready: a word can be taken.
    """
    m.submodules[name] = arbiter = RoundRobin(len(sources))
    m.d.comb += [
        arbiter.requests.eq(Cat(source.valid for source in sources)),
        arbiter.enable.eq(ready),
    ]
    word = Signal(len(Value.cast(sources[0].payload)), name=f"{name}_word")
    for i, source in enumerate(sources):
        m.d.comb += source.ready.eq(arbiter.grant[i])
    with m.Switch(arbiter.grant):
        for i, source in enumerate(sources):
            with m.Case(1 << i):
                m.d.comb += word.eq(Value.cast(source.payload))
    return arbiter.grant.any(), word


def instance(m: Module, module: str, name: str, signature: wiring.Signature) -> Any:
    """Puts an instance of a module into `m` and returns signals for its ports.

    Repeated units are instances by name, so that Verilog holds each once.

    Args:
        m: the module under construction.
        module: name of the instance's module.
        name: of the instance.
        signature: of the component that the module is made of.
    """
    ports = signature.create(path=(name,))
    given = {
        ("o_" if member.flow is Out else "i_") + "__".join(map(str, path)): Value.cast(value)
        for path, member, value in signature.flatten(ports)
    }
    m.submodules[name] = Instance(module, i_clk=ClockSignal(), i_rst=ResetSignal(), **given)
    return ports


def _lowest(bits: Value) -> Value:
    """Only the lowest set bit."""
    return (bits & -bits)[: len(bits)]
