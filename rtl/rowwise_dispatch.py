"""The token dispatcher of the row-wise engine: streams A, makes tokens, hands them to free lanes.

A window's rows go through four small units with queues between them: row pointers of A, non-zeros
of A, row pointers of B, and the hand-out. The first three run ahead, into the next window too; the
hand-out waits at a window's end until everything behind it is finished.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.models.rowwise import RowwiseShape
from hwsim.rtl.rowwise_parts import (
    COUNT_BITS,
    PORT_QUEUE,
    Queue,
    RoundRobin,
    element_layout,
    job_layout,
    pointers_layout,
    request_layout,
    token_layout,
)

__all__ = ["ROWWISE_DISPATCH", "TokenDispatcher", "dispatch_signature"]

ROWWISE_DISPATCH = "rowwise_dispatch"
"""Name of the module of the dispatcher."""


def dispatch_signature(shape: RowwiseShape) -> wiring.Signature:
    """Ports of `TokenDispatcher`."""
    return wiring.Signature(
        {
            "job": In(stream.Signature(job_layout(shape))),
            "a_ptr_req": Out(stream.Signature(request_layout())),
            "a_ptr_rsp": In(stream.Signature(COUNT_BITS)),
            "a_req": Out(stream.Signature(request_layout())),
            "a_rsp": In(stream.Signature(element_layout(shape))),
            "b_ptr_req": Out(stream.Signature(shape.column_bits)),
            "b_ptr_rsp": In(stream.Signature(pointers_layout())),
            "token": Out(stream.Signature(token_layout(shape))).array(shape.lanes),
            "quiet": In(1),
            "flip": Out(1),
            "multiplies": Out(COUNT_BITS),
            "skipped": Out(COUNT_BITS),
        }
    )


class TokenDispatcher(wiring.Component):
    """Turns windows into tokens and hands these to free lanes, round robin.

    A token is a non-zero A[i,k] with a piece of row k of B, `token_length` elements at most, so
    that a long row keeps several lanes busy and none is left with it at a window's end. One whose
    row of B is empty is counted and goes to no lane.

    Ports:
        job: windows.
        a_ptr_req, a_ptr_rsp: `rows` + 1 row pointers of A, one a word.
        a_req, a_rsp: the non-zeros of a row of A; k stands in `column`.
        b_ptr_req, b_ptr_rsp: k, and where row k of B begins and ends.
        token: one for each lane.
        quiet: everything behind the dispatcher is finished, and the tables can change halves.
        flip: a window ends in this cycle.
        multiplies, skipped: products asked for and empty rows of B met since the last flip.

    Throughput: a token a cycle.
    """

    def __init__(self, shape: RowwiseShape) -> None:
        self.shape = shape
        super().__init__(dispatch_signature(shape))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows = self._pointers(m)
        elements = self._elements(m, rows)
        tokens = self._tokens(m, elements)
        self._hand_out(m, tokens)
        return m

    def _pointers(self, m: Module) -> Any:
        """Rows of the window that have non-zeros, and the last one; asks for the non-zeros."""
        shape = self.shape
        m.submodules.pointer_requests = ask = Queue(request_layout(), PORT_QUEUE)
        m.submodules.element_requests = fetch = Queue(request_layout(), PORT_QUEUE)
        row = data.StructLayout({"row": shape.row_bits, "length": COUNT_BITS, "last": 1})
        m.submodules.rows = rows = Queue(row, shape.token_queue)
        wiring.connect(m, ask.o, wiring.flipped(self.a_ptr_req))
        wiring.connect(m, fetch.o, wiring.flipped(self.a_req))

        active, first = Signal(), Signal()  # a window is read; no pointer of it has come
        left = Signal(shape.row_bits + 1)
        at = Signal(shape.row_bits)
        before = Signal(COUNT_BITS)
        take, accept, last, some = Signal(), Signal(), Signal(), Signal()
        length = Signal(COUNT_BITS)
        pointer = self.a_ptr_rsp.payload
        m.d.comb += [
            self.job.ready.eq(~active & ask.i.ready),
            take.eq(self.job.valid & self.job.ready),
            ask.i.valid.eq(take),
            ask.i.payload.start.eq(self.job.payload.start),
            ask.i.payload.length.eq(self.job.payload.rows + 1),
            self.a_ptr_rsp.ready.eq(active & fetch.i.ready & rows.i.ready),
            accept.eq(self.a_ptr_rsp.valid & self.a_ptr_rsp.ready),
            length.eq(pointer - before),
            some.eq(length != 0),
            last.eq(left == 1),
            fetch.i.valid.eq(accept & ~first & some),
            fetch.i.payload.start.eq(before),
            fetch.i.payload.length.eq(length),
            rows.i.valid.eq(accept & ~first & (some | last)),
            rows.i.payload.row.eq(at),
            rows.i.payload.length.eq(length),
            rows.i.payload.last.eq(last),
        ]
        with m.If(take):
            m.d.sync += [active.eq(1), first.eq(1), left.eq(self.job.payload.rows), at.eq(0)]
        with m.If(accept):
            m.d.sync += [first.eq(0), before.eq(pointer)]
            with m.If(~first):
                m.d.sync += [left.eq(left - 1), at.eq(at + 1)]
                with m.If(last):
                    m.d.sync += active.eq(0)
        return rows.o

    def _elements(self, m: Module, rows: Any) -> Any:
        """Non-zeros of A with their rows; asks for the pointers of B."""
        shape = self.shape
        m.submodules.row_requests = ask = Queue(shape.column_bits, PORT_QUEUE)
        element = data.StructLayout({"row": shape.row_bits, "value": 32, "real": 1, "last": 1})
        m.submodules.elements = elements = Queue(element, shape.token_queue)
        wiring.connect(m, ask.o, wiring.flipped(self.b_ptr_req))

        count = Signal(COUNT_BITS)  # non-zeros of the row so far
        some, accept, end, void = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            some.eq(rows.payload.length != 0),
            self.a_rsp.ready.eq(rows.valid & some & elements.i.ready & ask.i.ready),
            accept.eq(self.a_rsp.valid & self.a_rsp.ready),
            end.eq(count == rows.payload.length - 1),
            void.eq(rows.valid & ~some & elements.i.ready),  # a window's last row, empty
            rows.ready.eq(void | (accept & end)),
            ask.i.valid.eq(accept),
            ask.i.payload.eq(self.a_rsp.payload.column),
            elements.i.valid.eq(void | accept),
            elements.i.payload.row.eq(rows.payload.row),
            elements.i.payload.value.eq(self.a_rsp.payload.value),
            elements.i.payload.real.eq(some),
            elements.i.payload.last.eq(rows.payload.last & (void | end)),
        ]
        with m.If(accept):
            m.d.sync += count.eq(Mux(end, 0, count + 1))
        return elements.o

    def _tokens(self, m: Module, elements: Any) -> Any:
        """Tokens, also those whose row of B is empty and one for a window that ends without."""
        shape = self.shape
        token = data.StructLayout({"task": token_layout(shape), "real": 1, "last": 1})
        m.submodules.tokens = tokens = Queue(token, shape.token_queue)
        real, accept, void = Signal(), Signal(), Signal()
        pointers = self.b_ptr_rsp.payload
        m.d.comb += [
            real.eq(elements.payload.real),
            self.b_ptr_rsp.ready.eq(elements.valid & real & tokens.i.ready),
            accept.eq(self.b_ptr_rsp.valid & self.b_ptr_rsp.ready),
            void.eq(elements.valid & ~real & tokens.i.ready),
            elements.ready.eq(accept | void),
            tokens.i.valid.eq(accept | void),
            tokens.i.payload.task.row.eq(elements.payload.row),
            tokens.i.payload.task.start.eq(pointers.start),
            tokens.i.payload.task.length.eq(Mux(real, pointers.end - pointers.start, 0)),
            tokens.i.payload.task.value.eq(elements.payload.value),
            tokens.i.payload.real.eq(real),
            tokens.i.payload.last.eq(elements.payload.last),
        ]
        return tokens.o

    def _hand_out(self, m: Module, tokens: Any) -> None:
        """To the next free lane; at a window's end wait until all is quiet."""
        shape = self.shape
        m.submodules.arbiter = arbiter = RoundRobin(shape.lanes)
        barrier, some, more, done = Signal(), Signal(), Signal(), Signal()
        sent, left = Signal(COUNT_BITS), Signal(COUNT_BITS)  # elements handed out and not yet
        task = tokens.payload.task
        m.d.comb += [
            some.eq(task.length != 0),
            left.eq(task.length - sent),
            more.eq(left > shape.token_length),
            arbiter.requests.eq(Cat(self.token[i].ready for i in range(shape.lanes))),
            arbiter.enable.eq(tokens.valid & some & ~barrier),
            done.eq(tokens.valid & ~barrier & (~some | (arbiter.grant.any() & ~more))),
            tokens.ready.eq(done),
            self.flip.eq(barrier & self.quiet),
        ]
        for i in range(shape.lanes):
            m.d.comb += [
                self.token[i].valid.eq(arbiter.grant[i]),
                self.token[i].payload.row.eq(task.row),
                self.token[i].payload.start.eq(task.start + sent),
                self.token[i].payload.length.eq(Mux(more, shape.token_length, left)),
                self.token[i].payload.value.eq(task.value),
            ]
        with m.If(arbiter.grant.any()):
            m.d.sync += sent.eq(Mux(more, sent + shape.token_length, 0))
        with m.If(done & tokens.payload.last):
            m.d.sync += barrier.eq(1)
        with m.If(done):
            m.d.sync += [
                self.multiplies.eq(self.multiplies + task.length),
                self.skipped.eq(self.skipped + (tokens.payload.real & ~some)),
            ]
        with m.If(self.flip):
            m.d.sync += [barrier.eq(0), self.multiplies.eq(0), self.skipped.eq(0)]
