"""The delta encoder and the non-zero detector: from words of elements to events.

An element is quantised to its code (layers), compared with its reference, and is an event where it
differs by Theta or more; Theta 0 is the quantise rule, by which every change of a code counts. A
word of `detector_width` elements is taken a cycle; its events leave one a cycle, so a word with
none or one takes one cycle. The last element of a frame always leaves, as a zero if it must, and
closes the frame; so does, in a GRU, the last element of x.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Member, Out

from hwsim.models.delta_shape import DeltaShape
from hwsim.rtl.delta_parts import config_layout, event_layout, items_layout, scaled_product

__all__ = ["DELTA_SCANNER", "DeltaScanner", "scanner_signature"]

DELTA_SCANNER = "delta_scanner"


def scanner_signature(shape: DeltaShape) -> wiring.Signature:
    """Ports of `DeltaScanner`."""
    members: dict[str, Member] = {
        "config": In(config_layout(shape)),
        "x": In(stream.Signature(items_layout(shape, shape.detector_width))),
        "o": Out(stream.Signature(event_layout(shape))),
    }
    if shape.gru:
        members |= {
            "h_word": Out(shape.sigma_bits),
            "h_read": Out(1),
            "h": In(items_layout(shape, shape.lanes)),
            "done": In(1),
        }
    return wiring.Signature(members)


class DeltaScanner(wiring.Component):
    """Encoder, reference memory and detector.

    Ports:
        config: constant from reset.
        x: frames, pixel after pixel, each pixel's channels in words filled up with zeros. In a GRU
            the input of a step.
        o: events; `x.ready` depends on `o.ready` in the same cycle.
        h_word, h_read, h: of a GRU, the state's memory, `lanes` units a word: the word at `h_word`
            is on `h` in the cycle after one with `h_read`, until the next.
        done: of a GRU, the step's last result was taken: the next x may enter in the next cycle.

    A word enters, two cycles later its first event is offered. In a GRU one cycle lies between the
    last word of x and the first of h.
    """

    def __init__(self, shape: DeltaShape) -> None:
        self.shape = shape
        super().__init__(scanner_signature(shape))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = self.shape.detector_width
        step, take = Signal(), Signal()
        # what stands in the second stage: a word with its references, and where it is
        valid1, valid2 = Signal(), Signal()
        items1 = [Signal(signed(self.shape.item_bits), name=f"item1_{i}") for i in range(width)]
        place1, place2 = (Signal(event_layout(self.shape), name=f"place{i}") for i in (1, 2))
        first1, close1 = Signal(), Signal()
        first = Signal(init=1)  # the first frame: references are 0

        if self.shape.gru:
            place0, close0, end0 = self._gru_place(m, step, take)
        else:
            place0, close0, end0 = self._layer_place(m, step, take)
        with m.If(take & end0):
            m.d.sync += first.eq(0)

        m.submodules.references = references = memory.Memory(
            shape=width * self.shape.item_bits, depth=self.shape.reference_words, init=[]
        )
        write = references.write_port()
        read = references.read_port(transparent_for=[write])
        at, at1 = Signal(self.shape.reference_bits), Signal(self.shape.reference_bits)
        m.d.comb += [read.addr.eq(at), read.en.eq(step)]
        with m.If(step):
            m.d.sync += [
                valid1.eq(take),
                valid2.eq(valid1),
                place1.eq(place0),
                place2.eq(place1),
                first1.eq(first),
                close1.eq(close0),
                at1.eq(at),
            ]
            for i, item in enumerate(items1):
                m.d.sync += item.eq(self._code(m, self.x.payload[i], i))
        with m.If(take):
            m.d.sync += at.eq(Mux(end0, 0, at + 1))

        given: list[Value] = list(items1)
        if self.shape.gru:
            given = self._with_state(m, step, items1, place1.state, first1)
        deltas, todo = self._compare(m, step, given, first1, close1, read, write, valid1, at1)

        last_event = (todo & (todo - 1)) == 0  # none or one is left
        m.d.comb += [
            step.eq(~valid2 | ~todo.any() | (last_event & self.o.ready)),
            self.o.valid.eq(valid2 & todo.any()),
        ]
        with m.If(self.o.valid & self.o.ready & ~last_event):
            m.d.sync += todo.eq(todo & (todo - 1))
        self._offer(m, place2, deltas, todo)
        return m

    def _layer_place(self, m: Module, step: Value, take: Value) -> tuple[Any, Any, Any]:
        """Counters of channel, x and y with what the strides need, of the word that enters."""
        c = self.config
        place = Signal(event_layout(self.shape), name="place0")
        word = Signal(self.shape.channel_bits + 1)
        x, y = Signal(self.shape.coordinate_bits), Signal(self.shape.coordinate_bits)
        started = Signal()  # the quotients hold their first values
        qy, ry, qx, rx = (
            Signal(place[name].shape(), name=name) for name in ("qy", "ry", "qx", "rx")
        )
        pixel_end, row_end, end = Signal(), Signal(), Signal()
        m.d.comb += [
            self.x.ready.eq(step & started),
            take.eq(self.x.valid & self.x.ready),
            pixel_end.eq(word == c.channel_words - 1),
            row_end.eq(pixel_end & (x == c.width - 1)),
            end.eq(row_end & (y == c.height - 1)),
            place.qy.eq(qy), place.ry.eq(ry), place.qx.eq(qx), place.rx.eq(rx),
            place.last.eq(end),
        ]  # fmt: skip
        channel = Signal(self.shape.channel_bits)
        m.d.comb += place.channel.eq(channel)
        with m.If(~started | (take & end)):
            m.d.sync += [started.eq(1), qy.eq(c.start_q), ry.eq(c.start_r)]
        with m.Elif(take & row_end):
            m.d.sync += _advance(qy, ry, c.stride)
        with m.If(~started | (take & row_end)):
            m.d.sync += [qx.eq(c.start_q), rx.eq(c.start_r)]
        with m.Elif(take & pixel_end):
            m.d.sync += _advance(qx, rx, c.stride)
        with m.If(take):
            m.d.sync += [
                word.eq(Mux(pixel_end, 0, word + 1)),
                channel.eq(Mux(pixel_end, 0, channel + self.shape.detector_width)),
            ]
            with m.If(pixel_end):
                m.d.sync += x.eq(Mux(row_end, 0, x + 1))
            with m.If(row_end):
                m.d.sync += y.eq(Mux(end, 0, y + 1))
        return place, end, end

    def _gru_place(self, m: Module, step: Value, take: Value) -> tuple[Any, Any, Any]:
        """Which of x, a gap, h and the wait for the results; the place of the word that enters."""
        c = self.config
        place = Signal(event_layout(self.shape), name="place0")
        word = Signal(self.shape.channel_bits + 1)
        channel = Signal(self.shape.channel_bits)
        x_end, h_end, end = Signal(), Signal(), Signal()
        m.d.comb += [place.channel.eq(channel), end.eq(x_end | h_end), place.last.eq(h_end)]
        with m.If(take):
            m.d.sync += [
                word.eq(Mux(end, 0, word + 1)),
                channel.eq(Mux(h_end, 0, channel + self.shape.detector_width)),
            ]
        per_word = self.shape.lanes // self.shape.detector_width
        part = Signal(range(per_word), name="h_part")
        h_at = Signal(self.shape.sigma_bits)
        m.d.comb += [self.h_word.eq(h_at), self.h_read.eq(step)]
        with m.FSM():
            with m.State("X"):
                m.d.comb += [
                    self.x.ready.eq(step),
                    take.eq(self.x.valid & step),
                    x_end.eq(word == c.input_words - 1),
                ]
                with m.If(take & x_end):
                    m.next = "GAP"
            with m.State("GAP"), m.If(step):
                m.next = "H"
            with m.State("H"):
                m.d.comb += [
                    place.state.eq(1),
                    take.eq(step),
                    h_end.eq(word == c.state_words - 1),
                ]
                with m.If(take):
                    m.d.sync += part.eq(Mux(part == per_word - 1, 0, part + 1))
                    with m.If(part == per_word - 1):
                        m.d.sync += h_at.eq(Mux(h_end, 0, h_at + 1))
                    with m.If(h_end):
                        m.next = "WAIT"
            with m.State("WAIT"), m.If(self.done):
                m.next = "X"
        self._part = part
        return place, end, h_end

    def _with_state(
        self, m: Module, step: Value, items: list[Signal], state: Value, first: Value
    ) -> list[Value]:
        """The word of the second stage: of x as registered, of h as the memory gives it."""
        width = self.shape.detector_width
        part = Signal(self._part.shape(), name="h_part1")
        with m.If(step):
            m.d.sync += part.eq(self._part)
        out: list[Value] = []
        for i, item in enumerate(items):
            unit = Signal(signed(self.shape.item_bits), name=f"unit{i}")
            with m.Switch(part):
                for p in range(self.shape.lanes // width):
                    with m.Case(p):
                        m.d.comb += unit.eq(self.h[p * width + i])
            with m.If(first):
                m.d.comb += unit.eq(0)
            chosen = Signal(signed(self.shape.item_bits), name=f"given{i}")
            m.d.comb += chosen.eq(Mux(state, unit, item))
            out.append(chosen)
        return out

    def _code(self, m: Module, x: Value, i: int) -> Value:
        """The code of an element: `hwsim.models.delta.requantise`."""
        if self.shape.gru:
            return x
        c, bits = self.config, self.shape.activation_bits
        scaled = scaled_product(m, x * c.factor, c.factor_shift, f"scaled{i}")
        code = Signal(signed(self.shape.item_bits), name=f"code{i}")
        low = Mux(c.signed, -(1 << (bits - 1)), 0)
        high = Mux(c.signed, (1 << (bits - 1)) - 1, (1 << bits) - 1)
        m.d.comb += code.eq(Mux(scaled > high, high, Mux(scaled < low, low, scaled)))
        return code

    def _compare(
        self,
        m: Module,
        step: Value,
        items: list[Value],
        first: Value,
        close: Value,
        read: Any,
        write: Any,
        valid: Value,
        at: Value,
    ) -> tuple[list[Signal], Signal]:
        """Differences to the references, which of them count, and the references' next values."""
        bits, width = self.shape.item_bits, self.shape.detector_width
        todo = Signal(width)
        deltas, marks, moved = [], [], []
        for i, item in enumerate(items):
            reference, delta = (
                Signal(signed(bits), name=f"reference{i}"),
                Signal(signed(self.shape.delta_bits), name=f"delta1_{i}"),
            )
            counts = Signal(name=f"counts{i}")
            stored = read.data[i * bits : (i + 1) * bits].as_signed()
            m.d.comb += [
                reference.eq(Mux(first, 0, stored)),
                delta.eq(item - reference),
                counts.eq((delta != 0) & (abs(delta) >= self.config.theta)),
            ]
            kept = Signal(signed(self.shape.delta_bits), name=f"delta2_{i}")
            with m.If(step):
                m.d.sync += kept.eq(Mux(counts, delta, 0))
            deltas.append(kept)
            marks.append(counts)
            moved.append(Mux(counts, item, reference)[:bits])
        with m.If(step):
            m.d.sync += todo.eq(Cat(*marks[:-1], marks[-1] | close))
        m.d.comb += [
            write.addr.eq(at),
            write.data.eq(Cat(*moved)),
            write.en.eq(valid & step),
        ]
        return deltas, todo

    def _offer(self, m: Module, place: Any, deltas: list[Signal], todo: Signal) -> None:
        """The first event of the word that has not left."""
        out = self.o.payload
        m.d.comb += Value.cast(out).eq(Value.cast(place))
        last = len(deltas) - 1
        with m.If(todo[0]):
            m.d.comb += self._fields(place, deltas[0], 0, last)
        for i in range(1, last + 1):
            with m.Elif(todo[i]):
                m.d.comb += self._fields(place, deltas[i], i, last)

    def _fields(self, place: Any, delta: Signal, i: int, last: int) -> list[Any]:
        out = self.o.payload
        return [
            out.delta.eq(delta),
            out.nonzero.eq(delta != 0),
            out.last.eq(place.last if i == last else 0),
            out.channel.eq(place.channel + i),
        ]


def _advance(q: Signal, r: Signal, stride: Value) -> list[Any]:
    """The next coordinate's quotient and rest."""
    wraps = r + 1 == stride
    return [q.eq(q + wraps), r.eq(Mux(wraps, 0, r + 1))]
