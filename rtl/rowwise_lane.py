"""One lane of the row-wise engine: a streamer of rows of B and a multiplier.

A lane asks for the rows of B that its tokens name, some ahead, and multiplies each element that
arrives by the token's value. Elements come in the order of the requests, so a memory of any
latency can stand behind its ports.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.models.rowwise import RowwiseShape, row_factor
from hwsim.rtl.float32 import fp32_multiplier_pipeline, fp32_multiply
from hwsim.rtl.pipeline import Pipeline
from hwsim.rtl.rowwise_parts import (
    COUNT_BITS,
    Queue,
    element_layout,
    product_layout,
    request_layout,
    token_layout,
)
from hwsim.rtl.stream import delay

__all__ = ["ROWWISE_LANE", "MultiplierLane", "lane_signature"]

ROWWISE_LANE = "rowwise_lane"
"""Name of the module that every lane is an instance of; Verilog holds it once."""


def lane_signature(shape: RowwiseShape) -> wiring.Signature:
    """Ports of `MultiplierLane`."""
    return wiring.Signature(
        {
            "token": In(stream.Signature(token_layout(shape))),
            "b_req": Out(stream.Signature(request_layout())),
            "b_rsp": In(stream.Signature(element_layout(shape))),
            "o": Out(stream.Signature(product_layout(shape))),
            "busy": Out(1),
        }
    )


class MultiplierLane(wiring.Component):
    """A CSR row streamer and a multiplier.

    Ports:
        token: what to multiply, of a length of at least 1; taken while fewer than `request_queue`
            tokens are not finished.
        b_req: a request for each token's row of B.
        b_rsp: the elements of the rows, in the order of the requests.
        o: products with their hash, through a queue of `product_queue` words.
        busy: a token, product or element is inside.

    Throughput: a product a cycle. Latency: `multiplier_latency` + 1 cycles from an element to its
    product at `o`. The multiplier stands still while the queue behind it is full.
    """

    def __init__(self, shape: RowwiseShape) -> None:
        self.shape = shape
        super().__init__(lane_signature(shape))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self.shape
        task = data.StructLayout(
            {
                "row": shape.row_bits,
                "length": COUNT_BITS,
                "value": 32,
                "base": shape.hash_bits,
            }
        )
        m.submodules.requests = requests = Queue(request_layout(), shape.request_queue)
        m.submodules.tasks = tasks = Queue(task, shape.request_queue)
        m.submodules.products = products = Queue(product_layout(shape), shape.product_queue)
        wiring.connect(m, requests.o, wiring.flipped(self.b_req))
        wiring.connect(m, products.o, wiring.flipped(self.o))

        room, push = Signal(), Signal()
        token = self.token.payload
        m.d.comb += [
            room.eq(requests.i.ready & tasks.i.ready),
            push.eq(room & self.token.valid),
            self.token.ready.eq(room),
            requests.i.valid.eq(push),
            requests.i.payload.start.eq(token.start),
            requests.i.payload.length.eq(token.length),
            tasks.i.valid.eq(push),
            tasks.i.payload.row.eq(token.row),
            tasks.i.payload.length.eq(token.length),
            tasks.i.payload.value.eq(token.value),
            tasks.i.payload.base.eq(token.row * row_factor(shape.hash_bits)),
        ]

        en, accept = Signal(), Signal()
        valid = Signal(shape.multiplier_latency)
        taken = Signal(COUNT_BITS)  # elements of the first task so far
        here = tasks.o.payload
        last = Signal()
        m.d.comb += [
            en.eq(products.i.ready | ~valid[-1]),
            self.b_rsp.ready.eq(tasks.o.valid & en),
            accept.eq(self.b_rsp.valid & self.b_rsp.ready),
            last.eq(taken == here.length - 1),
            tasks.o.ready.eq(accept & last),
        ]
        with m.If(accept):
            m.d.sync += taken.eq(taken + 1)
            with m.If(last):
                m.d.sync += taken.eq(0)
        with m.If(en):
            m.d.sync += valid.eq(Cat(accept, valid))

        given = self.b_rsp.payload
        hashed = Signal(shape.hash_bits)
        m.d.comb += hashed.eq(given.column + here.base)
        slot = hashed[shape.bank_bits :]
        bank: Value = hashed[: shape.bank_bits]
        for shift in range(0, shape.slot_bits if shape.bank_bits else 0, shape.bank_bits or 1):
            bank = bank ^ slot[shift : shift + shape.bank_bits]
        late = delay(
            m, en, Cat(here.row, given.column, bank, slot), shape.multiplier_latency, "beside"
        )
        value = self._multiply(m, en, here.value, given.value)
        row_end = shape.row_bits
        column_end = row_end + shape.column_bits
        m.d.comb += [
            products.i.valid.eq(valid[-1]),
            products.i.payload.entry.row.eq(late[:row_end]),
            products.i.payload.entry.column.eq(late[row_end:column_end]),
            products.i.payload.entry.value.eq(value),
            products.i.payload.hash.eq(late[column_end:]),
            self.busy.eq(tasks.o.valid | valid.any() | products.o.valid),
        ]
        return m

    def _multiply(self, m: Module, en: Value, a: Value, b: Value) -> Value:
        m.submodules.multiplier = inner = Module()
        latency = self.shape.multiplier_latency
        if self.shape.is_float:
            return fp32_multiply(inner, a, b, fp32_multiplier_pipeline(inner, en, latency))
        product = Signal(32, name="product_int")
        inner.d.comb += product.eq(a * b)  # the low half is the same for signed and unsigned
        return Pipeline(inner, en, (), latency).result(product)
