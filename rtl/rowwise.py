"""The row-wise (Gustavson) SpGEMM engine: dispatcher, lanes, crossbar, hash banks, drain.

docs/rowwise-engine.md says what happens in which order. `hwsim.dataflows.rowwise_sim` steps the
same machine, cycle by cycle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Member, Out

from hwsim.models.rowwise import RowwiseShape
from hwsim.rtl.rowwise_bank import BANK_COUNTERS, ROWWISE_BANK, HashBank, bank_signature
from hwsim.rtl.rowwise_dispatch import ROWWISE_DISPATCH, TokenDispatcher, dispatch_signature
from hwsim.rtl.rowwise_lane import ROWWISE_LANE, MultiplierLane, lane_signature
from hwsim.rtl.rowwise_parts import (
    COUNT_BITS,
    PORT_QUEUE,
    Queue,
    RoundRobin,
    done_layout,
    element_layout,
    entry_layout,
    instance,
    job_layout,
    merge,
    pointers_layout,
    request_layout,
    result_layout,
)

__all__ = ["ROWWISE_TOP", "RowwiseEngine", "rowwise_members", "rowwise_parts"]

ROWWISE_TOP = "spgemm_top"


def rowwise_parts(shape: RowwiseShape) -> dict[str, Callable[[], wiring.Component]]:
    """What makes each component of the engine, by module name, its top last."""
    return {
        ROWWISE_BANK: lambda: HashBank(shape),
        ROWWISE_LANE: lambda: MultiplierLane(shape),
        ROWWISE_DISPATCH: lambda: TokenDispatcher(shape),
        ROWWISE_TOP: lambda: RowwiseEngine(shape),
    }


def rowwise_members(shape: RowwiseShape) -> dict[str, Member]:
    """Ports of `RowwiseEngine`."""
    members: dict[str, Member] = {
        "job": In(stream.Signature(job_layout(shape))),
        "a_ptr_req": Out(stream.Signature(request_layout())),
        "a_ptr_rsp": In(stream.Signature(COUNT_BITS)),
        "a_req": Out(stream.Signature(request_layout())),
        "a_rsp": In(stream.Signature(element_layout(shape))),
        "b_ptr_req": Out(stream.Signature(shape.column_bits)),
        "b_ptr_rsp": In(stream.Signature(pointers_layout())),
    }
    for lane in range(shape.lanes):
        members[f"b_req{lane}"] = Out(stream.Signature(request_layout()))
        members[f"b_rsp{lane}"] = In(stream.Signature(element_layout(shape)))
    for output in range(shape.outputs):
        members[f"z{output}"] = Out(stream.Signature(result_layout(shape)))
    members["spill"] = Out(stream.Signature(entry_layout(shape)))
    members["done"] = Out(stream.Signature(done_layout()))
    members["overflow"] = Out(1)
    return members


class RowwiseEngine(wiring.Component):
    """C = A B for windows of rows of A; instantiates the dispatcher, lanes and banks.

    Ports, all but the last streams:
        job: windows, worked through in order.
        a_ptr_req, a_ptr_rsp, a_req, a_rsp, b_ptr_req, b_ptr_rsp: memory of the dispatcher.
        b_req{l}, b_rsp{l}: memory of lane l.
        z{o}: entries of C from the banks o, o + outputs, ...; a word with `last` and no entry
            closes the window.
        spill: products that fitted into no slot, of the windows in order; a later pass over them
            as rows of a matrix finishes the product. Their tags are not among the window's entries.
        done: the counters of each window, when its entries begin to leave.
        overflow: a product has been spilled since reset.

    Every output's `valid` and every input's `ready` depend on registers alone.
    """

    def __init__(self, shape: RowwiseShape) -> None:
        self.shape = shape
        super().__init__(rowwise_members(shape))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self.shape
        dispatch = instance(m, ROWWISE_DISPATCH, "dispatch", dispatch_signature(shape))
        lanes = [
            instance(m, ROWWISE_LANE, f"lane{i}", lane_signature(shape)) for i in range(shape.lanes)
        ]
        banks = [
            instance(m, ROWWISE_BANK, f"bank{i}", bank_signature(shape)) for i in range(shape.banks)
        ]
        for name in ("job", "a_ptr_rsp", "a_rsp", "b_ptr_rsp"):
            _link(m, getattr(self, name), getattr(dispatch, name))
        for name in ("a_ptr_req", "a_req", "b_ptr_req"):
            _link(m, getattr(dispatch, name), getattr(self, name))
        for i, lane in enumerate(lanes):
            _link(m, dispatch.token[i], lane.token)
            _link(m, lane.b_req, getattr(self, f"b_req{i}"))
            _link(m, getattr(self, f"b_rsp{i}"), lane.b_rsp)
        self._crossbar(m, lanes, banks)
        closing = self._results(m, banks, dispatch.flip)
        self._spill(m, banks)
        room = self._done(m, banks, dispatch)
        m.d.comb += dispatch.quiet.eq(
            room
            & ~closing.any()
            & ~Cat(unit.busy for unit in (*lanes, *banks)).any()
            & Cat(bank.drained for bank in banks).all()
        )
        for bank in banks:
            m.d.comb += bank.flip.eq(dispatch.flip)
        return m

    def _crossbar(self, m: Module, lanes: list[Any], banks: list[Any]) -> None:
        """Products to the bank that the low bits of their hash name, round robin at each bank."""
        bits = self.shape.bank_bits
        arbiters = []
        for b, bank in enumerate(banks):
            m.submodules[f"arbiter{b}"] = arbiter = RoundRobin(len(lanes))
            arbiters.append(arbiter)
            asks = [lane.o.valid & (lane.o.payload.hash[:bits] == b) for lane in lanes]
            m.d.comb += [
                arbiter.requests.eq(Cat(asks)),
                arbiter.enable.eq(bank.i.ready),
                bank.i.valid.eq(arbiter.grant.any()),
            ]
            with m.Switch(arbiter.grant):
                for i, lane in enumerate(lanes):
                    with m.Case(1 << i):
                        m.d.comb += [
                            bank.i.payload.entry.eq(lane.o.payload.entry),
                            bank.i.payload.slot.eq(lane.o.payload.hash[bits:]),
                        ]
        for i, lane in enumerate(lanes):
            m.d.comb += lane.o.ready.eq(Cat(arbiter.grant[i] for arbiter in arbiters).any())

    def _results(self, m: Module, banks: list[Any], flip: Value) -> Signal:
        """Entries to the outputs; which of them have not closed their window."""
        shape = self.shape
        closing = Signal(shape.outputs)
        for o in range(shape.outputs):
            mine = banks[o :: shape.outputs]
            m.submodules[f"results{o}"] = queue = Queue(result_layout(shape), PORT_QUEUE)
            _link(m, queue.o, getattr(self, f"z{o}"))
            passes, word = merge(m, f"merge{o}", [bank.z for bank in mine], queue.i.ready)
            end = Signal(name=f"end{o}")
            m.d.comb += [
                end.eq(closing[o] & Cat(bank.drained for bank in mine).all()),
                queue.i.valid.eq(passes | end),
                queue.i.payload.entry.eq(word),
                queue.i.payload.last.eq(end),
            ]
            with m.If(end & queue.i.ready):
                m.d.sync += closing[o].eq(0)
        with m.If(flip):
            m.d.sync += closing.eq(2**shape.outputs - 1)
        return closing

    def _spill(self, m: Module, banks: list[Any]) -> None:
        m.submodules.spills = queue = Queue(entry_layout(self.shape), PORT_QUEUE)
        _link(m, queue.o, self.spill)
        passes, word = merge(m, "merge_spills", [bank.spill for bank in banks], queue.i.ready)
        m.d.comb += [queue.i.valid.eq(passes), Value.cast(queue.i.payload).eq(word)]
        with m.If(passes):
            m.d.sync += self.overflow.eq(1)

    def _done(self, m: Module, banks: list[Any], dispatch: Any) -> Value:
        """The window's counters into their queue; whether there is room for them."""
        m.submodules.counts = queue = Queue(done_layout(), PORT_QUEUE)
        _link(m, queue.o, self.done)
        cycles = Signal(COUNT_BITS, init=1)  # of the window, this one included
        m.d.sync += cycles.eq(Mux(dispatch.flip, 1, cycles + 1))
        word = queue.i.payload
        for name in BANK_COUNTERS:
            m.d.comb += word[name].eq(_total([getattr(bank, name) for bank in banks]))
        m.d.comb += [
            queue.i.valid.eq(dispatch.flip),
            word.multiplies.eq(dispatch.multiplies),
            word.skipped.eq(dispatch.skipped),
            word.cycles.eq(cycles),
        ]
        return queue.i.ready


def _link(m: Module, source: Any, sink: Any) -> None:
    """A stream from where it comes to where it goes; signals of instances have no direction."""
    m.d.comb += [
        Value.cast(sink.payload).eq(Value.cast(source.payload)),
        sink.valid.eq(source.valid),
        source.ready.eq(sink.ready),
    ]


def _total(counts: list[Value]) -> Value:
    """Sum by a tree, of a counter's width."""
    if len(counts) == 1:
        return counts[0]
    half = len(counts) // 2
    return (_total(counts[:half]) + _total(counts[half:]))[:COUNT_BITS]
