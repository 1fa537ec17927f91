"""The weight-column streamer: from events to words of weights and the sums they belong to.

A linear layer's event has one segment of weights, its column; a convolution's has one for every
output pixel whose window sees it; a GRU's has the column of its three gates. A word of `lanes`
weights is asked for a cycle. An event without a segment, which a stride wider than the kernel
leaves or which only closes a frame, takes one cycle.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hwsim.models.delta_shape import DeltaShape
from hwsim.rtl.delta_parts import config_layout, entry_layout, event_layout
from hwsim.rtl.rowwise_parts import Queue

__all__ = ["DELTA_STREAMER", "ENTRY_QUEUE", "REQUEST_QUEUE", "ColumnStreamer", "streamer_signature"]

DELTA_STREAMER = "delta_streamer"

REQUEST_QUEUE = 2
"""Words of the queue of requests: the least that passes a word a cycle."""

ENTRY_QUEUE = 2
"""Words of the second queue of entries: with it an entry takes as long as a request and its
answer from a memory that answers in the next cycle, whether it waits for weights or not."""


def streamer_signature(shape: DeltaShape) -> wiring.Signature:
    """Ports of `ColumnStreamer`."""
    return wiring.Signature(
        {
            "config": In(config_layout(shape)),
            "i": In(stream.Signature(event_layout(shape))),
            "request": Out(stream.Signature(shape.address_bits)),
            "o": Out(stream.Signature(entry_layout(shape))),
        }
    )


class ColumnStreamer(wiring.Component):
    """Address generator with the queues of requests and of what is in flight.

    Ports:
        config: constant from reset.
        i: events; one is taken with its last word.
        request: numbers of words of weights.
        o: for each request the entry that its answer belongs to, `prefetch` of them ahead; it
            comes two cycles after the word's turn, the request one cycle.
    """

    def __init__(self, shape: DeltaShape) -> None:
        self.shape = shape
        super().__init__(streamer_signature(shape))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = self.shape
        m.submodules.requests = requests = Queue(shape.address_bits, REQUEST_QUEUE)
        m.submodules.flight = flight = Queue(entry_layout(shape), shape.prefetch)
        m.submodules.entries = entries = Queue(entry_layout(shape), ENTRY_QUEUE)
        _link(m, requests.o, self.request)
        _link(m, flight.o, entries.i)
        _link(m, entries.o, self.o)

        fire, last, some = Signal(), Signal(), Signal()
        address, sigma = (self._gru if shape.gru else self._layer)(m, fire, last, some)
        m.d.comb += [
            fire.eq(self.i.valid & requests.i.ready & flight.i.ready),
            self.i.ready.eq(fire & last),
            requests.i.valid.eq(fire & some),
            requests.i.payload.eq(address),
            flight.i.valid.eq(fire),
            flight.i.payload.address.eq(sigma),
            flight.i.payload.delta.eq(self.i.payload.delta),
            flight.i.payload.weights.eq(some),
            flight.i.payload.last.eq(last & self.i.payload.last),
        ]
        return m

    def _gru(self, m: Module, fire: Value, last: Signal, some: Signal) -> tuple[Value, Value]:
        """3 H / lanes words; those of the third gate go to one sum for x and another for h."""
        c, event = self.config, self.i.payload
        word = Signal(self.shape.address_bits)
        m.d.comb += [some.eq(event.nonzero), last.eq(~some | (word + 1 == c.column))]
        with m.If(fire):
            m.d.sync += word.eq(Mux(last, 0, word + 1))
        third = event.state & (word >= (c.groups << 1))
        address, sigma = Signal(self.shape.address_bits), Signal(self.shape.sigma_bits)
        m.d.comb += [
            address.eq(event.channel * c.column + word),
            sigma.eq(word + Mux(third, c.groups, 0)),
        ]
        return address, sigma

    def _layer(self, m: Module, fire: Value, last: Signal, some: Signal) -> tuple[Value, Value]:
        """Kernel rows and columns that reach an output, and the words of its channels."""
        c, event = self.config, self.i.payload
        word = Signal(self.shape.parameter_bits + 1)
        y = self._axis(m, "y", event.qy, event.ry, c.kernel_h, c.last_y)
        x = self._axis(m, "x", event.qx, event.rx, c.kernel_w, c.last_x)
        word_end = Signal()
        m.d.comb += [
            some.eq(event.nonzero & y.reached & x.reached),
            word_end.eq(word + 1 == c.out_words),
            last.eq(~some | (word_end & x.end & y.end)),
        ]
        with m.If(fire & some):
            m.d.sync += word.eq(Mux(word_end, 0, word + 1))
            with m.If(word_end):
                m.d.sync += x.count.eq(Mux(x.end, 0, x.count + 1))
                with m.If(x.end):
                    m.d.sync += y.count.eq(Mux(y.end, 0, y.count + 1))
        address, sigma = Signal(self.shape.address_bits), Signal(self.shape.sigma_bits)
        m.d.comb += [
            address.eq(
                event.channel * c.weight_channel
                + y.kernel * c.weight_row
                + x.kernel * c.out_words
                + word
            ),
            sigma.eq(y.out * c.sigma_row + x.out * c.out_words + word),
        ]
        return address, sigma

    def _axis(self, m: Module, name: str, q: Value, r: Value, kernel: Value, last: Value) -> _Axis:
        """One axis of a convolution: output q - j sees the input by kernel element r + j * stride.

        j begins where the output is not beyond the last one.
        """
        axis = _Axis(name, len(kernel), len(q))
        stride = self.config.stride
        skipped = Signal(len(q), name=f"{name}_skipped")  # outputs beyond the last one
        m.d.comb += [
            skipped.eq(Mux(q > last, q - last, 0)),
            axis.kernel.eq(r + (skipped + axis.count) * stride),
            axis.reached.eq(axis.kernel < kernel),
            axis.out.eq(q - skipped - axis.count),
            axis.end.eq((axis.out == 0) | (axis.kernel + stride >= kernel)),
        ]
        return axis


class _Axis:
    """Signals of an axis: steps done, kernel element, output, whether there is one, the last."""

    def __init__(self, name: str, kernel_bits: int, coordinate_bits: int) -> None:
        self.count = Signal(kernel_bits, name=f"{name}_count")
        # far from the image's end the element is beyond any kernel: wide enough not to wrap
        self.kernel = Signal(coordinate_bits + kernel_bits, name=f"{name}_kernel")
        self.out = Signal(coordinate_bits, name=f"{name}_out")
        self.reached = Signal(name=f"{name}_reached")
        self.end = Signal(name=f"{name}_end")


def _link(m: Module, source: Any, sink: Any) -> None:
    m.d.comb += [
        Value.cast(sink.payload).eq(Value.cast(source.payload)),
        sink.valid.eq(source.valid),
        source.ready.eq(sink.ready),
    ]
